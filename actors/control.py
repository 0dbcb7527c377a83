"""Commands of an operator, carried out on the running actors and the store, each with its audit event."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Protocol

import structlog

from actors.audit import Audit
from actors.backfill_job import KIND as BACKFILL
from actors.backfill_job import ask_of, job_of
from actors.channel_book import source_of
from actors.closing import CancellingExecutor, Closer
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
from actors.confirming import issue_token, parameters_of, use_token
from actors.decision_scene import follows_key
from actors.events import job_event, run_event
from actors.killing import KILL_SWITCH, KillSwitches, kill_reason_of
from actors.market_time import MarketClock
from actors.placement import Approver
from actors.run_book import RunBook
from actors.signal_status import change_status, new_signal_status, wish_key
from actors.source_switch import SourceSwitch, in_scope, poll_asks
from actors.start_gates import Plan, draft_plan, gates_of, plan_run, slot_holder, slot_key
from actors.store_calls import retried, stored
from actors.wiring import Wiring
from desk import ids, runs
from desk.errors import BadInput, DeskError, IllegalTransition, NotFound, VersionConflict
from desk.ids import parse_pair
from desk.market.channel_messages import TELEGRAM
from desk.market.ingestion import BINGX
from desk.market.interval import parse_interval
from desk.market.signals import TRADINGVIEW
from desk.runs import Job, Mode, Run, SourceStatus
from desk.store import kinds
from desk.store.port import Store
from desk.wallclock import wall_ms

__all__ = ["BackfillAsk", "Control", "ControlParts", "Floor", "ReconcileReport", "StartRun"]

log = structlog.stdlib.get_logger()

SLOT_TRIES = 5
START = "start"
"""What a confirm token of a live start is for."""


class Floor(Protocol):
    """The running actors, as commands reach them. Every method raises `DeskError` when one is away."""

    def approver_of(self, account: str) -> Approver: ...

    def executor_of(self, account: str) -> CancellingExecutor: ...

    async def watch_run(self, run: Run) -> None:
        """Have the run's decision loop started."""
        ...

    async def reconcile(self, account: str, trace_id: str) -> ReconcileReport: ...

    async def backfill(self, job_id: str, ask: BackfillAsk) -> None: ...

    async def poll_now(self, pair: str, names: tuple[str, ...]) -> None:
        """Have intervals of a pair's candles polled, or without a pair types of other sources."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlParts:
    """Collaborators and settings."""

    wiring: Wiring
    store: Store
    clock: MarketClock
    floor: Floor


class Control:
    """The real `serve_apps.desk_port.Desk`; holds nothing, so that every API replica may have one."""

    def __init__(self, parts: ControlParts) -> None:
        self._wiring, self._store, self._clock = parts.wiring, parts.store, parts.clock
        self._floor = parts.floor
        self._runs = RunBook(parts.store, parts.clock)
        self._audit = Audit(parts.store, parts.clock)
        self._closer = Closer(
            parts.store, parts.clock, parts.floor.approver_of, parts.floor.executor_of
        )
        self._switches = KillSwitches(parts.store, parts.clock, self._closer, parts.wiring.accounts)

    # --- runs -----------------------------------------------------------------------------------

    async def preflight(
        self, agent_id: str, ask: StartRun, *, actor: str, trace_id: str
    ) -> Preflight:
        """Say gate by gate whether a start would be allowed; a live one that would gets its token.

        Raises `BadInput` or `NotFound` for what could not be asked for at all.
        """
        now_ms = self._clock.now_ms()

        def judge() -> tuple[Plan, list[StartGate]]:
            plan = draft_plan(
                self._store, self._wiring, agent_id, ask, run_id="preflight", now_ms=now_ms
            )
            speed = self._clock.anchor.speed
            return plan, gates_of(self._store, self._wiring, plan, now_ms=now_ms, speed=speed)

        plan, gates = await stored(judge)
        found = Preflight(
            agent_id=agent_id,
            mode=ask.mode,
            pair=plan.run.pair,
            version_id=plan.run.version_id,
            gates=tuple(gates),
            confirm_name=name_of_run(agent_id, plan.run.pair),
        )
        if ask.mode is Mode.LIVE and found.allowed:
            issued = await issue_token(self._store, START, _asked(agent_id, ask))
            found = replace(found, confirm_token=issued.token, expires_at_ms=issued.expires_at_ms)
        await self._audit.note(
            "run.preflight",
            f"agent/{agent_id}",
            actor=actor,
            trace_id=trace_id,
            after={
                "mode": ask.mode.value,
                "pair": found.pair,
                "allowed": found.allowed,
                "failed": [gate.gate for gate in gates if not gate.passed],
            },
        )
        return found

    async def start_run(self, agent_id: str, ask: StartRun, *, actor: str, trace_id: str) -> Run:
        """Start a run once everything it rests on is there.

        Raises `BadInput` with what is missing; for live, with every gate that is not passed, and
        then without the run's name and the token of a preflight of the same start.
        """
        now_ms = self._clock.now_ms()
        run_id = "run" + ids.trace_id("run", agent_id, ask.pair, trace_id, now_ms)[2:14]
        check = partial(
            plan_run,
            self._store,
            self._wiring,
            agent_id,
            ask,
            run_id=run_id,
            now_ms=now_ms,
            speed=self._clock.anchor.speed,
        )
        plan = await stored(check)
        if ask.mode is Mode.LIVE:
            await self._confirm(agent_id, ask, plan, trace_id)
        await self._take_slot(plan.run)
        await self._closer.drop_wish(plan.run.account, plan.run.pair)
        run = await self._open(plan, trace_id)
        await self._audit.note(
            "run.start",
            f"run/{run_id}",
            actor=actor,
            trace_id=trace_id,
            after={
                "pair": run.pair,
                "mode": run.mode.value,
                "version_id": run.version_id,
                "shadow": run.is_shadow,
            },
        )
        await self._started(run)
        return run

    async def _confirm(self, agent_id: str, ask: StartRun, plan: Plan, trace_id: str) -> None:
        """Live is asked for twice: by a token for exactly this start, and by the run's name."""
        name = name_of_run(agent_id, plan.run.pair)
        if ask.confirm_name != name:
            raise BadInput(
                "confirm_name", f"was {ask.confirm_name!r}, expected {name}: spell the run's name"
            )
        parameters = _asked(agent_id, ask)
        await use_token(self._store, ask.confirm_token, START, parameters, trace_id=trace_id)

    async def pause_run(self, agent_id: str, reason: str, *, actor: str, trace_id: str) -> Run:
        """Pause the agent's current run; pausing a paused run changes nothing."""
        before = await self._current(agent_id)
        reason = reason or "operator"
        after = await self._move(before, lambda run: runs.pause(run, reason), trace_id)
        await self._note_run("run.pause", before, after, actor=actor, trace_id=trace_id)
        return after

    async def resume_run(self, agent_id: str, reason: str, *, actor: str, trace_id: str) -> Run:
        """Let the agent's current run decide again. Refused while a kill switch is on.

        One that a kill switch had stopped needs a reason.
        """
        before = await self._current(agent_id)
        killed = await stored(lambda: kill_reason_of(self._store, before.account, before.run_id))
        if killed is not None:
            raise BadInput("run", f"the kill switch is on ({killed}): lift it before resuming")
        if before.pause_reason == KILL_SWITCH and not reason.strip():
            raise BadInput("reason", "was empty: say why the run resumes after a kill switch")
        if before.mode is Mode.LIVE:
            await self._check_live(before)
        after = await self._move(before, runs.resume, trace_id)
        await self._note_run("run.resume", before, after, actor=actor, trace_id=trace_id)
        await self._started(after)
        return after

    async def stop_run(
        self, agent_id: str, reason: str, *, flatten: bool, actor: str, trace_id: str
    ) -> Run:
        """End the run and its resting entries; `flatten` closes its position reduce-only."""
        before = await self._current(agent_id)
        now_ms = self._clock.now_ms()
        after = await self._move(before, lambda run: runs.stop(run, now_ms=now_ms), trace_id)
        await self._closer.cancel_entries(after.account, after.pair, reason="run_stopped")
        if flatten:
            await self._closer.wish_flat(
                after.account, after.pair, reason=after.run_id, trace_id=trace_id
            )
        await self._note_run("run.stop", before, after, actor=actor, trace_id=trace_id)
        return after

    # --- money ----------------------------------------------------------------------------------

    async def reconcile(self, account: str | None, *, actor: str, trace_id: str) -> ReconcileReport:
        """Compare one account, or every one, with its venue now."""
        accounts = self._wiring.accounts if account is None else (account,)
        if unknown := set(accounts) - set(self._wiring.accounts):
            raise NotFound("account", ", ".join(sorted(unknown)))
        reports = [await self._floor.reconcile(name, trace_id) for name in accounts]
        report = ReconcileReport(
            checked=sum(one.checked for one in reports),
            updated=sum(one.updated for one in reports),
            errors=sum(one.errors for one in reports),
            reconciled_at_ms=max(one.reconciled_at_ms for one in reports),
        )
        await self._audit.note(
            "trading.reconcile",
            f"account/{account or 'all'}",
            actor=actor,
            trace_id=trace_id,
            after={"updated": report.updated, "errors": report.errors},
        )
        return report

    async def kill(self, *, on: bool, reason: str, flatten: bool, actor: str, trace_id: str) -> int:
        """Set or lift the kill switch of all accounts; returns how many runs it stops.

        The flag is stored first: from then on the store itself refuses every entry. What is in
        flight is ended as soon as the venue has said what became of it, by the account's executor;
        with `flatten` its reconciler closes until everything is flat. Both go on after a restart.
        Runs stay paused when it is lifted, and nothing is closed any more.
        """
        return await self._switches.turn_all(
            on=on, reason=reason, flatten=flatten, actor=actor, trace_id=trace_id
        )

    async def kill_agent(
        self, agent_id: str, *, on: bool, reason: str, flatten: bool, actor: str, trace_id: str
    ) -> int:
        """Set or lift an agent's own kill switch; returns how many runs it stops. As `kill`."""
        return await self._switches.turn_agent(
            agent_id, on=on, reason=reason, flatten=flatten, actor=actor, trace_id=trace_id
        )

    async def close_trade(
        self,
        trade_id: str,
        quantity: Decimal | None,
        reason: str,
        *,
        name: str = "",
        actor: str,
        trace_id: str,
    ) -> str:
        """Send a reduce-only market order for a trade's position; returns its client order id.

        `name` is the caller's own for this close: asked again under it, the same order is returned.
        """
        client_order_id = await self._closer.close_trade(
            trade_id, quantity, reason=reason, trace_id=trace_id, name=name
        )
        await self._audit.note(
            "trade.close",
            f"trade/{trade_id}",
            actor=actor,
            trace_id=trace_id,
            after={
                "client_order_id": client_order_id,
                "quantity": str(quantity) if quantity is not None else "all",
                "reason": reason,
            },
        )
        return client_order_id

    async def cancel_trade(
        self, trade_id: str, reason: str, *, actor: str, trace_id: str
    ) -> list[str]:
        """Ask for the end of a trade's entries that are not filled; returns their ids."""
        cancelled = await self._closer.cancel_trade(trade_id, reason=reason or "operator")
        await self._audit.note(
            "trade.cancel",
            f"trade/{trade_id}",
            actor=actor,
            trace_id=trace_id,
            after={"client_order_ids": cancelled, "reason": reason},
        )
        return cancelled

    # --- data -----------------------------------------------------------------------------------

    async def turn_source(self, source: str, wish: str, *, actor: str, trace_id: str) -> int:
        """Pause, resume or run the channels of a source of signals; returns how many there are.

        A pause is kept in their status rows and holds over restarts; a run is asked for through the
        store, and its poller takes it within seconds of living.
        """
        ids_of = {
            TELEGRAM: [source_of(name) for name in self._wiring.telegram_channels],
            TRADINGVIEW: sorted(dict(self._wiring.tradingview_feeds)),
        }
        names = ids_of.get(source, [])
        if not names:
            raise NotFound("configured source", source)
        now_ms = wall_ms()
        every_min = {
            TELEGRAM: self._wiring.telegram_ingest_interval_min,
            TRADINGVIEW: self._wiring.tradingview_sync_interval_min,
        }
        every_s = every_min[source] * 60
        for name in names if wish != "run" else ():
            fresh = new_signal_status(source, name, every_s=every_s)

            async def attempt(fresh: SourceStatus = fresh) -> None:
                await stored(
                    lambda: change_status(
                        self._store,
                        fresh,
                        lambda row: replace(row, enabled=wish == "resume"),
                        now_ms=now_ms,
                    )
                )

            await retried(attempt)
        if wish != "pause":
            fact = {"at_ms": now_ms}
            await stored(lambda: self._store.put(kinds.STATE, wish_key(source), fact, at_ms=now_ms))
        await self._audit.note(
            f"source.{wish}",
            f"source/{source}",
            actor=actor,
            trace_id=trace_id,
            after={"sources": len(names)},
        )
        return len(names)

    async def turn_feeds(
        self, wish: str, scope: FeedScope, *, dry_run: bool = False, actor: str, trace_id: str
    ) -> Turned:
        """Pause, resume or run the venue's data sources in scope; a dry run only says which.

        A pause is kept in their status rows and holds over restarts; a resume polls at once too.
        Raises `BadInput` for a scope that fits no configured source.
        """
        rows = in_scope(scope, self._wiring.pairs, self._wiring.intervals)
        switch = SourceSwitch(self._store, self._clock)
        run_ids = tuple(await switch.runs_on(rows)) if wish == "pause" else ()
        turned = Turned(sources=len(rows), run_ids=run_ids)
        if dry_run:
            return turned
        if wish != "run":
            await switch.turn(rows, enabled=wish == "resume")
        if wish != "pause":
            await asyncio.gather(*(self._poll_now(*ask) for ask in poll_asks(rows)))
        said = {"source_type": scope.source_type, "pair": scope.pair, "interval": scope.interval}
        await self._audit.note(
            f"source.{wish}",
            f"source/{BINGX}",
            actor=actor,
            trace_id=trace_id,
            after={
                **{name: value for name, value in said.items() if value is not None},
                "sources": len(rows),
                "runs": list(run_ids),
            },
        )
        return turned

    async def _poll_now(self, pair: str, names: tuple[str, ...]) -> None:
        """A poller that is away polls everything by itself as soon as it is back."""
        try:
            await self._floor.poll_now(pair, names)
        except DeskError as away:
            log.warning("poll_waits_for_its_poller", pair=pair, error=str(away))

    async def backfill(self, ask: BackfillAsk, *, actor: str, trace_id: str) -> Job:
        """Have history fetched; the job's row and events carry its progress."""
        pair, interval = parse_pair(ask.pair), parse_interval(ask.interval)
        if pair not in self._wiring.pairs:
            raise BadInput("pair", f"was {pair}, expected one of {' '.join(self._wiring.pairs)}")
        if ask.start_ms is not None and ask.end_ms is not None and ask.start_ms >= ask.end_ms:
            raise BadInput("start_ms", f"was {ask.start_ms}, expected a time before end_ms")
        if ask.max_batches is not None and ask.max_batches < 1:
            raise BadInput("max_batches", f"was {ask.max_batches}, expected at least 1")
        now_ms = self._clock.now_ms()
        job_id = "job" + ids.trace_id("backfill", pair, interval, trace_id, now_ms)[2:14]
        job = job_of(job_id, ask, now_ms=now_ms)
        await stored(
            lambda: self._store.put(
                kinds.JOBS, job_id, job, at_ms=now_ms, event=job_event(job, at_ms=now_ms)
            )
        )
        await self._audit.note(
            "data.backfill", f"job/{job_id}", actor=actor, trace_id=trace_id, after=job.arguments
        )
        await self.take_up(job)
        return job

    async def take_up(self, job: Job) -> None:
        """Tell the poller of a backfill; it finds it by itself when it starts again.

        A training is found by the supervisor, which takes up whatever has no process.
        """
        if job.kind != BACKFILL:
            return
        try:
            await self._floor.backfill(job.job_id, ask_of(job))
        except DeskError as away:
            log.warning("backfill_waits_for_its_poller", job_id=job.job_id, error=str(away))

    # --- small things ---------------------------------------------------------------------------

    async def _current(self, agent_id: str) -> Run:
        """The newest run of an agent that has not ended."""
        for run in await self._runs.active():
            if run.agent_id == agent_id:
                return run
        raise NotFound("active run of agent", agent_id)

    async def _take_slot(self, run: Run) -> None:
        """One active run per pair and account, whoever starts at the same time."""
        key = slot_key(run)
        for _ in range(SLOT_TRIES):
            slot = await stored(lambda: self._store.get(kinds.STATE, key))
            holder = await stored(lambda: slot_holder(self._store, run))
            if holder is not None:
                raise BadInput(
                    "pair",
                    f"run {holder.run_id} on {run.pair} is {holder.status}: stop it first",
                )
            try:
                await stored(partial(self._claim_slot, key, run, slot.version if slot else 0))
            except VersionConflict:
                continue
            return
        raise BadInput("pair", f"another start on {run.pair} came first: try again")

    def _claim_slot(self, key: str, run: Run, expected_version: int) -> None:
        holder = {"run_id": run.run_id}
        self._store.put(
            kinds.STATE, key, holder, at_ms=run.started_ms, expected_version=expected_version
        )

    async def _open(self, plan: Plan, trace_id: str) -> Run:
        run = plan.run
        if plan.follows_agent:
            fact = {"agent_id": run.agent_id}
            key = follows_key(run.run_id)
            await stored(lambda: self._store.put(kinds.STATE, key, fact, at_ms=run.started_ms))
        await stored(
            lambda: self._store.put(
                kinds.RUNS,
                run.run_id,
                run,
                at_ms=run.started_ms,
                event=run_event(run, at_ms=run.started_ms, trace_id=trace_id),
            )
        )
        return run

    async def _started(self, run: Run) -> None:
        try:
            await self._floor.watch_run(run)
        except DeskError as away:
            # The supervisor finds the run in the store by itself.
            log.warning("loop_starts_later", run_id=run.run_id, error=str(away))

    async def _move(self, run: Run, move: Callable[[Run], Run], trace_id: str) -> Run:
        try:
            return await self._runs.change(run.run_id, move, trace_id=trace_id)
        except IllegalTransition as wrong:
            raise BadInput(
                "run", f"{run.run_id} is {wrong.state}: it cannot {wrong.event} now"
            ) from None

    async def _check_live(self, run: Run) -> None:
        """A live run resumes only while it could start."""
        ask = StartRun(
            mode=run.mode,
            pair=run.pair,
            risk_limit_set_id=run.risk_limit_set_id,
            version_id=run.version_id,
            stop_loss_fraction=run.stop_loss_fraction,
            take_profit_fraction=run.take_profit_fraction,
            shadow=run.is_shadow,
        )
        check = partial(
            plan_run,
            self._store,
            self._wiring,
            run.agent_id,
            ask,
            run_id=run.run_id,
            now_ms=self._clock.now_ms(),
            speed=self._clock.anchor.speed,
        )
        await stored(check)

    async def _note_run(
        self, action: str, before: Run, after: Run, *, actor: str, trace_id: str
    ) -> None:
        await self._audit.note(
            action,
            f"run/{after.run_id}",
            actor=actor,
            trace_id=trace_id,
            before={"status": before.status.value, "pause_reason": before.pause_reason},
            after={"status": after.status.value, "pause_reason": after.pause_reason},
        )


def _asked(agent_id: str, ask: StartRun) -> dict[str, str]:
    """What a token of a start is bound to: every part of what was asked."""
    pair = parse_pair(ask.pair)
    return parameters_of(replace(ask, pair=pair), agent_id=agent_id)
