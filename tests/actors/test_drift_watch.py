"""The drift check on a run that really decides: one alert, the way back, and no candle without a decision."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from actors.drift_profiles import keep_profile, profile_key
from actors.drift_watch import DriftWatch, WatchParts, last_decisions, recent_of
from actors.promotion import rollback_version
from actors.version_registry import artifacts_of, register
from desk.clock import MINUTE_MS
from desk.errors import VersionConflict
from desk.evaluation.drift import DriftLimits
from desk.learning.policy import policy_card
from desk.learning.study import window
from desk.learning.versions import VersionStatus
from desk.market.features import FEATURES_V1
from desk.runs import Alert, Mode, RunStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from tests.actors.fakes import PAIR
from tests.actors.stage import Stage
from tests.actors.test_version_switch import active, evaluated, make_version, promote

ROWS = 4
"""Decisions until the confidence is judged, in these tests."""
LIMITS = DriftLimits(confidence_rows=ROWS, action_rows=ROWS, feature_rows=ROWS)


@pytest.fixture
def stage() -> Stage:
    """A run that follows its agent, whose v1 is active and v2 the one promoted before."""
    stage = Stage()
    stage.policy.confidence = 0.6
    stage.store.put(kinds.STATE, f"follows:{stage.run.run_id}", {"agent_id": "desk"}, at_ms=0)
    stage.store.put(kinds.AGENTS, "desk", replace(active(stage), active_version_id=""), at_ms=0)
    for name in ("v1", "v2"):
        stage.store.put(kinds.VERSIONS, name, make_version(name), at_ms=0)
        evaluated(stage.store, f"e-{name}", name)
    promote(stage, "v2")
    stage.clock.advance(1)
    promote(stage, "v1")
    return stage


def watch_of(stage: Stage, asked: list[str] | None = None) -> DriftWatch:
    heard = asked if asked is not None else []
    return DriftWatch(
        WatchParts(
            store=stage.store,
            clock=stage.clock,
            limits=LIMITS,
            make_profile=lambda version_id, pair: heard.append(profile_key(version_id, pair)),
        )
    )


def look(watch: DriftWatch) -> int:
    return asyncio.run(watch.look())


def go_live(stage: Stage) -> None:
    stage.change_run(lambda run: replace(run, mode=Mode.LIVE))


def decide(stage: Stage, watch: DriftWatch, confidence: float, candles: int = ROWS) -> int:
    """Candles on which the policy is so sure of itself; returns how many looks found a drift."""
    stage.policy.confidence = confidence
    found = 0
    for number in range(candles):
        stage.decide(float(number % 3 - 1))
        found += look(watch)
    return found


def alerts(stage: Stage) -> list[Alert]:
    return [doc.value for doc in stage.store.list(kinds.ALERTS)]


def test_a_healthy_version_is_left_alone(stage: Stage) -> None:
    go_live(stage)

    assert decide(stage, watch_of(stage), 0.6, 2 * ROWS) == 0

    assert alerts(stage) == []
    assert active(stage).active_version_id == "v1"


def test_a_rule_that_nothing_is_known_of_is_not_judged_by_how_sure_it_is(stage: Stage) -> None:
    found = stage.store.get(kinds.VERSIONS, "v1")
    assert found is not None
    rule = replace(found.value, is_baseline=True)
    stage.store.put(kinds.VERSIONS, "v1", rule, at_ms=0)

    assert decide(stage, watch_of(stage), 0.95) == 0
    assert alerts(stage) == []


def test_a_drift_in_live_leads_back_with_one_alert_and_loses_no_decision(stage: Stage) -> None:
    go_live(stage)
    watch = watch_of(stage)
    decide(stage, watch, 0.6)

    decide(stage, watch, 0.95, ROWS + 2)

    [alert] = alerts(stage)
    records = stage.decisions()[::-1]
    versions = [record.version_id for record in records]
    steps = {int(step) for step in np.diff([record.open_ms for record in records])}
    assert active(stage).active_version_id == "v2"
    assert versions == sorted(versions)
    assert steps == {MINUTE_MS}
    assert (alert.category, alert.severity, alert.count) == ("drift", "critical", 1)
    assert alert.alert_id == f"model_drift:{stage.run.run_id}:v1"
    assert "back to v2" in alert.detail
    [entry] = [one.value for one in stage.store.list(kinds.AUDIT) if one.value.action == "rollback"]
    assert (entry.actor, entry.after["version_id"]) == ("observer", "v2")


def test_where_every_version_drifts_the_last_one_is_paused(stage: Stage) -> None:
    go_live(stage)
    watch = watch_of(stage)

    decide(stage, watch, 0.95, 3 * ROWS)

    assert active(stage).active_version_id == "v2"
    assert (stage.run.status, stage.run.pause_reason) == (RunStatus.PAUSED, "model_drift")
    assert {alert.alert_id.rsplit(":", 1)[1]: alert.count for alert in alerts(stage)} == {
        "v1": 1,
        "v2": 1,
    }
    assert {record.version_id for record in stage.decisions()[: ROWS - 1]} == {"v2"}


def test_on_paper_a_drift_is_told_and_moves_nothing_and_its_end_is_told_too(stage: Stage) -> None:
    watch = watch_of(stage)

    assert decide(stage, watch, 0.95) == 1

    [alert] = alerts(stage)
    assert (alert.severity, alert.status, alert.metric) == ("warning", "open", "mean_confidence")
    assert active(stage).active_version_id == "v1"
    assert look(watch) == 0  # no new decision, nothing to count up
    assert decide(stage, watch, 0.6) > 0
    decide(stage, watch, 0.6, 1)
    [alert] = alerts(stage)
    assert alert.status == "resolved"


def test_on_paper_a_run_that_learns_goes_back_as_one_in_live_does(stage: Stage) -> None:
    stage.change_run(lambda run: replace(run, learning_enabled=True))

    decide(stage, watch_of(stage), 0.95)

    assert active(stage).active_version_id == "v2"


def test_a_run_with_a_version_of_its_own_goes_back_without_moving_its_agent(stage: Stage) -> None:
    stage.store.delete(kinds.STATE, f"follows:{stage.run.run_id}")
    go_live(stage)

    decide(stage, watch_of(stage), 0.95)

    assert active(stage).active_version_id == "v1"
    assert stage.run.version_id == "v2"
    stage.decide(0.0)
    assert stage.decisions()[0].version_id == "v2"


def test_a_version_that_passed_on_another_pair_only_is_no_way_back(stage: Stage) -> None:
    found = stage.store.get(kinds.VERSIONS, "v2")
    assert found is not None
    other = replace(found.value, promoted_pairs=("ETH-USDT",))
    stage.store.put(kinds.VERSIONS, "v2", other, at_ms=0)
    go_live(stage)

    decide(stage, watch_of(stage), 0.95)

    assert active(stage).active_version_id == "v1"
    assert stage.run.status is RunStatus.PAUSED


def test_an_observer_that_ends_between_the_alert_and_the_way_back_leaves_both_to_the_next(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_live(stage)
    monkeypatch.setattr("actors.drift_watch.rollback_version", _away)
    with pytest.raises(VersionConflict):
        decide(stage, watch_of(stage), 0.95)
    monkeypatch.setattr("actors.drift_watch.rollback_version", rollback_version)

    look(watch_of(stage))

    [alert] = alerts(stage)
    assert alert.count == 2
    assert active(stage).active_version_id == "v2"


def _away(*_: object, **__: object) -> None:
    raise VersionConflict("doc:agent/desk", 1, 2)


def test_a_profile_is_asked_for_once_and_only_where_there_are_candles_for_it(stage: Stage) -> None:
    asked = list[str]()
    watch = watch_of(stage, asked)

    decide(stage, watch, 0.6, 2)

    assert asked == [f"v1:{PAIR}"]
    stage.store.delete(kinds.DATASETS, "ds-e-v1")
    again = list[str]()
    decide(stage, watch_of(stage, again), 0.6, 1)
    assert again == []


def test_what_is_judged_is_the_version_alone_and_what_its_policy_saw(stage: Stage) -> None:
    watch = watch_of(stage)
    decide(stage, watch, 0.6, 2)
    rollback_version(stage.store, "v2", actor="test", now_ms=stage.clock.now_ms())
    decide(stage, watch, 0.7, 3)

    decisions = last_decisions(stage.store, stage.run, 10)
    recent = recent_of(stage.store, decisions)

    assert [one.version_id for one in decisions] == ["v2"] * 3
    assert recent.confidences.tolist() == [0.7] * 3
    assert recent.signs.tolist() == [-1, 0, 1]
    assert recent.features.shape == (3, FEATURES_V1.size)


def test_trades_that_have_ended_are_measured_by_their_fees(stage: Stage) -> None:
    for wish in (1.0, 0.0, -1.0, 0.0, 1.0):
        stage.decide(wish)

    recent = recent_of(stage.store, last_decisions(stage.store, stage.run, 10))

    assert len(recent.trades_per_fee) == 2
    ended = [order for order in stage.orders() if order.filled_quantity][:4]
    gained = [
        one.realized_pnl + two.realized_pnl
        for one, two in zip(ended[::2], ended[1::2], strict=True)
    ]
    paid = [one.fees + two.fees for one, two in zip(ended[::2], ended[1::2], strict=True)]
    expected = [float((gain - fee) / fee) for gain, fee in zip(gained, paid, strict=True)]
    assert sorted(recent.trades_per_fee) == pytest.approx(sorted(expected))


class Tape:
    """Candles in memory."""

    def __init__(self, candles) -> None:
        self.candles = candles

    def read(self, pair, interval, start_ms, end_ms):
        return self.candles.between(start_ms, end_ms)


def test_a_profile_is_made_of_the_candles_the_version_was_trained_on(tmp_path, walk) -> None:
    store, candles = MemoryStore(), walk(3_000)
    begin_ms = int(candles.open_ms[0])
    chosen = window(
        PAIR,
        "1m",
        candles,
        FEATURES_V1,
        start_ms=begin_ms + 1_000 * MINUTE_MS,
        end_ms=begin_ms + 3_000 * MINUTE_MS,
    )
    store.put(kinds.DATASETS, chosen.dataset.dataset_id, chosen.dataset, at_ms=0)
    weight = np.zeros((3, FEATURES_V1.size + 1), dtype=np.float32)
    weight[:, 0] = [1.0, 0.0, -1.0]
    tensors = {"layers.0.weight": weight, "layers.0.bias": np.zeros(3, dtype=np.float32)}
    card = policy_card(
        version_id="v1", algorithm="rule", is_baseline=False, hyperparameters={}, software={}
    )
    version = make_version("v1", status=VersionStatus.DRAFT, dataset_id=chosen.dataset.dataset_id)
    register(store, artifacts_of(tmp_path), version, card, tensors)

    made = keep_profile(tmp_path, store, Tape(candles), "v1", PAIR)
    kept = store.get(kinds.DRIFT_PROFILES, f"v1:{PAIR}")

    assert made is not None
    assert kept is not None
    assert kept.value == made
    assert made.rows == 2_000
    assert made.feature_names == FEATURES_V1.names
    assert keep_profile(tmp_path, store, Tape(candles), "v1", "ETH-USDT") is None
