"""Runs on indicators: the bytes of history candle by candle, over restarts, holes and anchors."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from desk.clock import MINUTE_MS
from desk.learning.observation import candles_sha256
from desk.market.anchors import Anchor
from desk.market.feature_rules import Feature
from desk.market.feature_sets import make_feature_set
from desk.market.features import NON_FINITE
from desk.market.gaps import GapEvent, GapStatus
from desk.runs import Action, RunStatus
from desk.store import kinds
from desk.store.feature_sets import keep_feature_set
from tests.actors.fakes import PAIR
from tests.actors.stage import Stage

ANCHOR = Anchor(every=100, warm_up=60, most_filled=2)
MOVING = make_feature_set(
    "moving",
    [
        Feature(name="rsi_14", rule="rsi", windows=(14,)),
        Feature(name="macd", rule="macd_histogram", windows=(12, 26, 9, 14)),
        Feature(name="adx_14", rule="adx", windows=(14,)),
        Feature(name="rsi_5_of_5", rule="rsi", windows=(5,), bars=5),
        Feature(name="range_position_20", rule="range_position", windows=(20,)),
    ],
    anchor=ANCHOR,
)


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    keep_feature_set(stage.store, MOVING, now_ms=1, created_by="test")
    stage.change_run(lambda run: replace(run, feature_set_id=MOVING.feature_set_id))
    return stage


def decisions_in_history(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """What was shown to the policy, and what history has for the same candles; oldest first."""
    decisions = stage.decisions()[::-1]
    candles = stage.store.read_candles(PAIR, "1m", 0, decisions[-1].open_ms + MINUTE_MS)
    history = MOVING.compute(candles, step_ms=MINUTE_MS)
    rows = np.searchsorted(candles.open_ms, [one.open_ms for one in decisions])
    shown = np.array([one.observation[:-1] for one in decisions], dtype=np.float32)
    return shown, history[rows]


def be_absent(stage: Stage, candles: int) -> None:
    """The exchange has no candles for so long, and that is known."""
    first_ms = stage.next_open_ms
    stage.next_open_ms += candles * MINUTE_MS
    gap = GapEvent(
        gap_id=f"gap{first_ms}",
        pair=PAIR,
        interval="1m",
        source_type="bingx_candles",
        start_ms=first_ms,
        end_ms=stage.next_open_ms - MINUTE_MS,
        missing_points=candles,
        status=GapStatus.ABSENT_AT_VENUE,
        detected_ms=first_ms,
    )
    stage.store.put(kinds.GAPS, gap.gap_id, gap, at_ms=gap.end_ms)


def test_what_a_run_decides_on_is_history_over_anchors_restarts_and_short_holes(
    stage: Stage,
) -> None:
    for number in range(125):
        if number == 20:
            be_absent(stage, 2)
        if number in {30, 31, 90}:
            stage.loop = stage.new_loop()  # a restart
        stage.decide(0.0)

    shown, history = decisions_in_history(stage)

    assert {one.action for one in stage.decisions()} == {Action.KEEP}
    assert len(shown) == 125
    assert shown.tobytes() == history.tobytes()
    beats = asyncio.run(stage.loop.heartbeat()).counters
    assert 1 <= beats["series_opened"] <= 2, "handles, not a reading of everything, carry it on"
    assert beats["windows_read"] == 1, "after the restart; then only what is new"
    newest = stage.decisions()[0]
    window = stage.store.last_candles(PAIR, "1m", MOVING.lookback)
    assert newest.candles_sha256 == candles_sha256(window)


def test_a_stored_candle_that_was_put_right_is_what_later_decisions_rest_on(stage: Stage) -> None:
    stage.decide(0.0)
    stage.decide(0.0)
    wrong = stage.store.last_candles(PAIR, "1m", 5).take(slice(0, 1))
    stage.store.write_candles(PAIR, "1m", replace(wrong, close=wrong.close + 4.0))

    stage.decide(0.0)

    assert asyncio.run(stage.loop.heartbeat()).counters["windows_read"] == 2
    shown, history = decisions_in_history(stage)
    assert shown[2].tobytes() == history[2].tobytes()
    assert shown[1].tobytes() != history[1].tobytes()


def test_behind_a_hole_that_is_too_long_a_run_holds_until_the_new_series_is_warm(
    stage: Stage,
) -> None:
    assert stage.decide(0.0).action is Action.KEEP
    be_absent(stage, 3)

    reasons = [stage.decide(1.0).hold_reason for _ in range(ANCHOR.warm_up + 1)]

    assert set(reasons[:-1]) == {NON_FINITE}
    assert reasons[-1] == ""
    shown, history = decisions_in_history_of_newest(stage)
    assert shown.tobytes() == history.tobytes()


def decisions_in_history_of_newest(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    newest = stage.decisions()[0]
    candles = stage.store.read_candles(PAIR, "1m", 0, newest.open_ms + MINUTE_MS)
    history = MOVING.compute(candles, step_ms=MINUTE_MS)
    return np.array(newest.observation[:-1], dtype=np.float32), history[-1]


def test_a_hole_of_which_nothing_is_known_pauses_the_run_though_it_could_be_filled(
    stage: Stage,
) -> None:
    stage.decide(0.0)
    stage.next_open_ms += MINUTE_MS

    record = stage.decide(1.0)

    assert record.hold_reason == "data_integrity_block"
    assert stage.run.status is RunStatus.PAUSED


def test_fewer_candles_than_the_series_needs_pause_the_run(stage: Stage) -> None:
    longer = make_feature_set("longer", MOVING.features, anchor=replace(ANCHOR, every=300))
    keep_feature_set(stage.store, longer, now_ms=1, created_by="test")
    stage.change_run(lambda run: replace(run, feature_set_id=longer.feature_set_id))

    record = stage.decide(1.0)

    assert (record.hold_reason, record.observation) == ("data_integrity_block", ())
    assert stage.policy.asked == []
