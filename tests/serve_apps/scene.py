"""A desk in memory for the API's tests: real rules and a real store, only the commands are a fake."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from actors.commands import (
    BackfillAsk,
    FeedScope,
    Preflight,
    ReconcileReport,
    StartGate,
    StartRun,
    Turned,
    name_of_run,
)
from actors.events import decision_event, fill_event, order_event
from desk import ids
from desk.clock import MINUTE_MS, ManualClock
from desk.errors import BadInput, NotFound
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.candles import Candle, Candles
from desk.market.ingestion import IngestionKind, IngestionRun
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
    SourceStatus,
)
from desk.settings import Settings, load_settings
from desk.store import kinds
from desk.store.decision_archive import DecisionArchive
from desk.store.evaluation_files import EvaluationFiles
from desk.store.memory import MemoryStore
from desk.store.port import Event, Fence
from desk.store.signals import Archive
from desk.trading import ledger as books
from desk.trading.instruments import Instrument
from desk.trading.limits import default_limits
from desk.trading.orders import Fill, Leg, Order, OrderState, Side
from serve_apps.addresses import networks
from serve_apps.api import ApiOptions, build_api
from serve_apps.context import ApiFacts, Feeds
from serve_apps.desk_port import EvaluationAsk, TrainingAsk
from serve_apps.ingestion_settings import ingestion_settings
from serve_apps.ui.assets import Assets

PAIR = "BTC-USDT"
OPEN_MS = 1_700_000_040_000 // MINUTE_MS * MINUTE_MS
"""Open time of the newest closed candle of the scene."""
NOW_MS = OPEN_MS + MINUTE_MS + 2_000
WALL_MS = 1_800_000_000_000
TOKEN = "correct-horse-battery-staple"
HERE = "http://127.0.0.1:8000"


@dataclass
class FakeDesk:
    """Commands that change the store a little and note who asked. `refuse` is raised instead."""

    store: MemoryStore
    clock: ManualClock
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refuse: Exception | None = None

    async def start_run(self, agent_id: str, ask: StartRun, *, actor: str, trace_id: str) -> Run:
        self._hear("start", agent_id=agent_id, ask=ask, actor=actor, trace_id=trace_id)
        count = len(self.store.list(kinds.RUNS))
        run = make_run(f"run-new-{count}", pair=ask.pair, started_ms=self.clock.now_ms() + count)
        self.store.put(kinds.RUNS, run.run_id, run, at_ms=run.started_ms)
        return run

    async def preflight(
        self, agent_id: str, ask: StartRun, *, actor: str, trace_id: str
    ) -> Preflight:
        self._hear("preflight", agent_id=agent_id, ask=ask, actor=actor, trace_id=trace_id)
        gate = StartGate(
            gate="kill_switch",
            passed=True,
            value="off",
            threshold="off",
            problem="",
            field="mode",
            is_of_live=False,
        )
        return Preflight(
            agent_id=agent_id,
            mode=ask.mode,
            pair=ask.pair,
            version_id=ask.version_id or BASELINE,
            gates=(gate,),
            confirm_name=name_of_run(agent_id, ask.pair),
            confirm_token="k.s",
            expires_at_ms=WALL_MS + 60_000,
        )

    async def pause_run(self, agent_id: str, reason: str, *, actor: str, trace_id: str) -> Run:
        self._hear("pause", agent_id=agent_id, reason=reason, actor=actor, trace_id=trace_id)
        return self._move(agent_id, status=RunStatus.PAUSED, pause_reason=reason)

    async def resume_run(self, agent_id: str, reason: str, *, actor: str, trace_id: str) -> Run:
        self._hear("resume", agent_id=agent_id, reason=reason, actor=actor, trace_id=trace_id)
        return self._move(agent_id, status=RunStatus.RUNNING, pause_reason="")

    async def stop_run(
        self, agent_id: str, reason: str, *, flatten: bool, actor: str, trace_id: str
    ) -> Run:
        self._hear("stop", agent_id=agent_id, reason=reason, flatten=flatten, actor=actor)
        return self._move(agent_id, status=RunStatus.STOPPED, stopped_ms=self.clock.now_ms())

    async def reconcile(self, account: str | None, *, actor: str, trace_id: str) -> ReconcileReport:
        self._hear("reconcile", account=account, actor=actor, trace_id=trace_id)
        return ReconcileReport(checked=3, updated=1, errors=0, reconciled_at_ms=self.clock.now_ms())

    async def backfill(self, ask: BackfillAsk, *, actor: str, trace_id: str) -> Job:
        self._hear("backfill", ask=ask, actor=actor, trace_id=trace_id)
        job = make_job("job-new", self.clock.now_ms(), pair=ask.pair)
        self.store.put(kinds.JOBS, job.job_id, job, at_ms=job.created_ms)
        return job

    async def take_up(self, job: Job) -> None:
        self._hear("take_up", job_id=job.job_id)

    async def put_away(self, job: Job) -> None:
        self._hear("put_away", job_id=job.job_id)

    async def turn_source(self, source: str, wish: str, *, actor: str, trace_id: str) -> int:
        self._hear("turn_source", source=source, wish=wish, actor=actor, trace_id=trace_id)
        return 1

    async def turn_feeds(
        self, wish: str, scope: FeedScope, *, dry_run: bool = False, actor: str, trace_id: str
    ) -> Turned:
        self._hear("turn_feeds", wish=wish, scope=scope, dry_run=dry_run, actor=actor)
        return Turned(sources=9, run_ids=("run-1",) if wish == "pause" else ())

    async def kill(self, *, on: bool, reason: str, flatten: bool, actor: str, trace_id: str) -> int:
        self._hear("kill", on=on, reason=reason, flatten=flatten, actor=actor, trace_id=trace_id)
        self.store.set_kill("all", on=on, reason=reason, event=note(self.clock.now_ms()))
        return 1

    async def kill_agent(
        self, agent_id: str, *, on: bool, reason: str, flatten: bool, actor: str, trace_id: str
    ) -> int:
        self._hear("kill_agent", agent_id=agent_id, on=on, reason=reason, flatten=flatten)
        row = self.store.get(kinds.AGENTS, agent_id)
        assert row is not None
        after = replace(row.value, kill_switch=on, kill_reason=reason if on else "")
        self.store.put(kinds.AGENTS, agent_id, after, at_ms=row.at_ms)
        return 1

    async def cancel_trade(
        self, trade_id: str, reason: str, *, actor: str, trace_id: str
    ) -> list[str]:
        self._hear("cancel", trade_id=trade_id, reason=reason, actor=actor)
        return [trade_id]

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
        said = {"quantity": quantity, "reason": reason, "name": name, "actor": actor}
        self._hear("close", trade_id=trade_id, **said)
        return ids.client_order_id("paper", "", trace_id, "exit")

    async def start_training(self, ask: TrainingAsk, *, actor: str, trace_id: str) -> Job:
        self._hear("train", ask=ask, actor=actor, trace_id=trace_id)
        return make_job("job-train", self.clock.now_ms(), pair=ask.pair, kind="training")

    async def start_evaluation(self, ask: EvaluationAsk, *, actor: str, trace_id: str) -> Job:
        self._hear("evaluate", ask=ask, actor=actor, trace_id=trace_id)
        return make_job("job-evaluate", self.clock.now_ms(), pair=ask.pair, kind="evaluation")

    def _hear(self, command: str, **arguments: Any) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.heard.append((command, arguments))

    def _move(self, agent_id: str, **changes: Any) -> Run:
        for doc in self.store.list(kinds.RUNS):
            if doc.value.agent_id == agent_id and doc.value.stopped_ms is None:
                run = replace(doc.value, **changes)
                self.store.put(kinds.RUNS, run.run_id, run, at_ms=doc.at_ms)
                return run
        raise NotFound("run", agent_id)


@dataclass
class HotCandles:
    """Candles of the store alone, as the archive reads them."""

    store: MemoryStore

    def read(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Candles:
        return self.store.read_candles(pair, interval, start_ms, end_ms)

    def bounds(self, pair: str, interval: str) -> tuple[int, int, int] | None:
        return self.store.candle_bounds(pair, interval)


@dataclass
class Scene:
    """One desk: an agent on the baseline, a paper run, books, and a day of candles if asked."""

    store: MemoryStore
    clock: ManualClock
    desk: FakeDesk
    fence: Fence
    wall_ms: int = WALL_MS
    archive: Archive | None = None
    past_decisions: DecisionArchive | None = None
    home: Path | None = None
    reports: EvaluationFiles | None = None

    def app(
        self,
        *,
        token: str | None = None,
        feeds: Feeds | None = None,
        signal_sources: tuple[tuple[str, str], ...] = (),
        proxies: tuple[str, ...] = (),
        settings: Settings | None = None,
        **options: Any,
    ) -> FastAPI:
        """Build the API over this desk."""
        chosen = {"login_delay_s": 0.0, "wall_ms": lambda: self.wall_ms, **options}
        return build_api(
            self.desk,
            self.store,
            self.clock,
            learning=self.desk,
            candles=HotCandles(self.store),
            archive=self.archive,
            past_decisions=self.past_decisions,
            home=self.home,
            reports=self.reports,
            facts=ApiFacts(
                venue="simulator 30x",
                api_token_set=token is not None,
                pairs=(PAIR, "ETH-USDT"),
                intervals=("1m",),
                feeds=feeds or Feeds(),
                signal_sources=signal_sources,
                proxies=networks(proxies),
                ingestion=ingestion_settings(settings or load_settings({})),
            ),
            assets=NO_PAGES,
            api_token=token,
            options=ApiOptions(**chosen),
        )

    def candles(self, count: int, *, missing: set[int] | None = None) -> None:
        """Store `count` 1m candles that end with the scene's newest; `missing` counts from the first."""
        first_ms = OPEN_MS - (count - 1) * MINUTE_MS
        rows = [
            Candle(first_ms + i * MINUTE_MS, 100.0 + i, 101.0 + i, 99.0 + i, 100.5 + i, 1.0 + i)
            for i in range(count)
            if i not in (missing or set())
        ]
        self.store.write_candles(PAIR, "1m", Candles.of(rows))

    def order(self, decision: str = "d1", *, leg: Leg = Leg.ENTRY, **changes: Any) -> Order:
        """Store an approved order, as the risk ledger does."""
        order_id = ids.client_order_id("paper", "run-1", decision, leg.value)
        order = Order(
            client_order_id=order_id,
            account="paper",
            run_id="run-1",
            decision_id=decision,
            trade_id=order_id,
            pair=PAIR,
            leg=leg,
            side=Side.BUY,
            quantity=Decimal("0.0100"),
            reduce_only=leg is Leg.EXIT,
            reference_price=Decimal("40000.0"),
            decided_open_ms=OPEN_MS,
            created_ms=self.clock.now_ms(),
            trace_id="tr-order",
            reserved_quote=Decimal(400),
            updated_ms=self.clock.now_ms(),
        )
        order = replace(order, **changes)
        return self.store.create_order(
            order,
            self.ledger(),
            fence=self.fence,
            request_id=f"create-{order.client_order_id}",
            event=order_event(order, at_ms=order.created_ms),
        )

    def send(self, order: Order) -> Order:
        """Move an order to where the venue has acknowledged it."""
        return self.move(self.move(order, "sending"), "open")

    def move(self, order: Order, state: str) -> Order:
        """Move an order by one state."""
        after = replace(order, state=OrderState(state), venue_order_id="v1", attempts=1)
        return self.store.move_order(
            order,
            after,
            fence=self.fence,
            request_id=f"{state}-{order.client_order_id}",
            event=order_event(after, at_ms=self.clock.now_ms()),
        )

    def fill(self, order: Order, price: str = "40004.0") -> Order:
        """Fill an acknowledged order whole."""
        fill = Fill(
            fill_id=f"f-{order.client_order_id}",
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            pair=order.pair,
            side=order.side,
            quantity=order.quantity,
            price=Decimal(price),
            fee=Decimal("0.2"),
            is_maker=False,
            filled_ms=self.clock.now_ms(),
        )
        before = self.ledger()
        after_ledger, realized = books.book_fill(before, fill, order=order)
        after = replace(
            order,
            state=OrderState.FILLED,
            filled_quantity=order.quantity,
            average_price=fill.price,
            fees=fill.fee,
            realized_pnl=realized,
            updated_ms=fill.filled_ms,
        )
        booked = self.store.apply_fill(
            fill,
            order,
            after,
            before,
            after_ledger,
            fence=self.fence,
            request_id=f"fill-{order.client_order_id}",
            event=fill_event(fill, after, at_ms=fill.filled_ms),
        )
        assert booked is not None
        return booked[0]

    def decide(self, open_ms: int = OPEN_MS, **changes: Any) -> DecisionRecord:
        """Store a decision of the scene's run."""
        record = make_decision(open_ms, **changes)
        kind = kinds.decisions_of_run(record.run_id)
        event = decision_event(record, at_ms=record.decided_at_ms)
        self.store.put(kind, record.decision_id, record, at_ms=open_ms, event=event)
        return record

    def ledger(self) -> books.Ledger:
        found = self.store.ledger("paper")
        assert found is not None
        return found

    def alert(self, alert_id: str = "late:BTC", **changes: Any) -> Alert:
        alert = replace(
            Alert(
                alert_id=alert_id,
                category="data",
                severity="warning",
                code="late",
                detail="a candle was late",
                created_ms=NOW_MS,
            ),
            **changes,
        )
        self.store.put(kinds.ALERTS, alert_id, alert, at_ms=alert.created_ms)
        return alert

    def beat(self, name: str = "supervisor", *, age_ms: int = 0) -> None:
        """Store an actor's heartbeat of `age_ms` ago."""
        status = ActorStatus(
            name=name,
            role=name,
            node="n1",
            pid=42,
            epoch=1,
            restarts=0,
            started_wall_ms=self.wall_ms - 100_000,
            last_heartbeat_wall_ms=self.wall_ms - age_ms,
            rss_bytes=100_000_000,
            status="up",
        )
        self.store.put(kinds.ACTORS, name, status, at_ms=self.wall_ms)

    def source(self, *, last_event_ms: int, **changes: Any) -> None:
        status = SourceStatus(
            source_type="bingx_candles",
            pair=PAIR,
            interval="1m",
            enabled=True,
            status="ok",
            freshness_threshold_s=120,
            last_event_ms=last_event_ms,
            last_success_ms=last_event_ms,
        )
        status = replace(status, **changes)
        key = f"{status.source_type}:{status.pair}:{status.interval}"
        self.store.put(kinds.SOURCES, key, status, at_ms=NOW_MS)

    def version(self, version_id: str, **changes: Any) -> AgentVersion:
        """Register a version; without changes a trained draft."""
        version = replace(make_version(), version_id=version_id, is_baseline=False, **changes)
        self.store.put(kinds.VERSIONS, version_id, version, at_ms=version.created_ms)
        return version


