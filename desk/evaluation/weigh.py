"""Weighing an evaluation: folds, baselines, dearer costs, other thresholds, and how much may be luck."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from desk.clock import HOUR_MS
from desk.evaluation.confidence import likeliest, table_at
from desk.evaluation.evidence import (
    FLAT,
    HOLD,
    BaselineResult,
    Evidence,
    FoldResult,
    Outcome,
    RandomResult,
    StressResult,
    ThresholdPoint,
)
from desk.evaluation.fast import Forward
from desk.evaluation.luck import closed_between, counted_history, luck_intervals
from desk.evaluation.metrics import Metrics, max_drawdown, sharpe
from desk.evaluation.overfitting import (
    Trials,
    deflated_sharpe,
    moments,
    of_columns,
    overfitting_probability,
    probabilistic_sharpe,
    totals_by_step,
)
from desk.evaluation.plan import Plan
from desk.evaluation.rivals import (
    Rival,
    Terms,
    Walked,
    flat_table,
    hold_table,
    hourly_sharpe,
    levels_held,
    random_shift,
    shifted_table,
    step_ms,
    walk,
    walked,
    with_costs,
    yearly,
)
from desk.evaluation.walk_forward import (
    Fold,
    FoldPlan,
    Rows,
    cut_folds,
    default_plan,
    overlaps,
    ready_segments,
)
from desk.learning.arrays import MarketArrays
from desk.market.candles import Floats
from desk.market.features import Features
from desk.trading.tape import Market

COST_MULTIPLES = (1, 2, 3)
RANDOM_SEEDS = 50
"""Random baselines: enough that the 95th of 100 is not the best of them."""
THRESHOLDS = tuple(round(0.35 + 0.05 * number, 2) for number in range(13))
"""From the desk's default up to 0.95."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """The version that is evaluated, and what the engine made of its plan."""

    forward: Forward
    levels: tuple[float, ...]
    features: Features
    threshold: float
    feature_limit: float
    plan: Plan
    metrics: Metrics
    trained: Rows
    """Rows of the evaluation that it was trained on; may reach beyond either end."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weighed:
    """The evidence, and the curves beside it."""

    evidence: Evidence
    curves: dict[str, Floats]
    """float64[T] equity at each close, by the name of a baseline or of a cost multiple."""


def weigh(
    market: Market,
    judged: Judged,
    rivals: Sequence[Rival],
    terms: Terms,
    *,
    folds: FoldPlan | None = None,
    trials: Trials | None = None,
    seed: int = 0,
) -> Weighed:
    """Weigh a version's figures. Raises `BadInput` for folds that the candles do not allow.

    Without `folds` there are five, or fewer where there are few candles. The same seed gives the
    same evidence.
    """
    arrays = MarketArrays.from_market(market, judged.features)
    fold_plan, cut = _cut(arrays, folds)
    tests = [_fold(market, judged, terms.cash, fold_plan, fold) for fold in cut]
    counted = [fold.test for fold, test in zip(cut, tests, strict=True) if not test.is_in_sample]
    if not cut:
        whole = Fold(number=0, train=Rows(0, 0), test=Rows(0, len(arrays)))
        counted = [] if overlaps(whole, judged.trained, FoldPlan()) else [whole.test]
    history = counted_history(market.tape, judged.metrics, terms.cash, counted)
    own = walked(arrays, judged.plan, terms.cash)
    curve = _threshold_curve(arrays, judged, terms)
    known = _known(arrays, market, rivals, judged, terms)
    random = _random(arrays, own, judged, terms)
    stressed = _stressed(market, judged, terms.cash)
    sure = luck_intervals(history, terms.cash, yearly(arrays.step_ms), seed=seed)
    tried, rate = trials or Trials(), yearly(arrays.step_ms)
    found = moments(history.changes)
    candidates = [*(each for _, each in curve), *(each for _, each in known), *random]
    evidence = Evidence(
        folds=tuple(tests),
        purge_bars=fold_plan.purge_bars,
        embargo_bars=fold_plan.embargo_bars,
        min_train_bars=fold_plan.min_train_bars,
        baselines=tuple(
            BaselineResult(name=name, version_id=version_id, outcome=_outcome(each))
            for (name, version_id), each in known
        ),
        random=_spread(own, random),
        stress=tuple(
            StressResult(cost_multiple=multiple, outcome=_outcome(each))
            for multiple, each in stressed
        ),
        threshold_curve=tuple(
            ThresholdPoint(decision_threshold=threshold, outcome=_outcome(each))
            for threshold, each in curve
        ),
        intervals=sure.figures,
        block_hours=sure.block_length * step_ms(arrays.step_ms) / HOUR_MS,
        observations=found.count,
        trials=tried.count,
        probabilistic_sharpe=probabilistic_sharpe(found),
        deflated_sharpe=deflated_sharpe(found, tried, rate),
        overfitting_probability=overfitting_probability(
            of_columns([each.changes for each in candidates])
        ),
        seed=seed,
    )
    curves = {name: each.equity for (name, _), each in known}
    curves |= {f"cost_{multiple}x": each.equity for multiple, each in stressed}
    return Weighed(evidence=evidence, curves=curves)


def _cut(arrays: MarketArrays, asked: FoldPlan | None) -> tuple[FoldPlan, list[Fold]]:
    ready = arrays.ready
    plan = asked or default_plan(int(ready.sum()))
    if plan is None:
        return FoldPlan(), []
    return plan, cut_folds(len(arrays), ready_segments(ready), plan)


def _fold(market: Market, judged: Judged, cash: float, plan: FoldPlan, fold: Fold) -> FoldResult:
    tape, metrics, (first, end) = market.tape, judged.metrics, fold.test
    before = float(metrics.equity[first - 1]) if first else cash
    equity = metrics.equity[first:end]
    close_ms = tape.close_ms[first:end]
    trades = closed_between(metrics.trades, int(tape.open_ms[first]), int(close_ms[-1]))
    changes = totals_by_step(equity, before, close_ms, step_ms(_length(market)))
    train_start = int(tape.open_ms[fold.train.first])
    return FoldResult(
        number=fold.number,
        pair=market.instrument.pair,
        train_start_ms=train_start,
        train_end_ms=int(tape.close_ms[fold.train.end - 1]) if fold.train else train_start,
        test_start_ms=int(tape.open_ms[first]),
        test_end_ms=int(close_ms[-1]),
        is_in_sample=overlaps(fold, judged.trained, plan),
        candle_count=len(fold.test),
        win_rate=sum(trade.pnl > 0 for trade in trades) / len(trades) if trades else 0.0,
        outcome=Outcome(
            net_pnl_after_fees=_money(float(equity[-1]) - before),
            sharpe=sharpe(equity, close_ms, before),
            hourly_sharpe=hourly_sharpe(changes, _length(market)),
            max_drawdown=max_drawdown(equity, before),
            trade_count=len(trades),
            exposure=float(np.count_nonzero(metrics.position_lots[first:end]) / len(fold.test)),
        ),
    )


def _threshold_curve(
    arrays: MarketArrays, judged: Judged, terms: Terms
) -> list[tuple[float, Walked]]:
    best, sureness = likeliest(
        judged.forward, judged.features, judged.levels, feature_limit=judged.feature_limit
    )
    return [
        (threshold, walk(arrays, table_at(best, sureness, threshold), judged.levels, terms))
        for threshold in sorted({*THRESHOLDS, judged.threshold})
    ]


def _known(
    arrays: MarketArrays, market: Market, rivals: Sequence[Rival], judged: Judged, terms: Terms
) -> list[tuple[tuple[str, str], Walked]]:
    rows = len(arrays)
    found = [
        ((FLAT, ""), walk(arrays, flat_table(rows), (0.0,), terms)),
        ((HOLD, ""), walk(arrays, hold_table(rows), (0.0, 1.0), terms)),
    ]
    for rival in rivals:
        best, sureness = likeliest(
            rival.forward, rival.features, rival.levels, feature_limit=judged.feature_limit
        )
        table = table_at(best, sureness, judged.threshold)
        theirs = MarketArrays.from_market(market, rival.features)
        found.append(((rival.name, rival.version_id), walk(theirs, table, rival.levels, terms)))
    return found


def _random(arrays: MarketArrays, own: Walked, judged: Judged, terms: Terms) -> list[Walked]:
    """The version's own positions at random other times; see `shifted_table`."""
    if own.trade_count == 0:
        return []
    levels = sorted({*judged.levels, 0.0})
    held = levels_held(own, arrays, levels, terms.size_quote)
    zero = levels.index(0.0)
    return [
        walk(arrays, shifted_table(held, zero, random_shift(len(held), seed)), levels, terms)
        for seed in range(RANDOM_SEEDS)
    ]


