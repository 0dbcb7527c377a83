"""The same random sequence of calls on both stores gives the same answers, step by step.

`RAYDESK_STORE_SEQUENCES` sets how many sequences of 20 to 40 calls are tried, `RAYDESK_STORE_SEED`
the first one's seed.
"""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import redis

from desk.errors import DeskError
from desk.learning.versions import VersionStatus
from desk.market.candles import Candles
from desk.store import kinds
from desk.store.library import library
from desk.store.memory import MemoryStore
from desk.store.port import Event, Fence, Gate, Kind, Sample, Store, Stream, VersionMove
from desk.store.valkey import ValkeyStore
from desk.trading.orders import TRANSITIONS, Order, OrderState

SEQUENCES = int(os.environ.get("RAYDESK_STORE_SEQUENCES", "1000"))
PART = 100
"""Sequences per test."""
FIRST_SEED = int(os.environ.get("RAYDESK_STORE_SEED", "0"))
NOTES: Kind[dict[str, Any]] = Kind(name="note", type=dict[str, Any])
START_MS = 1_700_000_040_000
DAY_MS = 86_400_000
ACCOUNTS = ("paper", "live")
NAMES = ("c1", "c2", "c3", "c4")
PAIRS = ("BTC-USDT", "ETH-USDT")
AMOUNTS = tuple(Decimal(text) for text in ("0", "0.00", "10.50", "1E+3"))
STATES = tuple(OrderState)

type Call = tuple[str, dict[str, Any]]


class Dice(random.Random):
    """Draws the arguments of one sequence of calls."""

    def some(self, common: Any, *rare: Any, share: float = 0.1) -> Any:
        """Mostly the first; one of the others in `share` of the draws."""
        return self.choice(rare) if self.random() < share else common

    def request(self) -> str:
        return f"q{self.randrange(61)}"

    def state(self) -> OrderState | int:
        """A state, or the n-th of those the order may move to."""
        return self.randrange(6) if self.random() < 0.67 else self.choice(STATES)

    def epoch_off(self) -> int:
        return self.some(0, -1, 1, share=0.17)

    def wall_ms(self) -> int:
        return self.some(0, DAY_MS, share=0.25) + self.randrange(10)

    def evaluation(self) -> str:
        return self.choice(("e1", "e2", "e3"))

    def version(self) -> str:
        return self.choice(("v1", "v2"))


