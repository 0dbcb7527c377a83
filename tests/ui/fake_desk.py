"""The desk behind the pages: it carries commands out on the documents only, and writes them down."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from actors.commands import FeedScope, Preflight, StartGate, Turned
from actors.control import BackfillAsk, ReconcileReport, StartRun
from desk.clock import MINUTE_MS
from desk.runs import (
    Job,
    JobStatus,
    Mode,
    Run,
    RunStatus,
)
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Event, Stream
from serve_apps.desk_port import EvaluationAsk, TrainingAsk

PAIR = "BTC-USDT"
START_MS = 1_767_225_600_000
"""1 January 2026."""
CANDLES = 2_000
NOW_MS = START_MS + CANDLES * MINUTE_MS + 20_000


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
