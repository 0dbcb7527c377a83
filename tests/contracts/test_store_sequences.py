"""The same random sequence of calls on both stores gives the same answers, step by step.

`RAYDESK_STORE_SEQUENCES` sets how many sequences of 20 to 40 calls are tried.
"""

import os
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from desk.errors import DeskError
from desk.market.candles import Candles
from desk.store.library import library
from desk.store.memory import MemoryStore
from desk.store.port import Event, Fence, Kind, Sample, Store, Stream
from desk.store.valkey import ValkeyStore
from desk.trading.orders import TRANSITIONS, Order, OrderState

SEQUENCES = int(os.environ.get("RAYDESK_STORE_SEQUENCES", "40"))
NOTES: Kind[dict[str, Any]] = Kind(name="note", type=dict[str, Any])
START_MS = 1_700_000_040_000

accounts = st.sampled_from(["paper", "live"])
NAMES = ("c1", "c2", "c3", "c4")
names = st.sampled_from(NAMES)
requests = st.integers(0, 60).map(lambda n: f"q{n}")
stale = st.sampled_from([0] * 10 + [-1])
epochs = st.sampled_from([0] * 10 + [-1, 1])
states = st.one_of(st.sampled_from(OrderState), st.integers(0, 5), st.integers(0, 5))
"""A state, or the n-th of those the order may move to."""
amounts = st.sampled_from(["0", "0.00", "10.50", "1E+3"]).map(Decimal)
slots = st.lists(st.integers(0, 1_000), min_size=1, max_size=6)


CALLS = {
    "create": st.fixed_dictionaries(
        {
            "name": names,
            "account": accounts,
            "state": st.sampled_from([OrderState.INTENT] * 7 + [OrderState.OPEN]),
            "reduce_only": st.booleans(),
            "reserved": amounts,
            "ledger_behind": stale,
            "epoch_off": epochs,
            "request": requests,
        }
    ),
    "move": st.fixed_dictionaries(
        {
            "name": names,
            "state": states,
            "reserved": amounts,
            "behind": stale,
            "epoch_off": epochs,
            "request": requests,
        }
    ),
    "fill": st.fixed_dictionaries(
        {
            "name": names,
            "number": st.integers(0, 4),
            "state": states,
            "behind": stale,
            "ledger_behind": stale,
            "request": requests,
        }
    ),
    "ledger": st.fixed_dictionaries(
        {
            "account": accounts,
            "cash": amounts,
            "behind": stale,
            "epoch_off": epochs,
            "request": requests,
        }
    ),
    "lease": st.fixed_dictionaries({}),
    "renew": st.fixed_dictionaries({"behind": epochs}),
    "kill": st.fixed_dictionaries(
        {
            "scope": st.sampled_from(["paper", "live", "all"]),
            "on": st.booleans(),
        }
    ),
    "put": st.fixed_dictionaries(
        {
            "key": names,
            "at_ms": st.integers(0, 9),
            "expected": st.sampled_from([None, 0, 1, 2]),
            "request": requests,
        }
    ),
    "delete": st.fixed_dictionaries({"key": names}),
    "emit": st.fixed_dictionaries({"stream": st.sampled_from(Stream)}),
    "trim": st.fixed_dictionaries({"stream": st.sampled_from(Stream), "keep": st.integers(0, 20)}),
    "candles": st.fixed_dictionaries({"open_slots": slots, "seed": st.integers(0, 9)}),
    "drop": st.fixed_dictionaries({"slot": st.integers(0, 1_100)}),
    "record": st.fixed_dictionaries({"at_ms": st.integers(0, 50)}),
}
WEIGHTS = {"move": 12, "fill": 5, "create": 3, "kill": 2, "put": 2}
calls = st.sampled_from([name for name in CALLS for _ in range(WEIGHTS.get(name, 1))]).flatmap(
    lambda name: st.tuples(st.just(name), CALLS[name])
)
first_orders = st.tuples(accounts, accounts, accounts).map(
    lambda chosen: [
        (
            "create",
            {
                "name": f"c{n}",
                "account": account,
                "state": OrderState.INTENT,
                "reduce_only": n == 3,
                "reserved": Decimal("10.50"),
                "ledger_behind": 0,
                "epoch_off": 0,
                "request": f"first{n}",
            },
        )
        for n, account in enumerate(chosen, start=2)
    ]
)
sequences = st.tuples(first_orders, st.lists(calls, min_size=20, max_size=40)).map(
    lambda parts: parts[0] + parts[1]
)
"""Orders c2 to c4 exist from the start, so that most moves and fills have something to move."""


class Player:
    """Plays calls on one store and says what came of each."""

    def __init__(self, store: Store, rows: Any) -> None:
        self.store = store
        self.rows = rows
        self.epoch = store.acquire_lease("owner", "me", 1_000).epoch
        for account in ("paper", "live"):
            store.create_ledger(rows.ledger(account), fence=self.fence(), event=rows.event())

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
            "trades": [store.trade_ids(before_ms=at_ms) for at_ms in range(4, 10)],
            "live_trades": [
                store.trade_ids(account="live"),
                store.trade_ids(account="live", before_ms=7),
            ],
            "of_trade": [store.orders_of_trade(t) for t in ("t0", "t1")],
            "fills": [store.fills_of_order(name) for name in NAMES],
            "notes": store.list(NOTES),
            "events": [replace(event, event_id="") for event in events],
            "candles": [(*candles.row(n),) for n in range(len(candles))],
            "last": len(store.last_candles("BTC-USDT", "1m", 7)),
            "bounds": store.candle_bounds("BTC-USDT", "1m"),
            "samples": store.samples("lag", start_ms=5, end_ms=45, limit=4),
        }


many = settings(
    max_examples=SEQUENCES,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@many
@given(sequence=sequences)
def test_both_stores_answer_alike(store, rows, sequence):
    _compare(store, rows, sequence)


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
        "  if found_v == '0' or found_v ~= ledger_v then return { 'CONFLICT', ledger_key, found_v } end\n\n  redis.call('HSET', key",
        "  redis.call('HSET', key",
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
        "earliest, latest = math.min(earliest, open_ms),",
        "earliest, latest = open_ms,",
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
few = settings(many, max_examples=300, phases=[Phase.generate], derandomize=True, database=None)


@pytest.mark.nightly
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_bent_function_is_noticed(store, rows, mutant: str):
    right, bent = MUTANTS[mutant]
    assert library().source.count(right) == 1
    store.connection.money.function_load(library().source.replace(right, bent), replace=True)

    @few
    @given(sequence=sequences)
    def play(sequence: list[tuple[str, dict[str, Any]]]) -> None:
        _compare(store, rows, sequence)

    try:
        with pytest.raises((AssertionError, redis.ResponseError, TypeError, ValueError)):
            play()
    finally:
        store.connection.money.function_load(library().source, replace=True)


def _compare(store: ValkeyStore, rows: Any, sequence: list[tuple[str, dict[str, Any]]]) -> None:
    store.connection.money.flushall()
    memory, valkey = Player(MemoryStore(), rows), Player(store, rows)

    for what, fields in sequence:
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