CALLS: dict[str, Callable[[Dice], dict[str, Any]]] = {
    "create": lambda dice: {
        "name": dice.choice(NAMES),
        "account": dice.choice(ACCOUNTS),
        "state": dice.some(OrderState.INTENT, OrderState.OPEN),
        "reduce_only": dice.random() < 0.5,
        "reserved": dice.choice(AMOUNTS),
        "ledger_behind": dice.some(0, -1),
        "epoch_off": dice.epoch_off(),
        "request": dice.request(),
        "after": dice.some("", dice.request(), share=0.33),
    },
    "move": lambda dice: {
        "name": dice.choice(NAMES),
        "state": dice.state(),
        "reserved": dice.choice(AMOUNTS),
        "behind": dice.some(0, -1),
        "epoch_off": dice.epoch_off(),
        "request": dice.request(),
    },
    "fill": lambda dice: {
        "name": dice.choice(NAMES),
        "number": dice.randrange(5),
        "state": dice.state(),
        "behind": dice.some(0, -1),
        "ledger_behind": dice.some(0, -1),
        "request": dice.request(),
    },
    "ledger": lambda dice: {
        "account": dice.choice(ACCOUNTS),
        "cash": dice.choice(AMOUNTS),
        "behind": dice.some(0, -1),
        "epoch_off": dice.epoch_off(),
        "request": dice.request(),
    },
    "adjust": lambda dice: {
        "account": dice.choice(ACCOUNTS),
        "number": dice.randrange(4),
        "cash": dice.choice(AMOUNTS),
        "behind": dice.some(0, -1),
        "epoch_off": dice.epoch_off(),
        "request": dice.request(),
    },
    "lease": lambda _: {},
    "renew": lambda dice: {"behind": dice.epoch_off()},
    "kill": lambda dice: {"scope": dice.choice((*ACCOUNTS, "all")), "on": dice.random() < 0.5},
    "put": lambda dice: {
        "key": dice.choice(NAMES),
        "at_ms": dice.randrange(10),
        "expected": dice.choice((None, 0, 1, 2)),
        "request": dice.request(),
    },
    "delete": lambda dice: {"key": dice.choice(NAMES)},
    "agent": lambda dice: {"at_ms": dice.randrange(10)},
    "evaluate": lambda dice: {
        "name": dice.evaluation(),
        "version": dice.version(),
        "pair": dice.choice(PAIRS),
        "verdict": dice.some("pass", "fail", share=0.25),
        "created_ms": dice.randrange(5),
    },
    "withdraw": lambda dice: {"name": dice.evaluation()},
    "promoted": lambda dice: {
        "version": dice.version(),
        "at_ms": dice.choice((None, 5)),
        "by": dice.evaluation(),
    },
    "flip": lambda dice: {
        "version": dice.version(),
        "evaluation": dice.some(dice.evaluation(), ""),
        "is_back": dice.random() < 0.25,
        "is_other": dice.random() < 0.15,
        "evaluation_off": dice.some(0, -1),
        "behind": dice.some(0, -1),
        "dataset": dice.some("00", "ff"),
        "status": dice.some(VersionStatus.PROMOTED, *VersionStatus, share=0.3),
        "request": dice.request(),
    },
    "begin": lambda dice: {
        "name": dice.choice(("start", "stop")),
        "body": dice.some("same", "other", share=0.25),
        "claim": dice.choice(("mine", "yours")),
        "now_ms": dice.wall_ms(),
    },
    "finish": lambda dice: {
        "name": dice.choice(("start", "stop")),
        "claim": dice.choice(("mine", "yours")),
        "now_ms": dice.wall_ms(),
        "answer": dice.choice((b"", b"\x00\xff", b"done")),
    },
    "emit": lambda dice: {"stream": dice.choice(tuple(Stream))},
    "trim": lambda dice: {"stream": dice.choice(tuple(Stream)), "keep": dice.randrange(21)},
    "candles": lambda dice: {
        "open_slots": [dice.randrange(1_001) for _ in range(dice.randint(1, 6))],
        "seed": dice.randrange(10),
    },
    "drop": lambda dice: {"slot": dice.randrange(1_101)},
    "record": lambda dice: {"at_ms": dice.randrange(51)},
    "audit": lambda dice: {
        "name": dice.choice(NAMES),
        "at_ms": dice.randrange(10),
        "off": dice.some(0, -1, 1, share=0.2),
    },
    "forget_audit": lambda dice: {"count": dice.randrange(3)},
}
WEIGHTS = {
    **{"move": 12, "fill": 5, "flip": 5, "create": 3, "begin": 4, "evaluate": 3},
    **{"finish": 3, "adjust": 3, "kill": 2, "put": 2, "audit": 2},
}


def sequence(seed: int) -> list[Call]:
    """20 to 40 calls after three orders, so that most moves and fills have something to move."""
    dice = Dice(seed)
    first: list[Call] = [
        (
            "create",
            {
                **CALLS["create"](dice),
                **{"name": f"c{n}", "state": OrderState.INTENT, "reduce_only": n == 3},
                **{"reserved": Decimal("10.50"), "ledger_behind": 0, "epoch_off": 0},
                **{"request": f"first{n}", "after": ""},
            },
        )
        for n in (2, 3, 4)
    ]
    names = dice.choices(
        tuple(CALLS), [WEIGHTS.get(name, 1) for name in CALLS], k=dice.randint(20, 40)
    )
    return first + [(name, CALLS[name](dice)) for name in names]