NO_PAGES = Assets(folder=Path("/nonexistent"), import_map="{}", script_urls={}, problem="no pages")
BASELINE = "baseline-trend-v1"


def make_scene() -> Scene:
    store, clock = MemoryStore(), ManualClock(NOW_MS)
    fence = store.acquire_lease("ledger:paper", "test", 60_000)
    opened = books.open_ledger("paper", Decimal(10_000), now_ms=NOW_MS)
    store.create_ledger(opened, fence=fence, event=note(NOW_MS))
    agent = Agent(
        agent_id="desk",
        name="Desk",
        allowed_instruments=(PAIR,),
        active_version_id=BASELINE,
    )
    store.put(kinds.AGENTS, "desk", agent, at_ms=1)
    store.put(kinds.VERSIONS, BASELINE, make_version(), at_ms=1)
    store.put(kinds.RISK_LIMITS, "default", default_limits(), at_ms=1)
    run = make_run("run-1")
    store.put(kinds.RUNS, run.run_id, run, at_ms=run.started_ms)
    anchor = {"market_ms": NOW_MS, "wall_ms": WALL_MS, "speed": 30.0}
    store.put(kinds.STATE, "clock", anchor, at_ms=NOW_MS)
    instrument = Instrument(
        pair=PAIR,
        tick=Decimal("0.1"),
        lot=Decimal("0.0001"),
        min_quantity=Decimal("0.0001"),
        min_notional=Decimal(2),
        maker_rate=Decimal("0.0002"),
        taker_rate=Decimal("0.0005"),
        max_leverage=125,
    )
    store.put(kinds.INSTRUMENTS, PAIR, instrument, at_ms=1)
    return Scene(store=store, clock=clock, desk=FakeDesk(store, clock), fence=fence)


