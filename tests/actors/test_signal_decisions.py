"""Runs whose features look at signals: the same columns as in history, and held without their source."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from actors.signal_status import new_signal_status, status_key
from desk.clock import MINUTE_MS
from desk.learning.baseline import baseline_card
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.feature_sets import make_feature_set
from desk.market.features import FEATURES_V1
from desk.market.signal_features import SignalColumns
from desk.runs import Action, RunStatus, SourceStatus
from desk.store import kinds, signals
from desk.store.feature_sets import keep_feature_set
from desk.store.signal_history import heard_between, marks_by_source
from desk.wallclock import wall_ms
from tests.actors.fakes import PAIR
from tests.actors.stage import RUN_ID, Stage
from tests.alerts import alert

SAID = make_feature_set(
    "said",
    FEATURES_V1.features,
    [
        SignalColumns(source_id="feed", half_life_min=2),
        SignalColumns(source_id="quiet", half_life_min=5),
        SignalColumns(source_id="telegram:@calls", half_life_min=30),
    ],
)


def source(stage: Stage, source_id: str, **changes: object) -> None:
    kind = "telegram" if source_id.startswith("telegram") else "tradingview"
    row: SourceStatus = replace(
        new_signal_status(kind, source_id), status="ok", last_success_ms=wall_ms()
    )
    row = replace(row, **changes)
    stage.store.put(kinds.SOURCES, status_key(kind, source_id), row, at_ms=1)


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    keep_feature_set(stage.store, SAID, now_ms=1, created_by="test")
    stage.change_run(lambda run: replace(run, feature_set_id=SAID.feature_set_id))
    for source_id in SAID.sources:
        source(stage, source_id)
    return stage


def test_what_a_run_decides_on_is_what_history_gives_for_the_same_candles_and_signals(
    stage: Stage,
) -> None:
    rng = np.random.default_rng(5)
    for number in range(14):
        close_ms = stage.next_open_ms + MINUTE_MS
        for side, apart_ms in (("buy", -1), ("sell", 0), ("buy", 1)):
            if rng.random() < 0.4:
                signals.append(stage.store, alert(side, close_ms + apart_ms))
        if number == 6:
            away = alert("sell", close_ms + 200, source_id="telegram:@calls")
            signals.append(stage.store, away)
        stage.decide(float(rng.integers(-1, 2)))

    decisions = stage.decisions()[::-1]
    first_ms, last_ms = decisions[0].open_ms, decisions[-1].open_ms + MINUTE_MS
    candles = stage.store.read_candles(PAIR, "1m", 0, last_ms)
    heard = heard_between(
        stage.store, SAID, PAIR, start_ms=first_ms + MINUTE_MS, end_ms=last_ms, now_ms=last_ms
    )
    history = SAID.compute(candles, marks_by_source(heard))[-len(decisions) :]

    assert len(decisions) == 14
    assert np.array([one.observation[:-1] for one in decisions], dtype=np.float32).tobytes() == (
        history.tobytes()
    )
    assert len(set(history[:, SAID.index("signal_side:feed")].tolist())) > 4
    assert {one.feature_set_id for one in decisions} == {SAID.feature_set_id}
    assert set(decisions[-1].signals_sha256) == set(SAID.sources)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": "unavailable"}, "failed"),
        ({"last_success_ms": 1}, "stale"),
        (None, "never heard of"),
    ],
)
def test_a_source_that_the_features_need_and_that_is_not_ok_pauses_the_run(
    stage: Stage, changes: dict[str, object] | None, why: str
) -> None:
    if changes is None:
        stage.store.delete(kinds.SOURCES, status_key("tradingview", "feed"))
    else:
        source(stage, "feed", **changes)

    record = stage.decide(1.0)

    assert (record.action, record.hold_reason) == (Action.HOLD, "data_source_unavailable"), why
    assert record.warnings[0] == "source_stale:tradingview"
    assert stage.run.status is RunStatus.PAUSED
    assert stage.orders() == []


def test_a_source_goes_stale_without_a_candle_to_tell_of_it(stage: Stage) -> None:
    source(stage, "telegram:@calls", last_success_ms=1)

    asyncio.run(stage.loop.turn())

    assert stage.run.pause_reason == "data_source_unavailable"


def test_a_source_that_is_switched_off_is_not_required(stage: Stage) -> None:
    source(stage, "feed", status="unavailable", enabled=False)

    assert stage.decide(1.0).action is Action.TRADE


def test_a_source_that_the_features_do_not_look_at_is_not_required(stage: Stage) -> None:
    stage.change_run(lambda run: replace(run, feature_set_id=FEATURES_V1.feature_set_id))
    source(stage, "feed", status="unavailable")

    record = stage.decide(1.0)

    assert record.action is Action.TRADE
    assert record.signals_sha256 == {}
    assert len(record.observation) == FEATURES_V1.size + 1


def test_a_run_that_follows_its_agent_is_shown_what_the_new_version_was_trained_on(
    stage: Stage,
) -> None:
    stage.change_run(lambda run: replace(run, feature_set_id=FEATURES_V1.feature_set_id))
    stage.store.put(kinds.STATE, f"follows:{RUN_ID}", {"agent_id": "desk"}, at_ms=1)
    assert len(stage.decide(0.0).observation) == FEATURES_V1.size + 1
    version = AgentVersion(
        version_id="v2",
        agent_id="desk",
        name="v2",
        algorithm="ppo",
        is_baseline=False,
        status=VersionStatus.PROMOTED,
        artifact_uri="",
        artifact_sha256="",
        artifact_bytes=0,
        feature_set_id=SAID.feature_set_id,
        created_ms=1,
        hyperparameters=baseline_card()["hyperparameters"],
    )
    stage.store.put(kinds.VERSIONS, "v2", version, at_ms=1)
    agent = stage.store.get(kinds.AGENTS, "desk")
    assert agent is not None
    moved = replace(agent.value, active_version_id="v2")
    stage.store.put(kinds.AGENTS, "desk", moved, at_ms=1)

    record = stage.decide(0.0)

    assert (record.version_id, record.feature_set_id) == ("v2", SAID.feature_set_id)
    assert len(record.observation) == SAID.size + 1
    assert stage.run.feature_set_id == SAID.feature_set_id
