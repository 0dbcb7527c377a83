"""What a training or an evaluation looked at: an immutable, hashed selection of candles."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from desk.errors import BadInput
from desk.ids import Pair
from desk.learning.observation import candles_sha256
from desk.market.candles import Candles
from desk.market.features import Features, FeatureSet
from desk.market.interval import CALENDAR_MS, Interval, interval_ms
from desk.market.signal_features import NO_SIGNALS, Signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A snapshot of candles under a feature set; the same data always have the same id."""

    dataset_id: str
    pair: Pair
    interval: Interval
    start_ms: int
    end_ms: int
    """Exclusive; candles before `start_ms` only feed the first rows' features."""
    sha256: str
    """Of the candles, their lookback included; with signals, of those too."""
    rows: int
    missing: int
    """Open times of the grid within the range that have no candle."""
    feature_set_id: str
    lookback: int
    """Candles one row looks at, its own included."""
    stride: int = 1
    """Candles from one row to the next."""
    created_ms: int = 0
    source_run_ids: tuple[str, ...] = ()
    """Jobs that fetched candles of it."""
    parents: tuple[str, ...] = ()
    detail: Mapping[str, str] = field(default_factory=dict[str, str])
    signals_sha256: Mapping[str, str] = field(default_factory=dict[str, str])
    """By source id: of what was heard from each source of the features, its horizon included."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """The rows of a study: candles of a range, each with its features, none of them from later.

    `features` float32[T, F] is NaN where a row's lookback has a hole, or one too long to be filled.
    """

    dataset: Dataset
    candles: Candles
    features: Features

    def __len__(self) -> int:
        return len(self.candles)


def window(
    pair: Pair,
    interval: Interval,
    candles: Candles,
    features: FeatureSet,
    *,
    start_ms: int,
    end_ms: int,
    signals: Signals = NO_SIGNALS,
) -> Window:
    """Cut the range `[start_ms, end_ms)` out of sorted candles, with features for its every row.

    `signals` is what was heard from the features' sources in the range and their horizon. The lookback before the range is used for features if it is there. Raises `BadInput` when no row
    of the range has a whole lookback.
    """
    step = interval_ms(interval)
    seen = candles.between(start_ms - (features.lookback - 1) * step, end_ms)
    matrix = features.compute(seen, signals, step_ms=step)
    if features.anchor is None:  # one with an anchor fills short holes, by its own grid
        matrix[~_on_every_open_time(seen, features.lookback, step)] = np.nan
    inside = slice(int(np.searchsorted(seen.open_ms, start_ms)), None)
    chosen = seen.take(inside)
    shown = np.ascontiguousarray(matrix[inside])
    if not np.isfinite(shown).all(axis=1).any():
        raise BadInput(
            "period",
            f"of {len(chosen)} candles none had {features.lookback - 1} candles without a gap before "
            "it: backfill, or choose a longer period",
        )
    return Window(
        dataset=_dataset(
            pair,
            interval,
            seen,
            features,
            start_ms=start_ms,
            end_ms=end_ms,
            rows=len(chosen),
            signals=signals,
        ),
        candles=chosen,
        features=shown,
    )


def snapshot(
    pair: Pair,
    interval: Interval,
    candles: Candles,
    features: FeatureSet,
    *,
    start_ms: int,
    end_ms: int,
    lookback: int | None = None,
    stride: int = 1,
    signals: Signals = NO_SIGNALS,
) -> tuple[Dataset, Candles]:
    """Cut a dataset out of sorted candles: its record, and its candles with their lookback.

    The same candles under the same words have the same id and hash, however they were fetched.
    `lookback` is the feature set's own unless it is to be longer. Raises `BadInput` for words that
    do not fit, and for a range without candles.
    """
    step = interval_ms(interval)
    chosen = features.lookback if lookback is None else lookback
    check_words(
        interval, features, start_ms=start_ms, end_ms=end_ms, lookback=chosen, stride=stride
    )
    seen = candles.between(start_ms - (chosen - 1) * step, end_ms)
    rows = int(np.count_nonzero(seen.open_ms >= start_ms))
    if not rows:
        raise BadInput("start", f"{pair} has no {interval} candle in the range: backfill it first")
    dataset = _dataset(
        pair,
        interval,
        seen,
        features,
        start_ms=start_ms,
        end_ms=end_ms,
        rows=rows,
        signals=signals,
    )
    own_words = [f"w{chosen}"] * (chosen != features.lookback) + [f"s{stride}"] * (stride != 1)
    if own_words:
        name = "|".join([dataset.dataset_id, *own_words])
        dataset = replace(dataset, dataset_id=_id_of(name), lookback=chosen, stride=stride)
    return dataset, seen


def check_words(
    interval: Interval,
    features: FeatureSet,
    *,
    start_ms: int,
    end_ms: int,
    lookback: int,
    stride: int,
) -> None:
    """Raise `BadInput` naming the first word of a dataset that does not fit the others."""
    if interval in CALENDAR_MS:
        raise BadInput("interval", f"was {interval!r}, expected one whose candles are equally long")
    if lookback < features.lookback:
        raise BadInput(
            "window",
            f"was {lookback}, {features.feature_set_id} needs at least {features.lookback}",
        )
    if stride < 1:
        raise BadInput("stride", f"was {stride}, expected at least 1")
    step = interval_ms(interval)
    if start_ms >= end_ms or start_ms % step or end_ms % step:
        raise BadInput(
            "start",
            f"[{start_ms}, {end_ms}) was not a range on the {interval} grid: move its ends",
        )


def _on_every_open_time(candles: Candles, lookback: int, step_ms: int) -> NDArray[np.bool_]:
    """Whether a row's lookback has every candle of the grid; a feature set does not know the interval."""
    whole = np.zeros(len(candles), dtype=np.bool_)
    if len(candles) < lookback:
        return whole
    span_ms = candles.open_ms[lookback - 1 :] - candles.open_ms[: len(candles) - lookback + 1]
    whole[lookback - 1 :] = span_ms == (lookback - 1) * step_ms
    return whole