class Player:
    """Plays calls on one store and says what came of each."""

    def __init__(self, store: Store, rows: Any) -> None:
        self.store = store
        self.rows = rows
        self.epoch = store.acquire_lease("owner", "me", 1_000).epoch
        for account in ("paper", "live"):
            store.create_ledger(rows.ledger(account), fence=self.fence(), event=rows.event())
        store.put(kinds.AGENTS, "desk", rows.agent(), at_ms=0)
        store.put(kinds.DATASETS, "ds-1", rows.dataset(), at_ms=0)
        for version in ("v1", "v2"):
            self.promoted(version, None, "")
        self.evaluate("e1", "v1", "BTC-USDT", "pass", 1)

    def fence(self, off: int = 0) -> Fence:
        return Fence(role="owner", epoch=self.epoch + off)

    def play(self, what: str, fields: dict[str, Any]) -> object:
        try:
            return getattr(self, what)(**fields)
        except DeskError as refusal:
            return type(refusal), str(refusal)

    def create(
        self,
        *,
        name: str,
        account: str,
        state: OrderState,
        reduce_only: bool,
        reserved: Decimal,
        ledger_behind: int,
        epoch_off: int,
        request: str,
        after: str,
    ) -> object:
        ledger = self.store.ledger(account)
        assert ledger is not None
        order = self.rows.order(
            name,
            account=account,
            state=state,
            reduce_only=reduce_only,
            reserved_quote=reserved,
            created_ms=9 - int(name[1]),
            trade_id=f"t{int(name[1]) % 2}",
        )
        return self.store.create_order(
            order,
            replace(ledger, version=ledger.version + ledger_behind),
            fence=self.fence(epoch_off),
            request_id=request,
            event=self.rows.event("created", name),
            after=after,
        )

    def move(
        self,
        *,
        name: str,
        state: OrderState | int,
        reserved: Decimal,
        behind: int,
        epoch_off: int,
        request: str,
    ) -> object:
        before = self.store.order(name) or self.rows.order(name)
        before = replace(before, version=before.version + behind)
        return self.store.move_order(
            before,
            replace(before, state=_target(before, state), reserved_quote=reserved, reason=request),
            fence=self.fence(epoch_off),
            request_id=request,
            event=self.rows.event("moved", name),
        )

    def fill(
        self,
        *,
        name: str,
        number: int,
        state: OrderState | int,
        behind: int,
        ledger_behind: int,
        request: str,
    ) -> object:
        before = self.store.order(name) or self.rows.order(name)
        before = replace(before, version=before.version + behind)
        ledger = self.store.ledger(before.account)
        assert ledger is not None
        ledger = replace(ledger, version=ledger.version + ledger_behind)
        return self.store.apply_fill(
            self.rows.fill(f"f{number}", client_order_id=name, filled_ms=number % 2),
            before,
            replace(before, state=_target(before, state)),
            ledger,
            replace(ledger, cash=ledger.cash - number),
            fence=self.fence(),
            request_id=request,
            event=self.rows.event("filled", name),
        )

    def ledger(
        self, *, account: str, cash: Decimal, behind: int, epoch_off: int, request: str
    ) -> object:
        before = self.store.ledger(account)
        assert before is not None
        before = replace(before, version=before.version + behind)
        return self.store.move_ledger(
            before,
            replace(before, cash=cash),
            fence=self.fence(epoch_off),
            request_id=request,
            event=self.rows.event("marked", account),
        )

    def lease(self) -> object:
        self.epoch = self.store.acquire_lease("owner", "me", 1_000).epoch
        return self.epoch

    def renew(self, behind: int) -> object:
        return self.store.renew_lease(self.fence(behind), 1_000)

    def kill(self, scope: str, on: bool) -> object:
        return self.store.set_kill(scope, on=on, reason=scope, event=self.rows.event("kill", scope))

    def put(self, *, key: str, at_ms: int, expected: int | None, request: str) -> object:
        return self.store.put(
            NOTES,
            key,
            {"n": at_ms, "t": (1, 2)},
            at_ms=at_ms,
            expected_version=expected,
            event=self.rows.event("note", key),
            request_id=request,
        )

    def delete(self, key: str) -> object:
        return self.store.delete(NOTES, key)

    def emit(self, stream: Stream) -> object:
        self.store.emit(Event(topic="t", key="k", data={"x": [1]}, at_ms=1, stream=stream))
        return None

    def trim(self, stream: Stream, keep: int) -> object:
        return self.store.trim_events(stream, keep)

    def candles(self, open_slots: list[int], seed: int) -> object:
        values = np.random.default_rng(seed).random((5, len(open_slots)))
        candles = Candles(
            open_ms=START_MS + 60_000 * np.array(open_slots, dtype=np.int64),
            **dict(zip(("open", "high", "low", "close", "volume"), values, strict=True)),
        )
        return self.store.write_candles("BTC-USDT", "1m", candles)

    def drop(self, slot: int) -> object:
        return self.store.drop_candles("BTC-USDT", "1m", START_MS + slot * 60_000)

    def record(self, at_ms: int) -> object:
        sample = Sample(name="lag", value=at_ms / 3, unit="s", recorded_at_ms=at_ms, tags={})
        return self.store.record([sample])

    def adjust(
        self,
        *,
        account: str,
        number: int,
        cash: Decimal,
        behind: int,
        epoch_off: int,
        request: str,
    ) -> object:
        before = self.store.ledger(account)
        assert before is not None
        before = replace(before, version=before.version + behind)
        return self.store.adjust_ledger(
            self.rows.adjustment(f"a{number}", at_ms=number % 2, price=cash),
            before,
            replace(before, cash=cash),
            fence=self.fence(epoch_off),
            request_id=request,
            event=self.rows.event("adjusted", account),
        )

    def audit(self, name: str, at_ms: int, off: int) -> object:
        head = self.store.audit_head()
        row = self.rows.audit(name, at_ms=at_ms, seq=head.seq + 1 + off)
        return self.store.append_audit(row, event=self.rows.event("audit", name))

    def forget_audit(self, count: int) -> object:
        oldest = self.store.audit_rows(self.store.audit_head().trimmed_seq, count)
        self.store.trim_audit(oldest)
        return oldest

    def begin(self, name: str, body: str, claim: str, now_ms: int) -> object:
        return self.store.begin_request(
            name, body, claim=claim, now_ms=now_ms, lease_ms=4, kept_ms=DAY_MS
        )

    def finish(self, name: str, claim: str, now_ms: int, answer: bytes) -> object:
        return self.store.finish_request(
            name, claim=claim, now_ms=now_ms, kept_ms=DAY_MS, answer=answer
        )

    def agent(self, at_ms: int) -> object:
        found = self.store.get(kinds.AGENTS, "desk")
        assert found is not None
        return self.store.put(
            kinds.AGENTS, "desk", replace(found.value, name=str(at_ms)), at_ms=at_ms
        )

    def evaluate(self, name: str, version: str, pair: str, verdict: str, created_ms: int) -> object:
        report = self.rows.evaluation(
            name, version_id=version, pair=pair, verdict=verdict, created_ms=created_ms
        )
        return self.store.put(kinds.EVALUATIONS, name, report, at_ms=created_ms).version

    def withdraw(self, name: str) -> object:
        return self.store.delete(kinds.EVALUATIONS, name)

    def promoted(self, version: str, at_ms: int | None, by: str) -> object:
        row = self.rows.version(
            version,
            status=VersionStatus.EVALUATING,
            promoted_at_ms=at_ms,
            promoted_by_evaluation_id=by if at_ms else "",
        )
        return self.store.put(kinds.VERSIONS, version, row, at_ms=1).version

    def flip(
        self,
        *,
        version: str,
        evaluation: str,
        is_back: bool,
        is_other: bool,
        evaluation_off: int,
        behind: int,
        dataset: str,
        status: VersionStatus,
        request: str,
    ) -> object:
        """Mostly as a caller would: the evaluation as it is stored now, and its own version."""
        before = self.store.get(kinds.AGENTS, "desk")
        assert before is not None
        before = replace(before, version=before.version + behind)
        judged = self.store.get(kinds.EVALUATIONS, evaluation)
        version = judged.value.version_id if judged and not is_other else version
        gate = Gate(
            evaluation_id=evaluation,
            evaluation_version=None
            if is_back
            else (judged.version if judged else 1) + evaluation_off,
            pair=judged.value.pair if judged and not is_other else PAIRS[0],
            dataset_sha256=dataset,
        )
        found = self.store.get(kinds.VERSIONS, version)
        moves = (
            [VersionMove(before=found, after=replace(found.value, status=status))] if found else []
        )
        return self.store.flip_version(
            before,
            replace(before.value, active_version_id=version),
            gate,
            moves=moves,
            request_id=request,
            event=self.rows.event("version", version),
        )

    def everything(self) -> dict[str, object]:
        """All that can be read back, without entry ids."""
        store = self.store
        events = store.read_events(dict.fromkeys(Stream, "0-0"))
        candles = store.read_candles("BTC-USDT", "1m", 0, 2**53)
        return {
            "orders": [store.order(name) for name in NAMES],
            "active": {a: store.active_orders(a) for a in ("paper", "live")},
            "reserved": {a: store.reservations(a) for a in ("paper", "live")},
            "ledgers": {a: store.ledger(a) for a in ("paper", "live")},
            "kills": {a: store.kill_reason(a) for a in ("paper", "live")},
            "trades": [store.trade_ids(before_ms=at_ms) for at_ms in (6, 7, 10)],
            "live_trades": [
                store.trade_ids(account="live"),
                store.trade_ids(account="live", before_ms=7),
            ],
            "of_trade": [store.orders_of_trade(t) for t in ("t0", "t1")],
            "fills": [store.fills_of_order(name) for name in NAMES],
            "notes": store.list(NOTES),
            "audit": [store.audit_head(), store.audit_rows(0, 50), store.list(kinds.AUDIT)],
            "agents": store.list(kinds.AGENTS),
            "evaluations": [
                (doc.key, doc.version, doc.at_ms) for doc in store.list(kinds.EVALUATIONS)
            ],
            "versions": store.list(kinds.VERSIONS),
            "adjusted": {a: store.adjustments(a) for a in ("paper", "live")},
            "requests": [self.begin(n, "same", "probe", 5) for n in ("start", "stop")],
            "events": [replace(event, event_id="") for event in events],
            "candles": [(*candles.row(n),) for n in range(len(candles))],
            "last": len(store.last_candles("BTC-USDT", "1m", 7)),
            "bounds": store.candle_bounds("BTC-USDT", "1m"),
            "samples": store.samples("lag", start_ms=5, end_ms=45, limit=4),
        }


