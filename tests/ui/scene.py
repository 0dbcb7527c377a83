"""A desk with something in every list of every page: what the pages can show, and every control they have."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from actors import retry_queue
from actors.audit import note
from actors.reconcile_sides import Sides, sides_key, sides_row
from actors.signal_status import new_signal_status, status_key
from desk.clock import HOUR_MS, MINUTE_MS
from desk.learning.versions import VersionStatus
from desk.market.candles import Candles
from desk.market.gaps import GapEvent, GapStatus
from desk.market.ingestion import IngestionKind, IngestionRun
from desk.market.retries import RetryStatus
from desk.market.signals import receive
from desk.store import kinds, signals
from desk.store.evaluation_files import EvaluationFiles
from desk.store.memory import MemoryStore
from desk.trading.breaker import Breaker, BreakerState
from desk.trading.orders import (
    Leg,
    Side,
    VenueOrder,
    VenueOrderStatus,
    VenuePosition,
)
from desk.wallclock import wall_ms
from tests.serve_apps.test_retries import DEAD
from tests.ui.conftest import (
    NOW_MS,
    PAIR,
    START_MS,
    FakeDesk,
    Served,
    fill_store,
    replace_times,
    rest,
    serve,
)
from tests.ui.reports import put_reports, traded

CHANNEL = "telegram:calls"
CANDLES = 2_000
OPEN_GAP = GapEvent(
    gap_id="g1",
    pair=PAIR,
    interval="1m",
    source_type="bingx_candles",
    start_ms=START_MS + 100 * MINUTE_MS,
    end_ms=START_MS + 109 * MINUTE_MS,
    missing_points=10,
    status=GapStatus.OPEN,
    detected_ms=NOW_MS,
    attempts=2,
)


def trip(store: MemoryStore, account: str = "paper") -> None:
    """Open an account's circuit breaker for an hour."""
    breaker = Breaker(
        account=account,
        state=BreakerState.COOLDOWN,
        cooldown_until_ms=NOW_MS + HOUR_MS,
        trigger_reason="max_daily_loss",
    )
    store.put(kinds.BREAKERS, account, breaker, at_ms=NOW_MS)


def put_versions(store: MemoryStore) -> None:
    """A draft, and one that was promoted before and retired."""
    baseline = store.get(kinds.VERSIONS, "baseline-trend-v1")
    assert baseline is not None
    draft = replace(
        baseline.value, version_id="ppo-1", name="first try", algorithm="ppo", is_baseline=False
    )
    older = replace(
        draft,
        version_id="ppo-2",
        name="older",
        status=VersionStatus.RETIRED,
        promoted_at_ms=START_MS,
        promoted_by_evaluation_id="ev-1",
    )
    for version in (draft, older):
        store.put(kinds.VERSIONS, version.version_id, version, at_ms=START_MS)


def put_entry(store: MemoryStore, candles: Candles) -> str:
    """An entry that rests at the venue, of a trade of its own; returns the trade's id."""
    fence = store.acquire_lease("order_executor:paper", "test", 60_000)
    ledger = store.ledger("paper")
    assert ledger is not None
    return rest(store, ledger, candles, fence, Leg.ENTRY, Side.BUY, 1_950, 1_950).trade_id


def put_sides(store: MemoryStore) -> None:
    """What a comparison of the paper account kept: a position and an order that only the venue knows."""
    ledger = store.ledger("paper")
    assert ledger is not None
    held = [
        VenuePosition(
            pair=pair,
            quantity=quantity,
            average_price=price,
            leverage=1,
            unrealized_pnl=Decimal(0),
        )
        for pair, quantity, price in (
            *((row.pair, row.quantity, row.average_price) for row in ledger.positions.values()),
            ("ETH-USDT", Decimal("0.5"), Decimal(2_500)),
        )
    ]
    ours = tuple(store.active_orders("paper"))
    listed = [
        VenueOrder(
            client_order_id=name,
            venue_order_id=f"7{at}",
            pair=PAIR,
            side=Side.BUY,
            status=VenueOrderStatus.OPEN,
            quantity=Decimal("0.02"),
            filled_quantity=Decimal(0),
            average_price=Decimal(0),
            fees=Decimal(0),
            reduce_only=False,
            updated_ms=NOW_MS,
        )
        for at, name in enumerate([*(order.client_order_id for order in ours), "by-hand"])
    ]
    sides = Sides(ours=ours, theirs=tuple(listed), ledger=ledger, positions=tuple(held), traded=())
    row = sides_row(sides, {}, now_ms=NOW_MS)
    store.put(kinds.STATE, sides_key("paper"), row, at_ms=NOW_MS)


