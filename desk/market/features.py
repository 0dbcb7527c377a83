"""What a policy is shown of the market: features with a finite memory, the same live and in history.

Every value is a function of the trailing `lookback` candles, and in the columns of signals and funding
of what was known by the candle's close. `compute` over any history and `observe` over the last `lookback`
candles give the same bytes, and nothing later can change an earlier row.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from desk.market.anchors import Anchor, stretches
from desk.market.candles import Candles, Floats, Ints
from desk.market.feature_rules import RULES, Feature
from desk.market.funding_features import FUNDING_SOURCE, FundingColumns, marks_in
from desk.market.recursive import Blocks
from desk.market.rolling import Rows, evenly_spaced
from desk.market.signal_features import NO_SIGNALS, SignalColumns, Signals

type Features = NDArray[np.float32]

CLIP = 10.0
"""Largest size of a value. The out-of-distribution limit lies below it, so it still sees extremes."""

NON_FINITE = "features_non_finite"
FUNDING_UNKNOWN = "funding_unknown"
OUT_OF_DISTRIBUTION = "features_out_of_distribution"


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """An ordered, versioned list of features. `feature_set_id` names exactly this computation.

    `gap_policy` `reject`: a row whose lookback has a hole in it is NaN, and nothing is filled in.
    `fill`, which sets with an anchor have: short holes become flat candles, see `Anchor`.
    `revision` counts changes of the rules' arithmetic. `lookback` is at least 2 where there are
    signals: the distance of two candles says when one closes.
    """

    name: str
    features: tuple[Feature, ...]
    lookback: int
    gap_policy: str = "reject"
    clip: float = CLIP
    revision: int = 1
    signals: tuple[SignalColumns, ...] = ()
    """Two more columns for each source, after those of the candles."""
    anchor: Anchor | None = None
    """Where the series of recursive features begin; with one, `gap_policy` is `fill` (see there)."""
    funding: FundingColumns | None = None
    """Columns of the pair's funding, the last ones; a row without them has no features at all."""

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in order."""
        of_signals = [name for columns in self.signals for name in columns.names]
        of_funding = () if self.funding is None else self.funding.names
        return (*(feature.name for feature in self.features), *of_signals, *of_funding)

    @property
    def size(self) -> int:
        """Number of columns F."""
        of_funding = 0 if self.funding is None else len(self.funding.columns)
        return len(self.features) + 2 * len(self.signals) + of_funding

    @property
    def sources(self) -> tuple[str, ...]:
        """Ids of what it looks at beside candles: sources of signals, and funding."""
        of_funding = () if self.funding is None else (FUNDING_SOURCE,)
        return (*(columns.source_id for columns in self.signals), *of_funding)

    @cached_property
    def feature_set_id(self) -> str:
        """`v1-` and the first characters of the definition's sha256."""
        parts = asdict(self)
        # Sets from before there were any of these keep their ids.
        if not self.signals:
            del parts["signals"]
        if self.anchor is None:
            del parts["anchor"]
        if self.funding is None:
            del parts["funding"]
        for feature in parts["features"]:
            if feature["bars"] == 1:
                del feature["bars"]
        definition = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return f"{self.name}-{hashlib.sha256(definition.encode()).hexdigest()[:12]}"

    def index(self, name: str) -> int:
        """Column of a feature. Raises ValueError."""
        return self.names.index(name)

    def compute(
        self, candles: Candles, signals: Signals = NO_SIGNALS, *, step_ms: int = 0
    ) -> Features:
        """Return float32[T, F] for sorted candles; rows without a whole lookback behind them are NaN.

        With an anchor in Fortran's order, each column in one piece of memory; else in C's.

        `signals` has what was heard from each of `sources` back to its horizon before the first row,
        or all of it. `step_ms` is how long a candle lasts; a set with an anchor must be told. Raises
        KeyError for a source that is not there, and with an anchor `BadInput` for candles that are
        unsorted, off the grid or not finite.
        """
        if self.anchor is not None:
            return self._compute_anchored(candles, signals, self.anchor, step_ms)
        matrix = np.full((len(candles), self.size), np.nan, dtype=np.float32)
        if len(candles) < self.lookback:
            return matrix
        rows = Rows(candles, self.lookback)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for column, feature in enumerate(self.features):
                values = RULES[feature.rule](rows, feature.windows)
                matrix[self.lookback - 1 :, column] = np.clip(values, -self.clip, self.clip)
        if self.sources:
            close_ms = _close_ms(candles, self.lookback)
            matrix[self.lookback - 1 :, len(self.features) :] = self.beside(signals, close_ms)
        matrix[~evenly_spaced(candles, self.lookback)] = np.nan
        if self.funding is not None:
            matrix[np.isnan(matrix).any(axis=1)] = np.nan
        return matrix

    def observe(
        self, candles: Candles, signals: Signals = NO_SIGNALS, *, step_ms: int = 0
    ) -> Features:
        """Return float32[F] of the newest candle; NaN when fewer than `lookback` are given.

        For a set with an anchor NaN where the candles do not prove where its series begins; it has
        `FeatureStream`, which carries the series on.
        """
        if not len(candles) or (self.anchor is None and len(candles) < self.lookback):
            return np.full(self.size, np.nan, dtype=np.float32)
        newest = candles.take(slice(-self.lookback, None))
        return self.compute(newest, signals, step_ms=step_ms)[-1]

    def beside(self, signals: Signals, close_ms: Ints) -> Floats:
        """The columns that do not come from candles, float64[T, …], for the closes of candles.

        Raises KeyError for a source that is not there.
        """
        parts = [one.compute(signals[one.source_id], close_ms) for one in self.signals]
        if self.funding is not None:
            found = self.funding.compute(marks_in(signals), close_ms)
            parts.append(np.clip(found, -self.clip, self.clip))
        return np.concatenate(parts, axis=1)

    def unknown_funding(self, signals: Signals, close_ms: int) -> str:
        """Why a row with this close has no funding, and so no features; empty where it has or needs none."""
        return "" if self.funding is None else self.funding.unknown(marks_in(signals), close_ms)

    def refusal(
        self, values: Features, signals: Signals, close_ms: int, limit: float
    ) -> tuple[str, str]:
        """Why the values float32[F] of a row must not be decided on, and what there is to say of it.

        Two empty texts where they may be; see `check`.
        """
        reason = check(values, limit) or ""
        if reason == NON_FINITE and (detail := self.unknown_funding(signals, close_ms)):
            return FUNDING_UNKNOWN, detail
        return reason, ""

    def _compute_anchored(
        self, candles: Candles, signals: Signals, anchor: Anchor, step_ms: int
    ) -> Features:
        if step_ms <= 0:
            raise ValueError(
                f"step_ms was {step_ms}, {self.feature_set_id} needs a candle's length"
            )
        # A column's rows lie side by side, as TA-Lib gives them: nothing is turned over here.
        matrix = np.empty((self.size, len(candles)), dtype=np.float32).T
        count, done = len(self.features), 0
        blocks = Blocks(self.features, self.clip)
        for stretch in stretches(candles, anchor, step_ms):
            is_real = stretch.is_real[stretch.first_row :]
            first, stop = int(stretch.at[0]), int(stretch.at[-1]) + 1
            matrix[done:first] = np.nan
            rows = matrix[first:stop, :count].T
            if is_real.all():
                blocks.fill(stretch, rows)
            else:
                filled_in = np.empty((count, len(is_real)), dtype=np.float32)
                blocks.fill(stretch, filled_in)
                rows[:] = filled_in[:, is_real]
            done = stop
        matrix[done:] = np.nan
        if self.sources:
            matrix[:, count:] = self.beside(signals, candles.open_ms + step_ms)
            matrix[np.isnan(matrix).any(axis=1)] = np.nan
        return matrix


