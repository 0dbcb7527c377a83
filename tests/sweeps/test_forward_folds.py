"""Folds lie after what was trained on, and a score is what the fast evaluator says of them."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.evaluation.fast import run_policy
from desk.evaluation.forward_folds import (
    Account,
    block_returns,
    candle_returns,
    fold_runs,
    fold_scores,
    joined_sharpe,
    part_of,
    plan_stretches,
)
from desk.evaluation.metrics import sharpe
from desk.learning.arrays import MarketArrays
from desk.learning.baseline import baseline_card, baseline_tensors
from desk.learning.policy import load_policy
from desk.learning.policy_lanes import forward_lanes
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.trading.fills import FillSpec
from desk.trading.tape import Market
from tests.learning.conftest import INSTRUMENT

EIGHT_HOURS_MS = 28_800_000
ACCOUNT = Account(cash=10_000.0, size_quote=5_000.0, decision_threshold=0.35, feature_limit=6.0)
POLICY = load_policy(baseline_card(), baseline_tensors())


@pytest.fixture(scope="module")
def arrays(walk: Callable[..., Candles]) -> MarketArrays:
    candles = walk(6_000, seed=11)
    first_ms = int(candles.open_ms[0]) // EIGHT_HOURS_MS * EIGHT_HOURS_MS
    first_ms = int(candles.open_ms[0]) // EIGHT_HOURS_MS * EIGHT_HOURS_MS
    rates = [(first_ms + EIGHT_HOURS_MS * number, Decimal("0.0001")) for number in range(1, 9)]
    market = Market.of(candles, INSTRUMENT, FillSpec(), rates)
    return MarketArrays.from_market(market, FEATURES_V1.compute(candles))


@given(
    rows=st.integers(200, 5_000),
    folds=st.integers(1, 8),
    train_fraction=st.floats(0.1, 0.9),
    purge=st.integers(0, 50),
    embargo=st.integers(0, 20),
    is_walk_forward=st.booleans(),
)
def test_no_scored_row_is_trained_on_nor_within_the_purge_of_one_that_is(
    rows: int, folds: int, **asked: Any
) -> None:
    purge, embargo = asked["purge"], asked["embargo"]
    try:
        planned = plan_stretches(rows, folds=folds, **asked)
    except BadInput:
        return  # too few rows for so many folds: said, not bent

    assert sum(len(one.folds) for one in planned) == folds
    scored = [fold for one in planned for fold in one.folds]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(scored))
    assert scored[-1][1] == rows
    for one in planned:
        assert one.train[0] == 0
        assert one.folds[0][0] - one.train[1] == purge
        gaps = [b[0] - a[1] for a, b in itertools.pairwise(one.folds)]
        assert gaps == [embargo] * len(gaps)


def test_too_many_folds_are_refused_with_what_is_left() -> None:
    with pytest.raises(BadInput, match="left 0 rows in the shortest: take fewer folds"):
        plan_stretches(100, is_walk_forward=False, folds=4, train_fraction=0.8, purge=60, embargo=0)


def test_a_fold_scores_what_the_evaluator_says_of_its_rows_alone(arrays: MarketArrays) -> None:
    """The settlements of other folds do not count in it."""
    rows = (3_000, 4_500)
    cut = part_of(arrays, rows)

    (score,) = fold_scores(POLICY, arrays, [rows], metric="net_return", account=ACCOUNT)

    alone = run_policy(
        cut,
        forward_lanes(POLICY),
        levels=POLICY.levels,
        threshold=0.35,
        size_quote=5_000.0,
        cash=10_000.0,
        feature_limit=6.0,
    )
    assert score == alone.balance / 10_000.0 - 1.0
    assert score != 0.0
    inside = (cut.columns.due_end > cut.columns.due_first).sum()
    assert 0 < inside < len(arrays.columns.due_mark)


def test_two_halves_of_a_market_fill_like_the_market(arrays: MarketArrays) -> None:
    """Cutting rows changes no candle, no feature and no settlement."""
    first, second = part_of(arrays, (0, 3_000)), part_of(arrays, (3_000, 6_000))

    for name in ("open", "high", "low", "close", "bid", "ask", "due_first", "due_end"):
        joined = np.concatenate([getattr(first.columns, name), getattr(second.columns, name)])
        assert (joined == getattr(arrays.columns, name)).all()
    assert np.array_equal(
        np.concatenate([first.features, second.features]), arrays.features, equal_nan=True
    )


def test_costs_are_in_every_score(arrays: MarketArrays) -> None:
    free = replace(arrays, rules=arrays.rules._replace(taker_rate=0.0))
    folds = [(2_000, 3_500), (3_500, 5_000)]

    paid = fold_scores(POLICY, arrays, folds, metric="net_return", account=ACCOUNT)
    unpaid = fold_scores(POLICY, free, folds, metric="net_return", account=ACCOUNT)

    assert all(costly < cheap for costly, cheap in zip(paid, unpaid, strict=True))


def test_the_joined_figures_are_those_of_all_folds_in_a_row(arrays: MarketArrays) -> None:
    runs = fold_runs(POLICY, arrays, [(1_000, 3_000), (3_000, 6_000)], ACCOUNT)

    earned = sum(float(run.equity[-1]) - run.cash for run in runs)
    assert candle_returns(runs).sum() == pytest.approx(earned / ACCOUNT.cash, abs=1e-12)
    assert sum(block_returns(runs)) == pytest.approx(earned / ACCOUNT.cash, abs=1e-12)
    assert len(block_returns(runs, 10)) == 10
    few = fold_runs(POLICY, arrays, [(1_000, 1_030)], ACCOUNT)
    assert block_returns(few) == tuple(candle_returns(few).tolist())
    (alone,) = fold_runs(POLICY, arrays, [(1_000, 6_000)], ACCOUNT)
    close_ms = arrays.open_ms[1_000:6_000] + arrays.step_ms
    assert joined_sharpe([alone], arrays) == pytest.approx(
        sharpe(alone.equity, close_ms, ACCOUNT.cash)
    )
