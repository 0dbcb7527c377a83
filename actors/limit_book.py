"""Limit sets of runs and guardrails of accounts: every edit is a new revision, and raising risk is confirmed."""

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TypedDict

from actors.audit import Audit
from actors.confirming import Issued, issue_token, use_token
from actors.run_book import RunBook
from actors.store_calls import stored
from desk.clock import Clock
from desk.errors import BadInput, NotFound, VersionConflict
from desk.runs import Run
from desk.store import kinds
from desk.store.port import Doc, Kind, Store
from desk.trading import breaker as breakers
from desk.trading import ledger as books
from desk.trading import limit_changes as changing
from desk.trading.breaker import Breaker
from desk.trading.limit_changes import Changes
from desk.trading.limits import (
    MOST_SETS,
    AccountPolicy,
    RiskLimitSet,
    default_live_policy,
    default_paper_policy,
    validate_limits,
)

LIMITS_EDIT, POLICY_EDIT = "risk-limits.edit", "risk-policy.edit"
LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who edits, which revision they saw (None: whichever it is), and what confirms it."""

    actor: str
    trace_id: str
    version: int | None = None
    confirm_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit[T]:
    """An edit that passed every check but its confirmation."""

    key: str
    before: T
    after: T
    version: int
    """Of `before`; 0: a default that was never stored."""
    raises: tuple[str, ...]
    """The limits that would allow more."""
    needs_token: bool
    at_ms: int


class LimitBook:
    """Holds nothing, so that every API replica may have one; safe for several writers.

    A revision that is replaced is kept before the new one is written: a crash between the two
    leaves it written twice, never lost. Every method raises `StoreUnavailable`.
    """

    def __init__(self, store: Store, clock: Clock, accounts: tuple[str, ...]) -> None:
        self._store, self._clock, self._accounts = store, clock, accounts
        self._runs = RunBook(store, clock)
        self._audit = Audit(store, clock)

    # --- sets of runs ---------------------------------------------------------------------------

    async def create(self, limits: RiskLimitSet, asked: Asked) -> Doc[RiskLimitSet]:
        """Store a new set, not active yet. Raises `BadInput` on a field, or on an id in use."""
        fresh = validate_limits(replace(limits, active=False, effective_from_ms=0))
        await self._check_reach(fresh, changing.LIMITS, runs=())
        held = await stored(lambda: self._store.list(kinds.RISK_LIMITS, limit=MOST_SETS))
        if len(held) >= MOST_SETS:
            raise BadInput(
                "set_id", f"{MOST_SETS} sets are stored, the most there may be: edit one"
            )
        now_ms = self._clock.now_ms()
        try:
            doc = await self._put(kinds.RISK_LIMITS, fresh.set_id, fresh, 0, at_ms=now_ms)
        except VersionConflict as taken:
            raise BadInput(
                "set_id",
                f"{fresh.set_id} is at revision {taken.found}: edit it, or take another id",
            ) from None
        told = _told(asked, None, fresh)
        await self._audit.note("limits.create", f"risk-limits/{doc.key}", **told)
        return doc

    async def edit(self, set_id: str, changes: Changes, asked: Asked) -> Doc[RiskLimitSet]:
        """Write the next revision of a set; from the next approval on it counts.

        A set in use may be tightened at once. To loosen it needs the token of a preflight of this
        very edit. Raises `BadInput`, `NotFound`, `VersionConflict` when it moved past
        `asked.version` or meanwhile.
        """
        edit = await self._limits_edit(set_id, changes, asked.version)
        if edit.needs_token:
            await self._use(LIMITS_EDIT, edit, changes, asked)
        doc = await self._write(kinds.RISK_LIMITS, edit)
        told = _told(asked, edit.before, edit.after)
        await self._audit.note("limits.edit", f"risk-limits/{set_id}", **told)
        return doc

    async def activate(self, set_id: str, asked: Asked) -> Doc[RiskLimitSet]:
        """Let runs start with a set; one that is active stays as it is. Raises as `edit`."""
        found = await self._limits(set_id, asked.version)
        before = found.value
        if before.active:
            return found
        await self._check_reach(before, changing.LIMITS, runs=())
        after = replace(before, active=True, effective_from_ms=self._clock.now_ms())
        edit = _edit(set_id, before, after, found.version, (), needs_token=False, clock=self._clock)
        doc = await self._write(kinds.RISK_LIMITS, edit)
        told = _told(asked, before, after)
        await self._audit.note("limits.activate", f"risk-limits/{set_id}", **told)
        return doc

    async def preflight_limits(
        self, set_id: str, changes: Changes, asked: Asked
    ) -> tuple[Edit[RiskLimitSet], Issued | None]:
        """Judge an edit without making it; with the token of one that needs it."""
        edit = await self._limits_edit(set_id, changes, asked.version)
        return edit, await self._issue(LIMITS_EDIT, edit, changes, asked)

    async def _limits_edit(
        self, set_id: str, changes: Changes, version: int | None
    ) -> Edit[RiskLimitSet]:
        found = await self._limits(set_id, version)
        before = found.value
        after = changing.edited_limits(before, changes, now_ms=self._clock.now_ms())
        runs = [run for run in await self._runs.active() if run.risk_limit_set_id == set_id]
        raises = changing.loosened(before, after)
        await self._check_reach(after, raises, runs=runs)
        needs_token = bool(raises and runs)
        return _edit(
            set_id, before, after, found.version, raises, needs_token=needs_token, clock=self._clock
        )

    async def _limits(self, set_id: str, version: int | None) -> Doc[RiskLimitSet]:
        found = await stored(lambda: self._store.get(kinds.RISK_LIMITS, set_id))
        if found is None:
            raise NotFound("risk limit set", set_id)
        _expect(f"risk limit set {set_id}", version, found.version)
        return found

    async def _check_reach(
        self, limits: RiskLimitSet, names: Collection[str], *, runs: Collection[Run]
    ) -> None:
        """Against the venue, and each account that uses the set; unused, against the widest one."""
        instruments = await stored(lambda: self._store.list(kinds.INSTRUMENTS))
        if instruments and "leverage_cap" in names:
            most = max(doc.value.max_leverage for doc in instruments)
            changing.check_against_venue("leverage_cap", limits.leverage_cap, most)
        refused: BadInput | None = None
        in_use = sorted({run.account for run in runs})
        for account in in_use or self._accounts:
            ledger = await stored(lambda account=account: self._store.ledger(account))
            if ledger is None:
                continue
            policy = (await self._policy(account)).value
            equity = max(books.equity(ledger), books.ZERO)
            try:
                changing.check_against_account(limits, policy, equity=equity, names=names)
            except BadInput as looser:
                refused = refused or looser
            else:
                if not in_use:
                    return
        if refused is not None:
            raise refused

    # --- guardrails of accounts -----------------------------------------------------------------

    async def edit_policy(self, account: str, changes: Changes, asked: Asked) -> Doc[AccountPolicy]:
        """Change an account's guardrails. They always count: to loosen one needs its token.

        Raises as `edit`.
        """
        edit = await self._policy_edit(account, changes, asked.version)
        if edit.needs_token:
            await self._use(POLICY_EDIT, edit, changes, asked)
        doc = await self._write(kinds.ACCOUNT_POLICIES, edit)
        told = _told(asked, edit.before, edit.after)
        await self._audit.note("guardrails.edit", f"account/{account}", **told)
        return doc

    async def preflight_policy(
        self, account: str, changes: Changes, asked: Asked
    ) -> tuple[Edit[AccountPolicy], Issued | None]:
        """Judge an edit without making it; with the token of one that needs it."""
        edit = await self._policy_edit(account, changes, asked.version)
        return edit, await self._issue(POLICY_EDIT, edit, changes, asked)

    async def reset_breaker(self, account: str, reason: str, asked: Asked) -> Breaker:
        """End a cool-down early: losses are measured from now. A closed breaker stays as it is.

        While a guardrail of losses is still reached it trips again at the next mark.
        """
        self._check_account(account)
        if not reason.strip():
            raise BadInput("reason", "was empty, expected why the cool-down may end early")
        ledger = await stored(lambda: self._store.ledger(account))
        found = await stored(lambda: self._store.get(kinds.BREAKERS, account))
        if ledger is None or found is None:
            raise NotFound("circuit breaker", account)
        now_ms = self._clock.now_ms()
        if not breakers.is_cooling(found.value, now_ms):
            return found.value
        after = breakers.reset(found.value, ledger=ledger)
        await self._put(kinds.BREAKERS, account, after, found.version, at_ms=now_ms)
        await self._audit.note(
            "breaker.reset",
            f"account/{account}",
            actor=asked.actor,
            trace_id=asked.trace_id,
            before={"state": found.value.state.value, "reason": found.value.trigger_reason},
            after={"state": after.state.value, "reason": reason},
        )
        return after

    async def _policy_edit(
        self, account: str, changes: Changes, version: int | None
    ) -> Edit[AccountPolicy]:
        found = await self._policy(account)
        _expect(f"guardrails of {account}", version, found.version)
        after = changing.edited_policy(found.value, changes)
        instruments = await stored(lambda: self._store.list(kinds.INSTRUMENTS))
        if instruments and "max_leverage" in changes:
            most = max(doc.value.max_leverage for doc in instruments)
            changing.check_against_venue("max_leverage", after.max_leverage, most)
        raises = changing.loosened(found.value, after)
        return _edit(
            account,
            found.value,
            after,
            found.version,
            raises,
            needs_token=bool(raises),
            clock=self._clock,
        )

    async def _policy(self, account: str) -> Doc[AccountPolicy]:
        self._check_account(account)
        found = await stored(lambda: self._store.get(kinds.ACCOUNT_POLICIES, account))
        return found or Doc(key=account, value=default_policy(account), version=0, at_ms=0)

    def _check_account(self, account: str) -> None:
        if account not in self._accounts:
            raise BadInput("account", f"was {account!r}, expected {' or '.join(self._accounts)}")

    # --- writing --------------------------------------------------------------------------------

    async def _write[T: (RiskLimitSet, AccountPolicy)](
        self, kind: Kind[T], edit: Edit[T]
    ) -> Doc[T]:
        if edit.version:
            kept = kinds.revisions_of(kind, edit.key)
            await self._put(kept, str(edit.version), edit.before, None, at_ms=edit.at_ms)
        return await self._put(kind, edit.key, edit.after, edit.version, at_ms=edit.at_ms)

    async def _put[T](
        self, kind: Kind[T], key: str, value: T, version: int | None, *, at_ms: int
    ) -> Doc[T]:
        put: Callable[[], Doc[T]] = partial(
            self._store.put, kind, key, value, at_ms=at_ms, expected_version=version
        )
        return await stored(put)

    async def _use[T](self, action: str, edit: Edit[T], changes: Changes, asked: Asked) -> None:
        try:
            await use_token(
                self._store,
                asked.confirm_token,
                action,
                _parameters(edit, changes),
                trace_id=asked.trace_id,
            )
        except BadInput as unconfirmed:
            now = ", ".join(f"{name} is {getattr(edit.before, name)}" for name in edit.raises)
            raise BadInput(
                unconfirmed.field, f"{unconfirmed.problem} (this raises risk: {now})"
            ) from None

    async def _issue[T](
        self, action: str, edit: Edit[T], changes: Changes, asked: Asked
    ) -> Issued | None:
        issued = None
        if edit.needs_token:
            issued = await issue_token(self._store, action, _parameters(edit, changes))
        await self._audit.note(
            "limits.preflight",
            f"{action.partition('.')[0]}/{edit.key}",
            actor=asked.actor,
            trace_id=asked.trace_id,
            after={"raises": list(edit.raises), "needs_token": edit.needs_token},
        )
        return issued


def default_policy(account: str) -> AccountPolicy:
    """The guardrails of an account for which none are stored."""
    return (default_live_policy if account == LIVE else default_paper_policy)(account)


def _edit[T](
    key: str,
    before: T,
    after: T,
    version: int,
    raises: tuple[str, ...],
    *,
    needs_token: bool,
    clock: Clock,
) -> Edit[T]:
    return Edit(
        key=key,
        before=before,
        after=after,
        version=version,
        raises=raises,
        needs_token=needs_token,
        at_ms=clock.now_ms(),
    )


def _expect(what: str, asked: int | None, found: int) -> None:
    if asked is not None and asked != found:
        raise VersionConflict(what, asked, found)


def _parameters[T](edit: Edit[T], changes: Changes) -> dict[str, str]:
    """What a token is for: this edit of this revision."""
    given = {name: str(value) for name, value in changes.items()}
    return {"key": edit.key, "version": str(edit.version)} | given


class _Told(TypedDict):
    actor: str
    trace_id: str
    before: dict[str, str | int | bool]
    after: dict[str, str | int | bool]


def _told(asked: Asked, before: object, after: object) -> _Told:
    return _Told(
        actor=asked.actor, trace_id=asked.trace_id, before=_as_row(before), after=_as_row(after)
    )


def _as_row(value: object) -> dict[str, str | int | bool]:
    if not isinstance(value, (RiskLimitSet, AccountPolicy)):
        return {}
    row = asdict(value)
    return {name: f"{it:f}" if isinstance(it, Decimal) else it for name, it in row.items()}