def _spread(own: Walked, random: Sequence[Walked]) -> RandomResult | None:
    if not random:
        return None
    earned = np.array([each.net_pnl for each in random])
    low, median, high = np.percentile(earned, [5.0, 50.0, 95.0]).tolist()
    return RandomResult(
        seeds=len(random),
        net_pnl_low=_money(low),
        net_pnl_median=_money(median),
        net_pnl_high=_money(high),
        share_beaten=float((earned < own.net_pnl).mean()),
    )


def _stressed(market: Market, judged: Judged, cash: float) -> list[tuple[int, Walked]]:
    found: list[tuple[int, Walked]] = []
    for multiple in COST_MULTIPLES:
        dearer = MarketArrays.from_market(with_costs(market, multiple), judged.features)
        found.append((multiple, walked(dearer, judged.plan, cash)))
    return found


def _outcome(found: Walked) -> Outcome:
    return Outcome(
        net_pnl_after_fees=_money(found.net_pnl),
        sharpe=found.sharpe,
        hourly_sharpe=found.hourly_sharpe,
        max_drawdown=found.max_drawdown,
        trade_count=found.trade_count,
        exposure=found.exposure,
    )


def _length(market: Market) -> int:
    return int(market.tape.close_ms[0] - market.tape.open_ms[0])


def _money(amount: float) -> str:
    return f"{amount:.4f}"
