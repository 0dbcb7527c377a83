"""A real browser in front of the real API, on a filled in-memory store and a desk that writes down its orders."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from actors import source_book
from actors.commands import FeedScope, Preflight, StartGate, Turned
from actors.control import BackfillAsk, ReconcileReport, StartRun
from actors.events import job_event
from desk import ids
from desk.clock import DAY_MS, MINUTE_MS, ManualClock
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
    Mode,
    Run,
    RunStatus,
)
from desk.settings import load_settings
from desk.store import kinds
from desk.store.evaluation_files import EvaluationFiles
from desk.store.memory import MemoryStore
from desk.store.port import Event, Fence, Stream
from desk.trading.instruments import Instrument
from desk.trading.ledger import Ledger, book_fill, mark
from desk.trading.orders import Fill, Leg, Order, OrderState, Side
from desk.trading.risk import RiskLimitSet
from serve_apps.api import ApiOptions, build_api
from serve_apps.context import ApiFacts
from serve_apps.desk_port import EvaluationAsk, TrainingAsk
from serve_apps.ingestion_settings import ingestion_settings
from serve_apps.sse import StreamTimes
from serve_apps.ui.assets import load_assets

PAIR = "BTC-USDT"
START_MS = 1_767_225_600_000
"""1 January 2026."""
CANDLES = 2_000
NOW_MS = START_MS + CANDLES * MINUTE_MS + 20_000


class StoredCandles:
    """The store itself as the reader of candle pages."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def read(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Candles:
        return self._store.read_candles(pair, interval, start_ms, end_ms)

    def bounds(self, pair: str, interval: str) -> tuple[int, int, int] | None:
        return self._store.candle_bounds(pair, interval)


