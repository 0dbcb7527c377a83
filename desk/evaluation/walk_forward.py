"""Walk-forward folds: train on the past, leave a gap, test on what follows, and go on from there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desk.errors import BadInput
from desk.market.candles import Ints

FIELD = "walk_forward"
LEAST_TEST_BARS = 20
"""Rows with features of one test: fewer hold not even the gate's least number of trades."""
DEFAULT_FOLDS = 5


class Rows(NamedTuple):
    """Candles by row, `[first, end)`."""

    first: int
    end: int

    def __len__(self) -> int:
        return max(self.end - self.first, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldPlan:
    """How to cut folds. A bar is a row of the candles that are there.

    Walk-forward trains only on what lies before a test, so both gaps lie before it: `purge_bars` for
    rows whose outcome reaches into the test, `embargo_bars` for those that resemble its first rows
    because features look back (López de Prado, Advances in Financial Machine Learning, 2018, §7.4).
    """

    folds: int = DEFAULT_FOLDS
    purge_bars: int = 0
    embargo_bars: int = 0
    min_train_bars: int = 0
    """Rows with features that the first fold trains on at least; with none it has no gap either."""

    @property
    def gap(self) -> int:
        """Rows between the last trained and the first tested one."""
        return self.purge_bars + self.embargo_bars

    @property
    def least_rows(self) -> int:
        """Rows with features that this plan needs where none is missing."""
        lead = self.min_train_bars + self.gap if self.min_train_bars else 0
        return lead + self.folds * LEAST_TEST_BARS


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One step of the walk; trains on everything before its gap."""

    number: int
    """From 0 on."""
    train: Rows
    """Empty where nothing is to be trained."""
    test: Rows


def ready_segments(ready: NDArray[np.bool_]) -> list[Rows]:
    """The runs of rows that have features, of bool[T], in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ready, [False]]).astype(np.int8)))
    return [Rows(first, end) for first, end in zip(*edges.reshape(-1, 2).T.tolist(), strict=True)]


def cut_folds(rows: int, ready: Sequence[Rows], plan: FoldPlan) -> list[Fold]:
    """Cut `rows` candles into folds whose tests hold equally many rows with features, one after another.

    The last test ends with the last row. `ready` are the segments that have features, in order and
    apart. Raises `BadInput` naming what was wrong and the smallest data that would do.
    """
    _check(plan)
    seen = _rows_of(rows, ready)
    missing, tested = _tested(rows, seen, plan)
    if missing > 0:
        raise BadInput(
            FIELD,
            f"{plan.folds} folds with purge_bars {plan.purge_bars}, embargo_bars "
            f"{plan.embargo_bars} and min_train_bars {plan.min_train_bars} need at least "
            f"{plan.least_rows} candles with features where none is missing, there were "
            f"{len(seen)}: choose a period that ends {missing} candles later, or a smaller plan",
        )
    begins = [int(part[0]) for part in np.array_split(tested, plan.folds)]
    ends = [*begins[1:], rows]
    return [
        Fold(number=number, train=_train(begin, plan), test=Rows(begin, end))
        for number, (begin, end) in enumerate(zip(begins, ends, strict=True))
    ]


def overlaps(fold: Fold, trained: Rows, plan: FoldPlan) -> bool:
    """Whether a test lies on, or within the plan's gap of, rows that a version was trained on.

    `trained` may begin before the first row, and end after the last.
    """
    return (
        len(trained) > 0
        and fold.test.first < trained.end + plan.gap
        and trained.first < fold.test.end + plan.gap
    )


def walk[P, S](
    folds: Sequence[Fold],
    fit: Callable[[Fold], P],
    score: Callable[[P, Fold], S],
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[S]:
    """Fit on each fold's training rows and score on its test; for studies. Ends early when cancelled."""
    scores: list[S] = []
    for fold in folds:
        if cancelled():
            break
        scores.append(score(fit(fold), fold))
    return scores


def default_plan(ready_rows: int) -> FoldPlan | None:
    """What an evaluation shows when nothing was asked: five folds, fewer where there are few rows."""
    folds = min(DEFAULT_FOLDS, ready_rows // LEAST_TEST_BARS)
    return FoldPlan(folds=folds) if folds else None


def _check(plan: FoldPlan) -> None:
    least = {"folds": 1, "purge_bars": 0, "embargo_bars": 0, "min_train_bars": 0}
    for name, smallest in least.items():
        value = getattr(plan, name)
        if value < smallest:
            raise BadInput(f"{FIELD}.{name}", f"was {value}, expected at least {smallest}")


def _rows_of(rows: int, ready: Sequence[Rows]) -> Ints:
    last = 0
    for segment in ready:
        if not last <= segment.first <= segment.end <= rows:
            raise BadInput("ready", f"held {segment} after row {last} of {rows}: sort them")
        last = segment.end
    parts = [np.arange(segment.first, segment.end) for segment in ready]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _tested(rows: int, seen: Ints, plan: FoldPlan) -> tuple[int, Ints]:
    """How many more candles at the end the plan needs, and the rows with features it may test.

    Those begin after enough rows to train on, and then the gap.
    """
    least = plan.folds * LEAST_TEST_BARS
    if len(seen) < max(plan.min_train_bars, 1):
        return plan.least_rows - len(seen), seen[:0]
    first = int(seen[0])
    if plan.min_train_bars:
        first = int(seen[plan.min_train_bars - 1]) + 1 + plan.gap
    tested = seen[np.searchsorted(seen, first) :]
    return least - len(tested) + max(first - rows, 0), tested


def _train(begin: int, plan: FoldPlan) -> Rows:
    return Rows(0, max(begin - plan.gap, 0))
