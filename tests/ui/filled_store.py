"""A store with a little of everything that the pages show: candles, orders, decisions, sources, a job."""

import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from actors import source_book
from actors.events import job_event
from desk import ids
from desk.clock import DAY_MS, MINUTE_MS
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.candles import Candles
from desk.runs import (
    Action,
    ActorStatus,
    Agent,
    Alert,
    DecisionRecord,
    GateResult,
    Job,
    JobStatus,
)
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Event, Fence, Stream
from desk.trading.instruments import Instrument
from desk.trading.ledger import Ledger, book_fill, mark
from desk.trading.orders import Fill, Leg, Order, OrderState, Side
from desk.trading.risk import RiskLimitSet
from tests.ui.fake_desk import NOW_MS, PAIR, START_MS, a_run


def fill_store(
    store: MemoryStore,
    candles: Candles,
    *,
    stored: Candles | None = None,
    has_levels: bool = False,
) -> None:
    """Two days of candles, one closed and one open paper trade, decisions, sources, actors, an alert.

    `stored` are those of the candles that the store has, by default all. With `has_levels` the open
    trade has a protective stop and a target.
    """
    clock = {"market_ms": NOW_MS, "wall_ms": time.time_ns() // 1_000_000, "speed": 30.0}
    store.put(kinds.STATE, "clock", clock, at_ms=NOW_MS)
    store.write_candles(PAIR, "1m", stored or candles)
    instrument = Instrument(
        pair=PAIR,
        tick=Decimal("0.1"),
        lot=Decimal("0.0001"),
        min_quantity=Decimal("0.0001"),
        min_notional=Decimal(2),
        maker_rate=Decimal("0.0002"),
        taker_rate=Decimal("0.0005"),
        max_leverage=100,
    )
    store.put(kinds.INSTRUMENTS, PAIR, instrument, at_ms=NOW_MS)
    agent = Agent(
        agent_id="desk",
        name="desk",
        allowed_instruments=(PAIR, "ETH-USDT"),
        active_version_id="baseline-trend-v1",
    )
    store.put(kinds.AGENTS, "desk", agent, at_ms=START_MS)
    version = AgentVersion(
        version_id="baseline-trend-v1",
        agent_id="desk",
        name="baseline trend rule",
        algorithm="baseline_trend_rule",
        is_baseline=True,
        status=VersionStatus.DRAFT,
        artifact_uri="artifacts/baseline-trend-v1",
        artifact_sha256="0" * 64,
        artifact_bytes=100,
        feature_set_id="fs1",
        created_ms=START_MS,
    )
    store.put(kinds.VERSIONS, version.version_id, version, at_ms=START_MS)
    limits = RiskLimitSet(
        set_id="default",
        name="default",
        max_position_size=Decimal(1000),
        leverage_cap=Decimal(3),
        max_daily_loss=Decimal(200),
        max_drawdown=Decimal("0.2"),
        max_open_positions=3,
        effective_from_ms=START_MS,
    )
    store.put(kinds.RISK_LIMITS, "default", limits, at_ms=START_MS)
    store.put(kinds.RUNS, "run-1", a_run(), at_ms=START_MS)
    trade(store, candles, has_levels=has_levels)
    for index in range(30):
        decide(store, candles, len(candles) - 1 - index)
    for known in source_book.configured((PAIR, "ETH-USDT"), ("1m",)):
        is_silent = (known.source_type, known.pair) == (source_book.CANDLES, "ETH-USDT")
        source = replace(
            known,
            status="stale" if is_silent else "ok",
            detail="",
            last_event_ms=NOW_MS - DAY_MS if is_silent else NOW_MS - 20_000,
            last_success_ms=NOW_MS,
        )
        key = source_book.key_of(source.source_type, source.pair, source.interval)
        store.put(kinds.SOURCES, key, source, at_ms=NOW_MS)
    wall = time.time_ns() // 1_000_000
    actor = ActorStatus(
        name="candle_poller:BTC-USDT",
        role="candle_poller",
        node="local",
        pid=4242,
        epoch=1,
        restarts=2,
        started_wall_ms=wall,
        last_heartbeat_wall_ms=wall,
        rss_bytes=132_000_000,
        status="up",
    )
    store.put(kinds.ACTORS, actor.name, actor, at_ms=NOW_MS)
    alert = Alert(
        alert_id="alert-1",
        category="data",
        severity="warning",
        code="source_stale:bingx_candles",
        detail="ETH-USDT is silent",
        created_ms=NOW_MS,
    )
    store.put(kinds.ALERTS, alert.alert_id, alert, at_ms=NOW_MS)


type Leap = tuple[Leg, Side, int, int]
"""An order: its leg and side, the row of its candle, and the row of its trade's entry."""
ONE_AND_A_HALF: tuple[Leap, ...] = (
    (Leg.ENTRY, Side.BUY, 1_400, 1_400),
    (Leg.EXIT, Side.SELL, 1_700, 1_400),
    (Leg.ENTRY, Side.SELL, 1_900, 1_900),
)


def trade(
    store: MemoryStore,
    candles: Candles,
    *,
    account: str = "paper",
    has_levels: bool = False,
    plan: Sequence[Leap] = ONE_AND_A_HALF,
) -> None:
    """By default one trade entered and left, another still open; through the store's own money calls."""
    fence = store.acquire_lease(f"order_executor:{account}", "test", 60_000)
    cash = Decimal(10_000)
    ledger = store.ledger(account) or store.create_ledger(
        Ledger(account=account, starting_cash=cash, cash=cash), fence=fence, event=_event("ledger")
    )
    for leg, side, row, trade_row in plan:
        levels = (Decimal("1.002"), Decimal("0.997")) if has_levels and row == 1_900 else None
        ledger = place(store, ledger, candles, fence, leg, side, row, trade_row, levels=levels)
    last = Decimal(str(candles.close[-1]))
    marked = mark(ledger, {PAIR: last}, now_ms=NOW_MS)
    store.move_ledger(
        ledger, marked, fence=fence, request_id=f"mark-{account}", event=_event("ledger")
    )


def rest(  # noqa: PLR0917 - in the order in which an order happens
    store: MemoryStore,
    ledger: Ledger,
    candles: Candles,
    fence: Fence,
    leg: Leg,
    side: Side,
    row: int,
    trade_row: int,
    *,
    levels: tuple[Decimal, Decimal] | None = None,
) -> Order:
    """Take one order up to where it rests at the venue: intent, sending, open.

    `levels`: its stop and its target, as parts of the price.
    """
    account = ledger.account
    open_ms = int(candles.open_ms[row])
    decision = ids.decision_id("run-1", PAIR, "1m", open_ms)
    opener = ids.decision_id("run-1", PAIR, "1m", int(candles.open_ms[trade_row]))
    price = Decimal(str(candles.open[row + 1]))
    order = Order(
        client_order_id=ids.client_order_id(account, "run-1", decision, leg),
        account=account,
        run_id="run-1",
        decision_id=decision,
        trade_id=ids.client_order_id(account, "run-1", opener, Leg.ENTRY),
        pair=PAIR,
        leg=leg,
        side=side,
        quantity=Decimal("0.0200"),
        reduce_only=leg is Leg.EXIT,
        reference_price=Decimal(str(candles.close[row])),
        decided_open_ms=open_ms,
        created_ms=open_ms + MINUTE_MS,
        trace_id=ids.trace_id("candle", PAIR, "1m", open_ms),
        stop_loss_price=(price * levels[0]).quantize(Decimal("0.1")) if levels else None,
        take_profit_price=(price * levels[1]).quantize(Decimal("0.1")) if levels else None,
    )
    order = store.create_order(
        order, ledger, fence=fence, request_id=f"c{account}{row}", event=_event("order")
    )
    for state in (OrderState.SENDING, OrderState.OPEN):
        after = replace(order, state=state, updated_ms=open_ms + MINUTE_MS)
        order = store.move_order(
            order, after, fence=fence, request_id=f"{state}{account}{row}", event=_event("order")
        )
    return order


def place(  # noqa: PLR0917 - as `rest`
    store: MemoryStore,
    ledger: Ledger,
    candles: Candles,
    fence: Fence,
    leg: Leg,
    side: Side,
    row: int,
    trade_row: int,
    *,
    levels: tuple[Decimal, Decimal] | None = None,
) -> Ledger:
    """Take one order through its whole life, until it is filled; `levels` as of `rest`."""
    order = rest(store, ledger, candles, fence, leg, side, row, trade_row, levels=levels)
    account = ledger.account
    open_ms = int(candles.open_ms[row])
    price = Decimal(str(candles.open[row + 1]))
    fill = Fill(
        fill_id=f"f{account}{row}",
        client_order_id=order.client_order_id,
        venue_order_id=str(row),
        pair=PAIR,
        side=side,
        quantity=order.quantity,
        price=price,
        fee=(order.quantity * price * Decimal("0.0005")).quantize(Decimal("1e-8")),
        is_maker=False,
        filled_ms=open_ms + MINUTE_MS + 1_000,
    )
    before = store.ledger(account)
    assert before is not None
    booked, realized = book_fill(before, fill, order=order)
    after = replace(
        order,
        state=OrderState.FILLED,
        filled_quantity=fill.quantity,
        average_price=price,
        fees=fill.fee,
        realized_pnl=realized,
        venue_order_id=str(row),
        updated_ms=fill.filled_ms,
    )
    done = store.apply_fill(
        fill,
        order,
        after,
        before,
        booked,
        fence=fence,
        request_id=f"f{account}{row}",
        event=_event("fill"),
    )
    assert done is not None
    return done[1]


def decide(store: MemoryStore, candles: Candles, row: int) -> None:
    open_ms = int(candles.open_ms[row])
    held = row % 3 == 0
    traded = row in {1_400, 1_700, 1_900}
    record = DecisionRecord(
        decision_id=ids.decision_id("run-1", PAIR, "1m", open_ms),
        run_id="run-1",
        pair=PAIR,
        interval="1m",
        open_ms=open_ms,
        decided_at_ms=open_ms + MINUTE_MS + 200,
        action=Action.TRADE if traded else Action.HOLD if held else Action.KEEP,
        hold_reason="confidence_below_threshold" if held else "",
        target=-1.0,
        confidence=0.31 if held else 0.62,
        version_id="baseline-trend-v1",
        feature_set_id="fs1",
        observation_sha256="a" * 64,
        candles_sha256="b" * 64,
        reference_price=str(candles.close[row]),
        gates=(GateResult(gate="run", passed=True), GateResult(gate="policy", passed=not held)),
        trace_id=ids.trace_id("candle", PAIR, "1m", open_ms),
        latency_ms={"features": 1.2, "policy": 4.5, "total": 12.0},
    )
    store.put(kinds.decisions_of_run("run-1"), record.decision_id, record, at_ms=open_ms)


def tell_job(store: MemoryStore, kind: str, status: JobStatus = JobStatus.RUNNING) -> Job:
    """A job as its worker tells of it: stored, and on the event stream."""
    job = Job(
        job_id=f"job-{kind}",
        kind=kind,
        status=status,
        created_ms=NOW_MS,
        updated_ms=NOW_MS,
        done=250,
        total=1000,
        unit="candles",
        detail="250 of 1,000",
        arguments={"pair": PAIR},
    )
    store.put(kinds.JOBS, job.job_id, job, at_ms=NOW_MS, event=job_event(job, at_ms=NOW_MS))
    return job


def _event(topic: str) -> Event:
    return Event(topic=topic, key="test", data={}, at_ms=NOW_MS, stream=Stream.ORDERS)


def replace_times(candles: Candles) -> Candles:
    return replace(candles, open_ms=candles.open_ms - candles.open_ms[0] + START_MS)
