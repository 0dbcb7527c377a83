"""A version goes bad while it trades live against the simulator: the desk goes back by itself."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.decision_scene import follows_key
from actors.promotion import promote_version
from actors.seed import AGENT_ID
from actors.version_registry import artifacts_of, register
from actors.wiring import PolicyMode
from desk.clock import MINUTE_MS
from desk.learning.policy import policy_card
from desk.learning.versions import VersionStatus
from desk.market.features import FEATURES_V1
from desk.runs import Alert, DecisionRecord, RunStatus
from desk.store import kinds
from desk.store.valkey import ValkeyStore
from tests.actors.test_version_switch import evaluated, make_version
from tests.cluster.conftest import running_desk
from tests.cluster.desk_on_ray import RunningDesk, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(540)]

SPEED, JUDGED = 20.0, 8
"""A candle every three seconds, and decisions until a drift of confidence can be seen."""
PAIR = "ETH-USDT"
GOOD, BAD = "careful-v1", "certain-v1"
SURE = {GOOD: (0.3, 0.6), BAD: (4.0, 9.0)}
"""Weight on the market and bias towards flat: the first is unsure around one half, the second is
always as good as certain."""


@pytest.fixture(scope="module")
def desk(ray_session: None, launch: Callable[..., Any]) -> Iterator[RunningDesk]:
    """A desk on a market slow enough that a loaded machine keeps up with every candle."""
    with running_desk(
        launch(speed=SPEED, seed=11),
        PolicyMode.LOCAL,
        drift_confidence_delta=0.3,
        drift_confidence_decisions=JUDGED,
    ) as running:
        yield running


def register_policy(store: ValkeyStore, home: Path, version_id: str) -> None:
    slope, flat = SURE[version_id]
    weight = np.zeros((3, FEATURES_V1.size + 1), dtype=np.float32)
    weight[:, FEATURES_V1.index("close_zscore_15")] = [slope, 0.0, -slope]
    tensors = {
        "layers.0.weight": weight,
        "layers.0.bias": np.array([0.0, flat, 0.0], dtype=np.float32),
    }
    card = policy_card(
        version_id=version_id, algorithm="rule", is_baseline=False, hyperparameters={}, software={}
    )
    version = make_version(version_id, status=VersionStatus.DRAFT)
    register(store, artifacts_of(home), replace(version, agent_id=AGENT_ID), card, tensors)
    evaluated(store, f"e-{version_id}", version_id, pair=PAIR, agent_id=AGENT_ID)


def promote(desk: RunningDesk, version_id: str, now_ms: int) -> None:
    verdict = promote_version(desk.store, version_id, pair=PAIR, actor="test", now_ms=now_ms)
    assert verdict.passed, verdict.reasons


def active(desk: RunningDesk) -> str:
    found = desk.store.get(kinds.AGENTS, AGENT_ID)
    assert found is not None
    return found.value.active_version_id


def decisions(desk: RunningDesk, run_id: str) -> list[DecisionRecord]:
    """Oldest first."""
    docs = desk.store.list(kinds.decisions_of_run(run_id), limit=2_000)
    return [doc.value for doc in docs][::-1]


def alerts(desk: RunningDesk, run_id: str) -> list[Alert]:
    docs = desk.store.list(kinds.ALERTS, limit=1_000)
    return [doc.value for doc in docs if doc.key.startswith(f"model_drift:{run_id}:")]


def test_a_degraded_version_in_live_is_gone_back_from_within_a_minute_with_one_alert(
    desk: RunningDesk,
) -> None:
    run_id = "run-drift"
    eventually(lambda: desk.ledger("live").marks.get(PAIR), what="a mark")
    for version_id in SURE:
        register_policy(desk.store, desk.wiring.home, version_id)
    promote(desk, GOOD, 1_000)
    desk.store.put(kinds.STATE, follows_key(run_id), {"agent_id": AGENT_ID}, at_ms=0)
    run = desk.put_live_run(run_id, RunStatus.RUNNING, PAIR)
    eventually(
        lambda: [one for one in decisions(desk, run_id) if one.version_id == GOOD][2:],
        within_s=90,
        what="decisions of the good version",
    )

    promote(desk, BAD, 2_000)
    began_s = time.monotonic()
    eventually(lambda: active(desk) == GOOD, within_s=120, what="the way back")
    spent_s = time.monotonic() - began_s

    eventually(
        lambda: decisions(desk, run_id)[-1].version_id == GOOD, what="a decision after the way back"
    )
    desk.end_run(run_id)
    records = decisions(desk, run_id)
    bad = [one for one in records if one.version_id == BAD]
    after = next(one for one in records[::-1] if one.version_id == GOOD)
    steps = {late.open_ms - early.open_ms for early, late in pairwise(records)}
    [alert] = alerts(desk, run_id)
    assert (alert.alert_id, alert.count) == (f"model_drift:{run_id}:{BAD}", 1)
    assert f"back to {GOOD}" in alert.detail
    assert steps == {MINUTE_MS}
    seen_s = spent_s - JUDGED * MINUTE_MS / SPEED / 1_000
    assert seen_s <= 60, f"{seen_s:.0f} s after the decision that showed it"
    assert after.open_ms > bad[-1].open_ms
    assert run.mode.value == "live"
