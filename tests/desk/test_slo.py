"""Service levels: missed above the threshold, met again well below it, silent about nothing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.slo import BACK_AT, Level, judge, levels

LEVEL = Level(
    code="slo_decision_latency",
    metric="decision_latency_ms",
    unit="ms",
    threshold=1000.0,
    newest=20,
    least=5,
)


def test_each_setting_is_the_threshold_of_one_level() -> None:
    made = levels(latency_ms=1500, lag_s=120, slippage_bps=50)

    assert {level.code: level.threshold for level in made} == {
        "slo_decision_latency": 1500,
        "slo_ingestion_lag": 120,
        "slo_slippage": 50,
    }


def test_at_the_threshold_it_is_met_and_above_it_is_not() -> None:
    assert not judge(LEVEL, [1000.0] * 20, was_missed=False).missed
    assert judge(LEVEL, [1000.1] * 20, was_missed=False).missed


def test_it_is_met_again_only_well_below_the_threshold() -> None:
    assert judge(LEVEL, [900.0] * 20, was_missed=True).missed
    assert not judge(LEVEL, [1000.0 * BACK_AT] * 20, was_missed=True).missed


@given(st.lists(st.floats(0, 5_000), min_size=1, max_size=60), st.booleans())
def test_what_is_missed_is_above_its_limit_and_nothing_else_is(
    values: list[float], was_missed: bool
) -> None:
    judged = judge(LEVEL, values, was_missed=was_missed)

    assert judged.samples == min(len(values), LEVEL.newest)
    if judged.value is None:
        assert len(values) < LEVEL.least
        assert not judged.missed
    else:
        assert judged.missed == (judged.value > 1000.0 * (BACK_AT if was_missed else 1.0))
        assert min(values[-20:]) <= judged.value <= max(
            values[-20:]
        ) or judged.value == pytest.approx(max(values[-20:]))


@given(st.lists(st.floats(980, 1_000), min_size=40, max_size=120))
def test_a_value_at_the_edge_never_turns_twice(values: list[float]) -> None:
    missed, turns = True, 0
    for end in range(20, len(values)):
        now = judge(LEVEL, values[:end], was_missed=missed).missed
        turns, missed = turns + (now != missed), now

    assert turns == 0


def test_too_few_samples_say_nothing_unless_something_else_is_known() -> None:
    assert judge(LEVEL, [9_999.0] * 4, was_missed=True).value is None
    assert not judge(LEVEL, [9_999.0] * 4, was_missed=True).missed
    assert judge(LEVEL, [], was_missed=False, floor=1_001.0).missed
    assert judge(LEVEL, [1.0] * 20, was_missed=False, floor=1_001.0).missed


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_no_number_counts_as_bad(wrong: float) -> None:
    assert judge(LEVEL, [wrong] * 20, was_missed=False).missed
