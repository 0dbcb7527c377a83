"""The fault plan: rules that match requests, and what each does to them.

A kind of action is a subclass of `Action` with a `kind`; defining it in a module that `app` imports
is all it takes to add one.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from bingx_sim.errors import BadOption
from bingx_sim.exchange import Call

type Fields = dict[str, Any]

MATCH_FIELDS = frozenset(
    {
        "method",
        "path",
        "symbol",
        "client_id",
        "account",
        "params",
        "nth",
        "every",
        "probability",
        "from_ms",
        "to_ms",
    }
)


@dataclass(slots=True)
class Outcome:
    """What leaves the venue. `dropped`: the connection is closed without an answer."""

    status: int
    text: str
    content_type: str = "application/json"
    dropped: bool = False
    cut: int | None = None
    """So many bytes of the body leave, then the connection is closed."""
    code: int | str = ""
    """The envelope's code, for the journal."""


@dataclass(slots=True, kw_only=True)
class Subject:
    """The request a rule may match, and what rules have decided for it."""

    method: str
    path: str
    params: dict[str, str]
    account: str
    market_ms: int
    repeats: int = 1
    """How often the venue carries the request out."""
    finished: Callable[[], None] | None = None
    """Called when the answer is ready."""


class Action:
    """What a rule does. Every hook has a default that changes nothing."""

    kind: ClassVar[str] = ""
    kinds: ClassVar[dict[str, type["Action"]]] = {}

    def __init__(self, fields: Fields, rng: random.Random) -> None:
        self.fields = fields
        self.rng = rng
        self.released = asyncio.Event()
        """Set when held requests are let go."""

    def __init_subclass__(cls) -> None:
        if cls.kind:
            Action.kinds[cls.kind] = cls

    async def before(self, subject: Subject) -> Outcome | None:
        """Run before the venue sees the request; an outcome here means that it never does."""
        del subject

    def amend_call(self, call: Call) -> None:
        """Change the call after its signature was checked."""

    def amend_answer(self, envelope: Fields, call: Call) -> Fields:
        """Change the JSON envelope of an answer."""
        del call
        return envelope

    async def after(self, outcome: Outcome) -> Outcome:
        """Change the finished answer."""
        return outcome


@dataclass(slots=True, kw_only=True)
class Rule:
    """A matcher with an action. `times` bounds how often it fires; None is for ever."""

    rule_id: str
    match: Fields
    action: Action
    fields: Fields
    times: int | None
    seen: int = 0
    hits: int = 0
    rng: random.Random = field(repr=False)

    def fires(self, subject: Subject) -> bool:
        """Count a matching request and say whether the action applies to it."""
        if not _matches(self.match, subject):
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.seen += 1
        nth, every = self.match.get("nth"), self.match.get("every")
        if nth is not None and self.seen != nth:
            return False
        if every is not None and self.seen % every != 0:
            return False
        chance = self.match.get("probability")
        if chance is not None and self.rng.random() >= chance:
            return False
        self.hits += 1
        return True

    def as_row(self) -> Fields:
        shown = {key: value for key, value in self.fields.items() if key != "first"}
        return {
            "id": self.rule_id,
            "match": self.match,
            "action": shown,
            "times": self.times,
            "seen": self.seen,
            "hits": self.hits,
        }


class FaultPlan:
    """The rules in force, evaluated in the order they were added."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._rules: dict[str, Rule] = {}
        self._added = 0

    def add(self, row: Fields) -> str:
        """Add a rule from its JSON form and return its id; the same id replaces."""
        self._added += 1
        rule_id = str(row.get("id") or f"rule-{self._added}")
        unknown = set(row) - {"id", "match", "action", "times"}
        if unknown:
            raise BadOption(f"fault rule {rule_id} has unknown fields {sorted(unknown)}")
        match = _fields(row.get("match") or {}, rule_id, "match")
        strange = set(match) - MATCH_FIELDS
        if strange:
            raise BadOption(f"fault rule {rule_id} cannot match on {sorted(strange)}")
        action = _fields(row.get("action") or {}, rule_id, "action")
        kind = str(action.get("kind", ""))
        if kind not in Action.kinds:
            known = ", ".join(sorted(Action.kinds))
            raise BadOption(f"fault rule {rule_id} has the action {kind!r}; known are {known}")
        rng = random.Random(f"{self._seed}:{rule_id}")
        times = row.get("times")
        self._rules[rule_id] = Rule(
            rule_id=rule_id,
            match=match,
            action=Action.kinds[kind](action, rng),
            fields=action,
            times=None if times is None else int(times),
            rng=rng,
        )
        return rule_id

    def add_all(self, body: Fields) -> list[str]:
        """Add the rules of a plan {rules: [...]}, or a single rule."""
        rows = cast("list[Fields]", body["rules"]) if "rules" in body else [body]
        return [self.add(row) for row in rows]

    def restart(self, seed: int) -> None:
        """Forget all rules and draw from a new seed."""
        self.remove(None)
        self._seed = seed
        self._added = 0

    def fired_by(self, subject: Subject) -> list[Rule]:
        return [rule for rule in tuple(self._rules.values()) if rule.fires(subject)]

    def remove(self, rule_id: str | None) -> None:
        """Take one rule away, or all of them; what they hold is let go."""
        for gone in self._chosen(rule_id):
            self._rules.pop(gone.rule_id).action.released.set()

    def release(self, rule_id: str | None) -> None:
        """Let held requests go; later ones pass too."""
        for rule in self._chosen(rule_id):
            rule.action.released.set()

    def _chosen(self, rule_id: str | None) -> list[Rule]:
        if rule_id is None:
            return list(self._rules.values())
        if rule_id not in self._rules:
            raise BadOption(f"there is no fault rule {rule_id}")
        return [self._rules[rule_id]]

    def rows(self) -> list[Fields]:
        return [rule.as_row() for rule in self._rules.values()]


def _fields(value: object, rule_id: str, name: str) -> Fields:
    if not isinstance(value, dict):
        raise BadOption(f"fault rule {rule_id}: {name} must be an object")
    return cast("Fields", value)


def _matches(match: Fields, subject: Subject) -> bool:
    params = subject.params
    client_id = (params.get("clientOrderID") or params.get("clientOrderId") or "").lower()
    wanted_params = cast("dict[str, str]", match.get("params") or {})
    return (
        match.get("method", subject.method) in (subject.method, "*")
        and subject.path.endswith(str(match.get("path", "")))
        and match.get("symbol", params.get("symbol")) == params.get("symbol")
        and str(match.get("client_id", client_id)).lower() == client_id
        and match.get("account", subject.account) == subject.account
        and all(params.get(key) == value for key, value in wanted_params.items())
        and match.get("from_ms", subject.market_ms) <= subject.market_ms
        and subject.market_ms < match.get("to_ms", subject.market_ms + 1)
    )


async def apply_before(rules: Sequence[Rule], subject: Subject) -> Outcome | None:
    """Run the `before` hooks in order; the first outcome ends the request."""
    for rule in rules:
        outcome = await rule.action.before(subject)
        if outcome is not None:
            return outcome
    return None