def _close_ms(candles: Candles, lookback: int) -> Ints:
    """When each row's candle closed: one distance of its lookback after its open time; int64."""
    open_ms = candles.open_ms[lookback - 1 :]
    return 2 * open_ms - candles.open_ms[lookback - 2 : len(candles) - 1]


def check(observation: Features, limit: float) -> str | None:
    """Return why these values must not be decided on, or None.

    `limit` is in standard deviations: market columns are scaled by their own window's.
    """
    if not np.isfinite(observation).all():
        return NON_FINITE
    if np.abs(observation).max(initial=0.0) > limit:
        return OUT_OF_DISTRIBUTION
    return None


FEATURES_V1 = FeatureSet(
    name="v1",
    lookback=240,
    features=(
        Feature(name="return_1", rule="scaled_return", windows=(1, 60)),
        Feature(name="return_5", rule="scaled_return", windows=(5, 60)),
        Feature(name="return_15", rule="scaled_return", windows=(15, 60)),
        Feature(name="return_60", rule="scaled_return", windows=(60, 239)),
        Feature(name="volatility_239", rule="volatility", windows=(239,)),
        Feature(name="volatility_change_15_239", rule="volatility_change", windows=(15, 239)),
        Feature(name="close_zscore_15", rule="close_zscore", windows=(15,)),
        Feature(name="close_zscore_60", rule="close_zscore", windows=(60,)),
        Feature(name="close_zscore_240", rule="close_zscore", windows=(240,)),
        Feature(name="trend_20_60", rule="trend", windows=(20, 60)),
        Feature(name="trend_60_240", rule="trend", windows=(60, 240)),
        Feature(name="range_position_60", rule="range_position", windows=(60,)),
        Feature(name="range_position_240", rule="range_position", windows=(240,)),
        Feature(name="volume_change_15_240", rule="volume_change", windows=(15, 240)),
        Feature(name="day_sine", rule="day_sine"),
        Feature(name="day_cosine", rule="day_cosine"),
    ),
)
"""The feature set of every version so far; 239 one-candle returns lie between 240 closes."""

FEATURE_SETS: Mapping[str, FeatureSet] = {FEATURES_V1.feature_set_id: FEATURES_V1}
"""Every feature set this release can compute, by id."""