def split_ms(start_ms: int, end_ms: int, evaluation_fraction: float, interval: Interval) -> int:
    """Open time where training ends and evaluation begins: the last fraction is held out."""
    if not 0.0 < evaluation_fraction < 1.0:
        raise BadInput(
            "evaluation_fraction", f"was {evaluation_fraction}, expected between 0 and 1"
        )
    step = interval_ms(interval)
    held_out = round((end_ms - start_ms) * evaluation_fraction / step) * step
    return end_ms - max(held_out, step)


def _dataset(
    pair: Pair,
    interval: Interval,
    seen: Candles,
    features: FeatureSet,
    *,
    start_ms: int,
    end_ms: int,
    rows: int,
    signals: Signals,
) -> Dataset:
    heard = {source_id: signals[source_id].sha256 for source_id in features.sources}
    sha256 = content_sha256(seen, heard)
    name = f"{pair}|{interval}|{start_ms}|{end_ms}|{features.feature_set_id}|{sha256}"
    return Dataset(
        dataset_id=_id_of(name),
        pair=pair,
        interval=interval,
        start_ms=start_ms,
        end_ms=end_ms,
        sha256=sha256,
        rows=rows,
        missing=(end_ms - start_ms) // interval_ms(interval) - rows,
        feature_set_id=features.feature_set_id,
        lookback=features.lookback,
        signals_sha256=heard,
    )


def content_sha256(candles: Candles, signals_sha256: Mapping[str, str]) -> str:
    """Hash of a dataset's contents: that of its candles where it has no signals."""
    of_candles = candles_sha256(candles)
    if not signals_sha256:
        return of_candles
    lines = [of_candles, *(f"{name}={signals_sha256[name]}" for name in sorted(signals_sha256))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _id_of(name: str) -> str:
    return "ds-" + hashlib.sha256(name.encode()).hexdigest()[:20]