@dataclass
class FakeDesk:
    """Carries commands out on the documents only, and remembers them."""

    store: MemoryStore
    commands: list[tuple[Any, ...]] = field(default_factory=list)
    refuse: Exception | None = None
    gates: tuple[StartGate, ...] = ()
    """What a preflight answers; a start that passes them gets a token."""

    def _note(self, *command: Any) -> None:
        self.commands.append(command)
        if self.refuse is not None:
            raise self.refuse

    def _move(self, run: Run) -> Run:
        event = Event(topic="run", key=run.run_id, data={"status": str(run.status)}, at_ms=NOW_MS)
        self.store.put(kinds.RUNS, run.run_id, run, at_ms=run.started_ms, event=event)
        return run

    def _current(self) -> Run:
        return self.store.list(kinds.RUNS)[0].value

    async def preflight(
        self, agent_id: str, ask: StartRun, *, actor: str, trace_id: str
    ) -> Preflight:
        self._note("preflight", ask)
        passed = all(gate.passed for gate in self.gates)
        return Preflight(
            agent_id=agent_id,
            mode=ask.mode,
            pair=ask.pair,
            version_id=ask.version_id or "baseline-trend-v1",
            gates=self.gates,
            confirm_name=ask.pair,
            confirm_token="token-1" if passed else None,
            expires_at_ms=NOW_MS + MINUTE_MS if passed else None,
        )

    async def kill_agent(
        self, agent_id: str, *, on: bool, reason: str, flatten: bool, actor: str, trace_id: str
    ) -> int:
        self._note("kill_agent", on, reason, flatten)
        doc = self.store.get(kinds.AGENTS, agent_id)
        assert doc is not None
        agent = replace(doc.value, kill_switch=on, kill_reason=reason if on else "")
        self.store.put(kinds.AGENTS, agent_id, agent, at_ms=NOW_MS)
        return 1 if on else 0

    async def start_run(self, agent_id: str, ask: StartRun, *, actor: str, trace_id: str) -> Run:
        self._note("start", ask)
        return self._move(a_run(run_id="run-2", pair=ask.pair, started_ms=NOW_MS))

    async def turn_feeds(
        self, wish: str, scope: FeedScope, *, dry_run: bool = False, actor: str, trace_id: str
    ) -> Turned:
        self._note(wish, scope, dry_run)
        runs = [doc.value for doc in self.store.list(kinds.RUNS)]
        hit = [run.run_id for run in runs if wish == "pause" and run.pair == scope.pair]
        return Turned(sources=1, run_ids=tuple(hit))

    async def take_up(self, job: Job) -> None:
        self._note("take_up", job.job_id)

    async def turn_source(self, source: str, wish: str, *, actor: str, trace_id: str) -> int:
        self._note(wish, source)
        return 1

    async def put_away(self, job: Job) -> None:
        self._note("put_away", job.job_id)

    async def start_training(self, ask: TrainingAsk, *, actor: str, trace_id: str) -> Job:
        self._note("train", ask)
        return self._job("job-t", "training", pair=ask.pair)

    async def start_evaluation(self, ask: EvaluationAsk, *, actor: str, trace_id: str) -> Job:
        self._note("evaluate", ask)
        return self._job("job-e", "evaluation", pair=ask.pair)

    def _job(self, job_id: str, kind: str, **arguments: str) -> Job:
        job = Job(
            job_id=job_id,
            kind=kind,
            status=JobStatus.RUNNING,
            created_ms=NOW_MS,
            updated_ms=NOW_MS,
            done=250,
            total=1000,
            unit="steps" if kind == "training" else "candles",
            detail="250 of 1,000" if kind != "backfill" else "250 of 1,000 candles",
            arguments=arguments,
        )
        self.store.put(kinds.JOBS, job.job_id, job, at_ms=NOW_MS)
        return job

    async def pause_run(self, agent_id: str, reason: str, *, actor: str, trace_id: str) -> Run:
        self._note("pause", reason)
        return self._move(replace(self._current(), status=RunStatus.PAUSED, pause_reason=reason))

    async def resume_run(self, agent_id: str, reason: str, *, actor: str, trace_id: str) -> Run:
        self._note("resume", reason)
        return self._move(replace(self._current(), status=RunStatus.RUNNING, pause_reason=""))

    async def stop_run(
        self, agent_id: str, reason: str, *, flatten: bool, actor: str, trace_id: str
    ) -> Run:
        self._note("stop", reason, flatten)
        return self._move(replace(self._current(), status=RunStatus.STOPPED, stopped_ms=NOW_MS))

    async def reconcile(self, account: str | None, *, actor: str, trace_id: str) -> ReconcileReport:
        self._note("reconcile", account)
        return ReconcileReport(checked=4, updated=0, errors=0, reconciled_at_ms=NOW_MS)

    async def backfill(self, ask: BackfillAsk, *, actor: str, trace_id: str) -> Job:
        self._note("backfill", ask)
        return self._job("job-1", "backfill", pair=ask.pair, interval=ask.interval)

    async def kill(self, *, on: bool, reason: str, flatten: bool, actor: str, trace_id: str) -> int:
        self._note("kill", on)
        event = Event(topic="risk", key="kill", data={"on": on}, at_ms=NOW_MS, stream=Stream.RISK)
        self.store.set_kill("all", on=on, reason=reason, event=event)
        return 1

    async def close_trade(
        self,
        trade_id: str,
        quantity: Decimal | None,
        reason: str,
        *,
        name: str,
        actor: str,
        trace_id: str,
    ) -> str:
        self._note("close", trade_id, quantity, reason)
        return "t1" + "a" * 24

    async def cancel_trade(
        self, trade_id: str, reason: str, *, actor: str, trace_id: str
    ) -> list[str]:
        self._note("cancel", trade_id, reason)
        return [trade_id]


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running API and what stands behind it."""

    url: str
    store: MemoryStore
    desk: FakeDesk


def a_run(**changes: Any) -> Run:
    run = Run(
        run_id="run-1",
        agent_id="desk",
        account="paper",
        mode=Mode.PAPER,
        pair=PAIR,
        interval="1m",
        version_id="baseline-trend-v1",
        risk_limit_set_id="default",
        decision_threshold=0.35,
        status=RunStatus.RUNNING,
        started_ms=START_MS,
        last_decided_open_ms=NOW_MS - 80_000,
    )
    return replace(run, **changes)


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
    store.put(kinds.DECISIONS, record.decision_id, record, at_ms=open_ms)
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


@pytest.fixture
def served(walk: Callable[..., Candles]) -> Iterator[Served]:
    """The API on a free port, filled."""
    store = MemoryStore()
    candles = replace_times(walk(CANDLES, seed=11))
    fill_store(store, candles)
    desk = FakeDesk(store)
    with serve(store, desk) as url:
        yield Served(url=url, store=store, desk=desk)


@pytest.fixture
def served_empty() -> Iterator[Served]:
    """The API of a desk that has just started: no candle, no run, no trade."""
    store = MemoryStore()
    agent = Agent(agent_id="desk", name="desk", allowed_instruments=(PAIR,))
    store.put(kinds.AGENTS, "desk", agent, at_ms=START_MS)
    desk = FakeDesk(store)
    with serve(store, desk) as url:
        yield Served(url=url, store=store, desk=desk)


def replace_times(candles: Candles) -> Candles:
    return replace(candles, open_ms=candles.open_ms - candles.open_ms[0] + START_MS)


class serve:
    """Run uvicorn in a thread for the length of a with-block; gives the base URL."""

    def __init__(
        self,
        store: MemoryStore,
        desk: FakeDesk,
        reports: EvaluationFiles | None = None,
        *,
        token: str | None = None,
        signal_sources: tuple[tuple[str, str], ...] = (),
        stream_times: StreamTimes = StreamTimes(),  # noqa: B008 - it never changes
        also: Callable[[FastAPI], None] = lambda app: None,
    ) -> None:
        facts = ApiFacts(
            venue="simulator 30x",
            api_token_set=token is not None,
            pairs=(PAIR, "ETH-USDT"),
            intervals=("1m",),
            signal_sources=signal_sources,
            ingestion=ingestion_settings(load_settings({})),
        )
        app = build_api(
            desk,
            store,
            ManualClock(NOW_MS),
            learning=desk,
            candles=StoredCandles(store),
            facts=facts,
            reports=reports,
            assets=load_assets(),
            api_token=token,
            options=ApiOptions(stream_times=stream_times),
        )
        also(app)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        config = uvicorn.Config(
            app, host="127.0.0.1", port=self._port, log_level="error", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline, "uvicorn did not start"
            time.sleep(0.02)
        return f"http://127.0.0.1:{self._port}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
