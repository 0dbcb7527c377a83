"""A learning cycle with nothing in the place of its work: PPO on Ray, NautilusTrader, the store."""

# pyright: reportUnknownMemberType=false

import asyncio
import time
from pathlib import Path

import pytest

from actors.learning_book import newest_cycle, open_cycle
from actors.learning_cycles import CycleParts, LearningCycles
from actors.parts.decisions import LocalPolicy
from actors.parts.observer import RayWork
from actors.version_registry import ensure_baseline, version_of
from actors.wiring import Wiring
from desk.clock import MINUTE_MS, ManualClock
from desk.learning.baseline import BASELINE_VERSION_ID
from desk.learning.cycles import CycleStatus, LearningCycle, LearningWindow
from desk.learning.versions import VersionStatus
from desk.runs import Agent, JobStatus
from desk.store import kinds
from desk.store.server import RunningServer
from desk.store.valkey import ValkeyStore
from tests.learning import planted
from tests.learning.conftest import wiring_on

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.cluster,
    pytest.mark.usefixtures("ray_session"),
    pytest.mark.timeout(1_800),  # a training and five processes that import heavy engines
]

WARM_UP = 500
WINDOW = LearningWindow(
    train_window_min=8_000, evaluation_window_min=6_000, window_size=240, timesteps=300_000
)
SHADOWED_FROM = WARM_UP + 8_000 + 1 + 6_000
DRIFT = 0.0006
"""Per candle: an edge that a short training finds, and the trend rule too, but less of it."""
WITHIN_S = 1_500.0


class CyclingDesk:
    """An agent whose active version is the trend rule, and a store of candles up to beyond its now."""

    def __init__(self, wiring: Wiring, store: ValkeyStore, clock: ManualClock) -> None:
        self.wiring, self.store, self.clock = wiring, store, clock
        self.seen: list[CycleStatus] = []
        agent = Agent(
            agent_id="desk",
            name="desk",
            allowed_instruments=("BTC-USDT",),
            active_version_id=BASELINE_VERSION_ID,
        )
        ensure_baseline(wiring.home, store, "desk", 1)
        store.put(kinds.AGENTS, "desk", agent, at_ms=1)

    @property
    def active(self) -> str:
        found = self.store.get(kinds.AGENTS, "desk")
        assert found is not None
        return found.value.active_version_id

    def turn(self) -> LearningCycle:
        """One step, by an observer that knows nothing but what is stored."""
        parts = CycleParts(
            store=self.store,
            clock=self.clock,
            window=WINDOW,
            work=RayWork(self.wiring, self.store),
            decide=LocalPolicy(self.wiring.home, self.store).decide,
        )
        asyncio.run(LearningCycles(parts).turn())
        found = newest_cycle(self.store, "desk")
        assert found is not None
        if found.status not in self.seen:
            self.seen.append(found.status)
        return found

    def until(self, *statuses: CycleStatus) -> LearningCycle:
        end_s = time.monotonic() + WITHIN_S
        while (cycle := self.turn()).status not in statuses and not cycle.is_ended:
            assert time.monotonic() < end_s, f"stays {cycle.status}: {cycle}"
            time.sleep(0.5)
        assert cycle.status in statuses, f"{cycle.status}: {cycle.reasons} {cycle.error}"
        return cycle


def test_a_challenger_that_ppo_trained_goes_the_whole_way_on_ray(
    valkey_server: RunningServer, store: ValkeyStore, tmp_path: Path
) -> None:
    candles = planted.trending(SHADOWED_FROM + 6_010, seed=5, drift=DRIFT)
    desk = CyclingDesk(
        wiring_on(valkey_server, store, candles, tmp_path),
        store,
        ManualClock(int(candles.open_ms[SHADOWED_FROM])),
    )
    opened = open_cycle(
        store, "desk", "BTC-USDT", None, WINDOW, now_ms=desk.clock.now_ms(), requested_by="test"
    )

    shadow = desk.until(CycleStatus.SHADOW)

    plan, challenger = opened.plan, version_of(store, shadow.challenger_id)
    assert desk.active == BASELINE_VERSION_ID
    assert (challenger.algorithm, challenger.status) == ("ppo", VersionStatus.EVALUATING)
    assert challenger.training_start_ms == plan.train_start_ms
    assert challenger.training_end_ms == plan.train_end_ms < plan.evaluation_start_ms
    (judged,) = [doc.value for doc in store.list(kinds.EVALUATIONS)]
    (champion,) = [doc.value for doc in store.list(kinds.COMPARISONS)]
    assert (judged.version_id, champion.version_id) == (
        shadow.challenger_id,
        BASELINE_VERSION_ID,
    )
    assert judged.verdict == "pass"
    assert judged.dataset_sha256 == champion.dataset_sha256
    assert judged.period_start_ms == plan.evaluation_start_ms
    assert shadow.results == {
        "challenger": judged.net_pnl_after_fees,
        "champion": champion.net_pnl_after_fees,
    }

    desk.clock.advance(6_000 * MINUTE_MS)
    ended = desk.until(CycleStatus.PROMOTED, CycleStatus.REJECTED)

    later = {
        doc.value.version_id: doc.value
        for doc in store.list(kinds.COMPARISONS)
        if doc.value.period_start_ms == shadow.rollout_start_ms
    }
    assert set(later) == {shadow.challenger_id, BASELINE_VERSION_ID}
    ours, theirs = (
        float(later[name].net_pnl_after_fees)
        for name in (shadow.challenger_id, BASELINE_VERSION_ID)
    )
    assert later[shadow.challenger_id].period_end_ms == shadow.rollout_end_ms
    assert len({one.dataset_sha256 for one in later.values()}) == 1
    # Forward exactly where it earned as much on what neither its training nor its gate had seen.
    assert (ended.status is CycleStatus.PROMOTED) == (ours >= theirs)
    assert (desk.active == shadow.challenger_id) == (ours >= theirs)
    assert desk.seen[:5] == [
        CycleStatus.TRAINING,
        CycleStatus.EVALUATING,
        CycleStatus.SHADOW,
        CycleStatus.CONFIRMING,
        ended.status,
    ]
    jobs = [doc.value for doc in store.list(kinds.JOBS)]
    assert len(jobs) == 5
    assert {job.status for job in jobs} == {JobStatus.DONE}