def make_version() -> AgentVersion:
    return AgentVersion(
        version_id=BASELINE,
        agent_id="desk",
        name="Trend rule",
        algorithm="baseline_trend_rule",
        is_baseline=True,
        status=VersionStatus.PROMOTED,
        artifact_uri="file:artifacts/baseline-trend-v1",
        artifact_sha256="0" * 64,
        artifact_bytes=100,
        feature_set_id="features-v1",
        created_ms=1,
    )


def make_run(run_id: str, *, pair: str = PAIR, started_ms: int = OPEN_MS, **changes: Any) -> Run:
    run = Run(
        run_id=run_id,
        agent_id="desk",
        account="paper",
        mode=Mode.PAPER,
        pair=pair,
        interval="1m",
        version_id=BASELINE,
        risk_limit_set_id="default",
        decision_threshold=0.35,
        status=RunStatus.RUNNING,
        started_ms=started_ms,
    )
    return replace(run, **changes)


def make_decision(open_ms: int = OPEN_MS, **changes: Any) -> DecisionRecord:
    record = DecisionRecord(
        decision_id=ids.decision_id("run-1", PAIR, "1m", open_ms),
        run_id="run-1",
        pair=PAIR,
        interval="1m",
        open_ms=open_ms,
        decided_at_ms=open_ms + MINUTE_MS + 500,
        action=Action.TRADE,
        hold_reason="",
        target=1.0,
        confidence=0.9,
        version_id=BASELINE,
        feature_set_id="features-v1",
        observation_sha256="a" * 64,
        candles_sha256="b" * 64,
        reference_price="40000.0",
        gates=(GateResult(gate="run_running", passed=True),),
        trace_id=ids.trace_id("candle", PAIR, "1m", open_ms),
        latency_ms={"total": 12.0},
    )
    return replace(record, **changes)


def make_job(job_id: str, at_ms: int, *, pair: str = PAIR, **changes: Any) -> Job:
    job = Job(
        job_id=job_id,
        kind="backfill",
        status=JobStatus.RUNNING,
        created_ms=at_ms,
        updated_ms=at_ms,
        done=25,
        total=100,
        unit="candles",
        arguments={"pair": pair},
    )
    return replace(job, **changes)


def make_ingestion_run(run_id: str, **changes: Any) -> IngestionRun:
    run = IngestionRun(
        run_id=run_id,
        source="bingx",
        source_type="bingx_candles",
        kind=IngestionKind.POLL,
        started_ms=NOW_MS,
        updated_ms=NOW_MS,
    )
    return replace(run, **changes)


def note(at_ms: int) -> Event:
    return Event(topic="test", key="test", data={}, at_ms=at_ms)


def refuse_pair() -> BadInput:
    return BadInput("pair", "was XRP-USDT, expected one of BTC-USDT")
