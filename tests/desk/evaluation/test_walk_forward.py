"""Folds leave their gaps, follow each other, and a plan that cannot be cut says what would do."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.evaluation.walk_forward import (
    LEAST_TEST_BARS,
    Fold,
    FoldPlan,
    Rows,
    cut_folds,
    default_plan,
    overlaps,
    ready_segments,
    walk,
)

plans = st.builds(
    FoldPlan,
    folds=st.integers(1, 6),
    purge_bars=st.integers(0, 40),
    embargo_bars=st.integers(0, 40),
    min_train_bars=st.integers(0, 120),
)
readiness = st.lists(st.tuples(st.booleans(), st.integers(1, 300)), min_size=1, max_size=8).map(
    lambda runs: np.repeat([is_ready for is_ready, _ in runs], [count for _, count in runs])
)


@given(ready=readiness, plan=plans)
def test_no_trained_row_lies_within_the_gap_of_a_test_and_tests_follow_each_other(
    ready: np.ndarray, plan: FoldPlan
) -> None:
    try:
        folds = cut_folds(len(ready), ready_segments(ready), plan)
    except BadInput:
        return

    assert [fold.number for fold in folds] == list(range(plan.folds))
    for fold in folds:
        trained, tested = np.arange(*fold.train), np.arange(*fold.test)
        if len(trained):
            apart = np.abs(trained[:, None] - tested[None, :]).min()
            assert apart > plan.purge_bars
            assert apart > plan.embargo_bars
            assert trained.max() + plan.gap < tested.min()
        assert ready[trained].sum() >= plan.min_train_bars
        assert ready[tested].sum() >= LEAST_TEST_BARS
        assert ready[fold.test.first]
    counts = [int(ready[fold.test.first : fold.test.end].sum()) for fold in folds]
    assert max(counts) - min(counts) <= 1
    assert all(one.test.end == two.test.first for one, two in pairwise(folds))
    assert folds[-1].test.end == len(ready)


@given(plan=plans, more=st.integers(0, 200))
def test_what_a_refusal_asks_for_is_enough_and_one_candle_less_is_not(
    plan: FoldPlan, more: int
) -> None:
    enough = plan.least_rows

    assert len(cut_folds(enough + more, [Rows(0, enough + more)], plan)) == plan.folds
    with pytest.raises(BadInput, match=f"need at least {enough} candles with features"):
        cut_folds(enough - 1, [Rows(0, enough - 1)], plan)


@given(ready=readiness, plan=plans)
def test_a_refused_period_that_ends_as_much_later_as_asked_is_cut(
    ready: np.ndarray, plan: FoldPlan
) -> None:
    try:
        cut_folds(len(ready), ready_segments(ready), plan)
    except BadInput as refused:
        later = re.search(r"ends (\d+) candles later", str(refused))
        assert later is not None
        more = int(later[1])
    else:
        return

    def longer(by: int) -> list[Fold]:
        whole = np.concatenate([ready, np.ones(by, dtype=bool)])
        return cut_folds(len(whole), ready_segments(whole), plan)

    assert len(longer(more)) == plan.folds
    with pytest.raises(BadInput, match="ends 1 candles later"):
        longer(more - 1)


def test_a_hole_where_the_gap_lies_costs_no_rows() -> None:
    plan = FoldPlan(folds=2, purge_bars=10, min_train_bars=50)

    folds = cut_folds(100, [Rows(0, 50), Rows(60, 100)], plan)

    assert folds[0].train == Rows(0, 50)
    assert folds[0].test.first == 60


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        (FoldPlan(folds=0), "folds"),
        (FoldPlan(purge_bars=-1), "purge_bars"),
        (FoldPlan(embargo_bars=-1), "embargo_bars"),
        (FoldPlan(min_train_bars=-1), "min_train_bars"),
    ],
)
def test_a_number_out_of_range_is_named(plan: FoldPlan, field: str) -> None:
    with pytest.raises(BadInput, match=rf"walk_forward\.{field}: was"):
        cut_folds(10_000, [Rows(0, 10_000)], plan)


def test_segments_out_of_order_are_refused() -> None:
    with pytest.raises(BadInput, match=re.escape("ready: held Rows(first=0, end=5)")):
        cut_folds(100, [Rows(50, 100), Rows(0, 5)], FoldPlan())


@given(ready=readiness)
def test_segments_are_the_runs_of_rows_that_are_ready(ready: np.ndarray) -> None:
    segments = ready_segments(ready)

    again = np.zeros(len(ready), dtype=bool)
    for first, end in segments:
        again[first:end] = True
    assert (again == ready).all()
    assert all(one.end < two.first for one, two in pairwise(segments))


@pytest.mark.parametrize(
    ("trained", "is_seen"),
    [
        (Rows(0, 90), False),
        (Rows(0, 91), True),
        (Rows(-500, 150), True),
        (Rows(-500, -400), False),
        (Rows(210, 300), False),
        (Rows(209, 300), True),
        (Rows(120, 130), True),
        (Rows(150, 150), False),
    ],
)
def test_a_test_on_or_near_the_versions_training_is_in_sample(trained: Rows, is_seen: bool) -> None:
    fold = Fold(number=0, train=Rows(0, 90), test=Rows(100, 200))

    assert overlaps(fold, trained, FoldPlan(purge_bars=6, embargo_bars=4)) is is_seen


def test_a_study_fits_before_each_test_and_stops_when_cancelled() -> None:
    folds = cut_folds(1_000, [Rows(0, 1_000)], FoldPlan(folds=4, purge_bars=5, min_train_bars=100))
    fitted: list[Rows] = []

    def fit(fold: Fold) -> int:
        fitted.append(fold.train)
        return fold.train.end

    scores = walk(folds, fit, lambda end, fold: fold.test.first - end)
    some = walk(folds, fit, lambda end, _: end, cancelled=lambda: len(fitted) >= 6)

    assert scores == [5, 5, 5, 5]
    assert len(some) == 2
    assert [rows.first for rows in fitted] == [0] * 6


def test_few_rows_make_fewer_folds_and_too_few_none() -> None:
    assert default_plan(10_000) == FoldPlan(folds=5)
    assert default_plan(2 * LEAST_TEST_BARS) == FoldPlan(folds=2)
    assert default_plan(LEAST_TEST_BARS - 1) is None