@pytest.fixture
def quick(store: ValkeyStore) -> Iterator[ValkeyStore]:
    """The store without waiting for the disk: what it answers is compared, not what it keeps."""
    store.connection.money.config_set("appendfsync", "no")
    yield store
    store.connection.money.config_set("appendfsync", "always")


@pytest.mark.parametrize("begin", range(0, SEQUENCES, PART))
def test_both_stores_answer_alike(quick, rows, begin: int):
    for seed in range(FIRST_SEED + begin, FIRST_SEED + min(begin + PART, SEQUENCES)):
        calls = sequence(seed)
        try:
            _compare(quick, rows, calls)
        except Exception as different:
            shortest = _shortened(quick, rows, calls)
            raise AssertionError(f"seed {seed}: the stores differ after {shortest}") from different


def _shortened(store: ValkeyStore, rows: Any, calls: list[Call]) -> list[Call]:
    """The calls without those that the difference does not need."""
    at = 0
    while at < len(calls):
        fewer = calls[:at] + calls[at + 1 :]
        try:
            _compare(store, rows, fewer)
        except Exception:  # noqa: BLE001 - any failure is the one that is being made smaller
            calls = fewer
        else:
            at += 1
    return calls


MUTANTS = {
    "no_fencing": ("if newest ~= epoch then", "if false then"),
    "fence_lets_newer_pass": (
        "if newest ~= epoch then",
        "if tonumber(newest) > tonumber(epoch) then",
    ),
    "no_replay": ("    if stored then\n", "    if false then\n"),
    "replay_before_fence": (
        "if role ~= '' then",
        "if role ~= '' and redis.call('EXISTS', 'req:' .. request) == 0 then",
    ),
    "request_not_bound_to_its_row": (
        "if table.remove(answer, 1) ~= what then",
        "if not table.remove(answer, 1) then",
    ),
    "answer_not_remembered": ("    redis.call('SET', 'req:'", "    redis.call('EXISTS', 'req:'"),
    "no_event": ("  append_event(args)\n  return remember", "  return remember"),
    "epoch_does_not_rise": ("'epoch', 1)", "'epoch', 0)"),
    "order_overwritten": ("  if existing then return", "  if false then return"),
    "created_in_any_state": ("if state ~= 'intent' then", "if false then"),
    "created_before_what_it_comes_after": (
        "if after ~= '' and redis.call('EXISTS', 'req:' .. after) == 0 then",
        "if false then",
    ),
    "kill_ignored_at_creation": (
        "if reduce_only == '0' and is_killed(account) then return",
        "if false then return",
    ),
    "kill_stops_exits_too": (
        "if reduce_only == '0' and is_killed(account) then return",
        "if is_killed(account) then return",
    ),
    "kill_ignored_at_sending": (
        "if to == 'sending' and from ~= to and reduce_only == '0' and is_killed(account) then",
        "if false then",
    ),
    "kill_of_all_ignored": ("'risk:kill:' .. account, 'risk:kill:all'", "'risk:kill:' .. account"),
    "kill_never_lifted": (
        "redis.call('DEL', 'risk:kill:' .. scope)",
        "redis.call('EXISTS', 'risk:kill:' .. scope)",
    ),
    "stale_risk": (
        "  if found_v == '0' or found_v ~= ledger_v then return { 'CONFLICT', ledger_key, found_v } end\n  for at = OWN",
        "  for at = OWN",
    ),
    "reserving_keeps_the_ledger_version": (
        "  redis.call('HSET', ledger_key, 'v', next_version(found_v))\n  return finish(what, args, { 'OK', row })",
        "  return finish(what, args, { 'OK', row })",
    ),
    "nothing_reserved": (
        "  reserve(account, cid, reserved)\n  redis.call('HSET', ledger_key",
        "  redis.call('HSET', ledger_key",
    ),
    "order_version_ignored": (
        "if found_v == '0' or found_v ~= expected_v then return { 'CONFLICT', key, found_v } end\n  if not LEGAL",
        "if found_v == '0' then return { 'CONFLICT', key, found_v } end\n  if not LEGAL",
    ),
    "table_ignored": ("if not LEGAL[from .. '>' .. to] then", "if false then"),
    "terminal_overwrite": (
        "if not LEGAL[from .. '>' .. to] then",
        "if not (LEGAL[from .. '>' .. to] or TERMINAL[from]) then",
    ),
    "reservation_not_released": ("    reserve(account, cid, '')\n", ""),
    "terminal_stays_active": ("    redis.call('ZREM', 'ordx:open:' .. account, cid)\n", ""),
    "reopened_stays_inactive": (
        "    redis.call('ZADD', 'ordx:open:' .. account, created, cid)\n    --",
        "    --",
    ),
    "reopened_keeps_the_ledger_version": (
        "    redis.call('HSET', ledger_key, 'v', next_version(version_of(ledger_key)))\n",
        "",
    ),
    "reservation_not_changed": (
        "  reserve(account, cid, reserved)\n  if TERMINAL[from]",
        "  if TERMINAL[from]",
    ),
    "version_not_moved": ("'v', next_version(version), 'epoch'", "'v', version, 'epoch'"),
    "no_fill_dedupe": ("if redis.call('EXISTS', 'fill:' .. member) == 1 then", "if false then"),
    "fill_of_all_accounts_at_once": (
        "local member = account .. ':' .. fill_id",
        "local member = fill_id",
    ),
    "fill_ignores_the_ledger_version": (
        "  if found_v == '0' or found_v ~= ledger_v then return { 'CONFLICT', ledger_key, found_v } end\n\n  redis.call('HSET', 'fill:'",
        "  redis.call('HSET', 'fill:'",
    ),
    "fill_ignores_the_order": (
        "  local refusal = move_refused(cid, expected_v, to)\n  if refusal then return refusal end\n  local ledger_key",
        "  local ledger_key",
    ),
    "fill_keeps_the_ledger": (
        "'v', next_version(ledger_v), 'row', ledger_row)",
        "'v', next_version(ledger_v))",
    ),
    "fill_not_listed": ("  redis.call('ZADD', 'ordx:fills:' .. cid, filled_ms, member)\n", ""),
    "ledger_overwritten": (
        "if found_v == '0' or found_v ~= expected_v then return { 'CONFLICT', key, found_v } end\n  local version",
        "local version",
    ),
    "no_adjustment_dedupe": (
        "if redis.call('EXISTS', 'adj:' .. member) == 1 then",
        "if false then",
    ),
    "adjustment_ignores_the_ledger_version": (
        "  if found_v == '0' or found_v ~= ledger_v then return { 'CONFLICT', ledger_key, found_v } end\n\n  local version",
        "  local version",
    ),
    "adjustment_keeps_the_ledger": (
        "'v', version, 'row', ledger_row)",
        "'v', version)",
    ),
    "adjustment_not_listed": (
        "  redis.call('ZADD', 'ordx:adjustments:' .. account, at_ms, member)\n",
        "",
    ),
    "flip_ignores_the_agents_version": (
        "  if found_v == '0' or found_v ~= expected_v then return { 'CONFLICT', key, found_v } end\n  local refusal",
        "  local refusal",
    ),
    "flip_ignores_the_gate": (
        "  refusal = refusal or moves_refused(args, moves)",
        "  refusal = moves_refused(args, moves)",
    ),
    "gate_ignores_the_evaluations_version": (
        "if found_v == '0' or found_v ~= evaluation_v then",
        "if found_v == '0' then",
    ),
    "gate_ignores_the_verdict": ("report.verdict ~= 'pass' or ", ""),
    "gate_of_another_version": (" or report.version_id ~= version_id or", " or"),
    "gate_of_another_pair": (" or report.pair ~= pair then", " then"),
    "gate_ignores_the_dataset": (
        "if report.dataset_sha256 ~= dataset_sha256 or not dataset or dataset.sha256 ~= dataset_sha256 then",
        "if false then",
    ),
    "flip_ignores_the_versions": (
        "  refusal = refusal or moves_refused(args, moves)\n",
        "",
    ),
    "versions_stay_behind": (
        "next_version(args[at + 1]), 'row', args[at + 2])",
        "next_version(args[at + 1]))",
    ),
    "gate_ignores_newer_evaluations": (
        "if is_newer and newer.version_id == version_id and newer.pair == pair then",
        "if false then",
    ),
    "gate_ignores_ties": (
        "      or (newer.created_ms == report.created_ms and other > evaluation_id)\n",
        "",
    ),
    "record_without_a_promotion": ("type(promoted_ms) ~= 'number' or ", ""),
    "record_of_another_evaluation": (
        " or version.promoted_by_evaluation_id ~= evaluation_id then",
        " then",
    ),
    "flip_keeps_the_row": (
        "redis.call('HSET', key, 'v', version, 'row', row)\n  return finish(what, args, { 'OK', version, found[2], row })",
        "redis.call('HSET', key, 'v', version)\n  return finish(what, args, { 'OK', version, found[2], row })",
    ),
    "any_body_will_do": ("if found[1] ~= fingerprint then", "if false then"),
    "no_answer_again": ("if found[2] == 'done' then", "if false then"),
    "a_twin_is_let_in": ("if age_ms < tonumber(lease_ms) then", "if false then"),
    "a_dead_owner_locks_the_key": ("if age_ms < tonumber(lease_ms) then", "if true then"),
    "answers_kept_for_ever": (
        "if found[1] and age_ms < tonumber(kept_ms) then",
        "if found[1] then",
    ),
    "a_lost_claim_answers": ("or found[2] ~= claim then", "then"),
    "a_done_request_answers_again": ("if found[1] ~= 'in_flight' or found[2]", "if found[2]"),
    "a_forgotten_request_stays": ("    redis.call('DEL', key)\n  else", "  else"),
    "document_version_ignored": (
        "if expected_v ~= '' and expected_v ~= found_v then",
        "if false then",
    ),
    "document_not_indexed": ("  redis.call('ZADD', 'docx:' .. kind, at_ms, key)\n", ""),
    "deleted_document_stays_listed": ("  redis.call('ZREM', 'docx:' .. kind, key)\n", ""),
    "first_trade_time_moves": ("'ordx:trades', 'LT', created", "'ordx:trades', created"),
    "first_trade_time_of_the_account_moves": (
        "'ordx:trades:' .. account, 'LT', created",
        "'ordx:trades:' .. account, created",
    ),
    "candles_not_counted": ("'count', added)", "'count', 0)"),
    "earliest_lost": (
        "earliest = math.min(earliest, open_ms)",
        "earliest = open_ms",
    ),
    "earliest_kept_after_a_drop": (
        "    redis.call('HSET', meta_key, 'earliest',\n      string",
        "    redis.call('HEXISTS', meta_key, 'earliest',\n      string",
    ),
    "dropped_chunk_stays_indexed": ("    redis.call('ZREM', index_key, chunk)\n", ""),
    "late_sample_refused": (
        "if tonumber(newest_ms) > tonumber(recorded_ms) then recorded_ms = newest_ms end",
        "",
    ),
}
"""One guard or effect of a function removed or bent; some are the mutants of docs/reliability.md."""