def put_signals(store: MemoryStore, now_wall_ms: int) -> None:
    """A channel that was synced, with two messages of the last hour."""
    status = replace(
        new_signal_status("telegram", CHANNEL), status="ok", last_success_ms=now_wall_ms
    )
    store.put(kinds.SOURCES, status_key("telegram", CHANNEL), status, at_ms=now_wall_ms)
    for minute, text in ((5, "BTC long at 43,000"), (9, "<b>ETH</b> short now")):
        at_ms = now_wall_ms - minute * MINUTE_MS
        signals.append(store, receive(CHANNEL, text.encode(), received_ms=at_ms))


def fill_lists(store: MemoryStore, candles: Candles, now_wall_ms: int) -> None:
    """What `fill_store` leaves empty: a gap, failed jobs, an open breaker, versions, an audit."""
    store.put(kinds.GAPS, OPEN_GAP.gap_id, OPEN_GAP, at_ms=OPEN_GAP.start_ms)
    for item_id, status in (("rty1", RetryStatus.DEAD), ("rty2", RetryStatus.WAITING)):
        item = replace(
            DEAD, item_id=item_id, status=status, next_attempt_at_ms=now_wall_ms + 60_000
        )
        retry_queue.put(store, item, expected_version=0)
    trip(store)
    put_versions(store)
    put_entry(store, candles)
    put_sides(store)
    put_signals(store, now_wall_ms)
    limits = store.get(kinds.RISK_LIMITS, "default")
    assert limits is not None
    careful = replace(limits.value, set_id="careful", name="careful", active=False)
    store.put(kinds.RISK_LIMITS, "careful", careful, at_ms=START_MS)
    fetch = IngestionRun(
        run_id="ir1",
        source="bingx",
        source_type="bingx_candles",
        kind=IngestionKind.POLL,
        pair=PAIR,
        interval="1m",
        started_ms=NOW_MS - MINUTE_MS,
        updated_ms=NOW_MS,
    )
    store.put(kinds.INGESTION, fetch.run_id, fetch, at_ms=fetch.started_ms)
    for action, before, after in (
        ("run.start", {}, {"status": "running"}),
        ("run.pause", {"status": "running"}, {"status": "paused", "pause_reason": "news at noon"}),
        ("run.resume", {"status": "paused"}, {"status": "running", "pause_reason": ""}),
    ):
        note(
            store,
            action,
            "run/run-1",
            actor="operator",
            trace_id=f"tr{action}",
            at_ms=NOW_MS,
            before=before,
            after=after,
        )


@contextmanager
def serve_whole(walk: Callable[..., Candles], folder: Path) -> Iterator[Served]:
    """Serve a desk with something in every list."""
    store, files = MemoryStore(), EvaluationFiles(folder)
    candles = replace_times(walk(CANDLES, seed=11))
    fill_store(store, candles)
    fill_lists(store, candles, wall_ms())
    trades = [traded(number, since_ms=0, every_ms=4 * MINUTE_MS) for number in range(12)]
    put_reports(store, files, trades=trades, older_pair="ETH-USDT", version_id="ppo-1")
    desk = FakeDesk(store)
    with serve(store, desk, files, signal_sources=(("telegram", CHANNEL),)) as url:
        yield Served(url=url, store=store, desk=desk)
