"""The drift check: each run's last decisions against what its version was judged on, and the way back.

In live, and wherever versions roll forward by themselves, a drift leads back to the version promoted
last before; a run with none to go back to is paused. A repeat after a crash finds the same alert.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import structlog

from actors.alerts import Cause, raise_alert, resolve_alert
from actors.audit import note
from actors.decision_scene import follows_key
from actors.drift_profiles import has_reference, profile_key
from actors.promotion import is_promoted_on, previous_version, rollback_version
from actors.run_book import RunBook
from actors.store_calls import stored
from desk import runs
from desk.clock import Clock
from desk.errors import DeskError
from desk.evaluation import drift
from desk.evaluation.drift import DriftLimits, DriftSignal, Profile, Recent
from desk.ids import Pair
from desk.learning.versions import AgentVersion
from desk.runs import Agent, DecisionRecord, Mode, Run, RunStatus
from desk.store import kinds
from desk.store.port import Store
from desk.trading.orders import Leg
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()

MODEL_DRIFT = "model_drift"
ASK_PROFILE_AGAIN_S = 600.0
TRADES_SEEN = 120
OBSERVER = "observer"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchParts:
    """Collaborators. `make_profile` has one computed elsewhere and does not wait for it."""

    store: Store
    clock: Clock
    limits: DriftLimits
    make_profile: Callable[[str, Pair], None]


class DriftWatch:
    """Looks at every deciding run; holds only what may be forgotten."""

    def __init__(self, parts: WatchParts) -> None:
        self._parts, self._store, self._clock = parts, parts.store, parts.clock
        self._runs = RunBook(parts.store, parts.clock, actor=OBSERVER)
        self._seen: dict[str, int] = {}
        self._asked: dict[str, float] = {}

    async def look(self) -> int:
        """Judge every run that has decided since the last look; returns how many have drifted."""
        drifted = 0
        active = [run for run in await self._runs.active() if run.status is RunStatus.RUNNING]
        self._seen = {run.run_id: self._seen.get(run.run_id, 0) for run in active}
        for run in active:
            if run.last_decided_open_ms > self._seen[run.run_id]:
                drifted += await self._judge(run)
                self._seen[run.run_id] = run.last_decided_open_ms
        return drifted

    async def _judge(self, run: Run) -> bool:
        decisions = await stored(lambda: last_decisions(self._store, run, self._parts.limits.rows))
        if not decisions:
            return False
        version_id = decisions[-1].version_id
        if version_id != run.version_id:
            return False  # it has moved on: the next decision is another version's
        profile = await self._profile(version_id, run.pair)
        if profile is None and await stored(lambda: self._is_baseline(version_id)):
            return False  # how sure a rule is of itself says how strong the trend is, and no more
        recent = await stored(lambda: recent_of(self._store, decisions))
        signals = drift.judge(recent, profile, self._parts.limits)
        about = f"{run.run_id}:{version_id}"
        if not signals:
            at_ms = self._clock.now_ms()
            alert_id = f"{MODEL_DRIFT}:{about}"
            await stored(lambda: resolve_alert(self._store, alert_id, at_ms=at_ms))
            return False
        log.warning("model_drifted", run_id=run.run_id, version_id=version_id)
        await self._answer(run, version_id, signals, about, decisions[-1].trace_id)
        return True

    async def _answer(
        self, run: Run, version_id: str, signals: Sequence[DriftSignal], about: str, trace_id: str
    ) -> None:
        """The alert first: a process that ends in between finds the same drift again."""
        goes_back = run.mode is Mode.LIVE or run.learning_enabled
        earlier = await stored(lambda: self._earlier(run, version_id)) if goes_back else None
        if earlier is not None:
            done = f"back to {earlier.version_id}"
        else:
            done = "the run is paused: no earlier version to go back to" if goes_back else "noted"
        worst = signals[0]
        cause = Cause(
            code=MODEL_DRIFT,
            about=about,
            category="drift",
            severity="critical" if goes_back else "warning",
            detail=f"{version_id} on {run.pair}: {'; '.join(one.detail for one in signals)}; {done}",
            trace_id=trace_id,
            metric=worst.metric,
            value=f"{worst.value:.6g}",
            threshold=f"{worst.threshold:.6g}",
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())
        if earlier is not None:
            await self._go_back(run, version_id, earlier, trace_id)
        elif goes_back:
            await self._runs.change(run.run_id, _paused, trace_id=trace_id)

    def _earlier(self, run: Run, version_id: str) -> AgentVersion | None:
        """The version to go back to. A run with a version of its own goes to its agent's active one
        where that is another, and passed on its pair."""
        agent = self._agent(run)
        if agent.active_version_id != version_id:
            active = self._store.get(kinds.VERSIONS, agent.active_version_id)
            if active is not None and is_promoted_on(self._store, active.value, run.pair):
                return active.value
        return previous_version(self._store, run.agent_id, run.pair)

    async def _go_back(
        self, run: Run, version_id: str, earlier: AgentVersion, trace_id: str
    ) -> None:
        follows = await stored(lambda: self._store.get(kinds.STATE, follows_key(run.run_id)))
        agent = await stored(lambda: self._agent(run))
        if follows is not None and agent.active_version_id == version_id:
            await stored(
                lambda: rollback_version(
                    self._store,
                    earlier.version_id,
                    actor=OBSERVER,
                    now_ms=self._clock.now_ms(),
                    trace_id=trace_id,
                    expected_active=version_id,
                )
            )
            return
        to, shown = earlier.version_id, earlier.feature_set_id
        await self._runs.change(
            run.run_id,
            lambda row: (
                replace(row, version_id=to, feature_set_id=shown)
                if row.version_id == version_id
                else row
            ),
            trace_id=trace_id,
        )
        await stored(
            lambda: note(
                self._store,
                "run.version_back",
                f"run/{run.run_id}",
                actor=OBSERVER,
                trace_id=trace_id,
                at_ms=self._clock.now_ms(),
                before={"version_id": version_id},
                after={"version_id": to},
            )
        )

    def _agent(self, run: Run) -> Agent:
        found = self._store.get(kinds.AGENTS, run.agent_id)
        return (
            found.value if found else Agent(agent_id=run.agent_id, name="", allowed_instruments=())
        )

    async def _profile(self, version_id: str, pair: Pair) -> Profile | None:
        """What is kept; asked for now and then where there is none."""
        key = profile_key(version_id, pair)
        kept = await stored(lambda: self._store.get(kinds.DRIFT_PROFILES, key))
        if kept is not None:
            return kept.value
        if monotonic_s() - self._asked.get(key, float("-inf")) >= ASK_PROFILE_AGAIN_S:
            self._asked[key] = monotonic_s()
            if await stored(lambda: self._can_be_profiled(version_id, pair)):
                try:
                    self._parts.make_profile(version_id, pair)
                except DeskError as failed:
                    log.warning("profile_not_asked_for", version_id=version_id, error=str(failed))
        return None

    def _is_baseline(self, version_id: str) -> bool:
        version = self._store.get(kinds.VERSIONS, version_id)
        return version is not None and version.value.is_baseline

    def _can_be_profiled(self, version_id: str, pair: Pair) -> bool:
        version = self._store.get(kinds.VERSIONS, version_id)
        return version is not None and has_reference(self._store, version.value, pair)


def last_decisions(store: Store, run: Run, rows: int) -> list[DecisionRecord]:
    """The newest decisions in a row of one version at which its policy answered, oldest first."""
    docs = store.list(kinds.decisions_of_run(run.run_id), limit=rows)
    answered = [doc.value for doc in docs if doc.value.logits and doc.value.observation]
    newest = answered[0].version_id if answered else ""
    ours = next((at for at, one in enumerate(answered) if one.version_id != newest), len(answered))
    return answered[:ours][::-1]


def recent_of(store: Store, decisions: Sequence[DecisionRecord]) -> Recent:
    """Figures of some decisions of one version; `decisions` is not empty."""
    seen = np.array([one.observation for one in decisions], dtype=np.float32)
    cids = [cid for one in decisions for cid in one.client_order_ids][-TRADES_SEEN:]
    orders = [order for cid in cids if (order := store.order(cid)) is not None]
    entries = {order.trade_id for order in orders if order.leg is Leg.ENTRY}
    results = [
        result for trade in sorted(entries) if (result := _per_fee(store, trade)) is not None
    ]
    return Recent(
        confidences=np.array([one.confidence for one in decisions]),
        signs=np.sign([one.target for one in decisions]).astype(np.int8),
        features=seen[:, :-1],  # the last value is the held position
        trades_per_fee=np.array(results),
    )


def _per_fee(store: Store, trade_id: str) -> float | None:
    """Net result for each USDT of fees of a trade that has ended; None of any other."""
    orders = store.orders_of_trade(trade_id)
    held = sum(order.side.sign * order.filled_quantity for order in orders)
    fees = sum((order.fees for order in orders), Decimal(0))
    if held or fees <= 0 or any(order.is_open for order in orders):
        return None
    gained = sum((order.realized_pnl for order in orders), Decimal(0))
    return float((gained - fees) / fees)


def _paused(run: Run) -> Run:
    deciding = {RunStatus.STARTING, RunStatus.RUNNING}
    return runs.pause(run, MODEL_DRIFT) if run.status in deciding else run