@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_a_mutant_bends_is_there_once(mutant: str):
    assert library().source.count(MUTANTS[mutant][0]) == 1


@pytest.mark.nightly
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_bent_function_is_noticed(quick, rows, mutant: str):
    right, bent = MUTANTS[mutant]
    quick.connection.money.function_load(library().source.replace(right, bent), replace=True)

    def play() -> None:
        for seed in range(500):
            _compare(quick, rows, sequence(seed))

    try:
        with pytest.raises((AssertionError, redis.ResponseError, TypeError, ValueError)):
            play()
    finally:
        quick.connection.money.function_load(library().source, replace=True)


def _compare(store: ValkeyStore, rows: Any, calls: list[Call]) -> None:
    store.connection.money.flushall()
    memory, valkey = Player(MemoryStore(), rows), Player(store, rows)

    for what, fields in calls:
        assert valkey.play(what, fields) == memory.play(what, fields), (what, fields)

    seen = valkey.everything()
    assert seen == memory.everything()
    _check_reservations(seen)


def _target(before: Order, wanted: OrderState | int) -> OrderState:
    if isinstance(wanted, OrderState):
        return wanted
    legal = sorted(TRANSITIONS[before.state])
    return legal[wanted % len(legal)]


def _check_reservations(seen: dict[str, Any]) -> None:
    """S7: what is reserved is what the active orders reserve."""
    for account, orders in seen["active"].items():
        reserving = {
            order.client_order_id: order.reserved_quote for order in orders if order.reserved_quote
        }
        stored = {cid: Decimal(amount) for cid, amount in seen["reserved"][account].items()}
        assert stored == reserving
