"""What can be said against a training or an evaluation before it begins: no feature is computed here.

The job itself checks everything again; this is so that a request is refused by its field, at once.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from actors.study_period import Period
from desk.errors import BadInput
from desk.learning.arrays import MarketArrays, exit_rules
from desk.learning.episode import EpisodeSpec, check_sizes, check_spec, least_run
from desk.market.anchors import stretches
from desk.market.candles import Candles
from desk.market.features import FeatureSet
from desk.market.funding_features import marks_in
from desk.market.interval import interval_ms
from desk.market.signal_features import Signals
from desk.store.port import DocStore
from desk.trading.intents import NO_PROTECTION, Protection
from desk.trading.tape import Market, check_on_tick

FIELDS_OF_REQUEST: Mapping[str, str] = {
    "start": "start_ms",
    "period": "start_ms",
    "candles": "start_ms",
    "size_quote": "levels",
}
"""What a field of a study is called in the request of a training."""
FIELDS_OF_EVALUATION: Mapping[str, str] = {
    "start": "period_start_ms",
    "period": "period_start_ms",
    "candles": "period_start_ms",
}


@contextmanager
def named(fields: Mapping[str, str]) -> Generator[None]:
    """Let a `BadInput` name its field as whoever asked calls it."""
    try:
        yield
    except BadInput as wrong:
        if wrong.field not in fields:
            raise
        raise BadInput(fields[wrong.field], wrong.problem) from None


def check_training(
    store: DocStore,
    candles: Candles,
    period: Period,
    features: FeatureSet,
    episode: EpisodeSpec,
    *,
    most_missing_fraction: float,
    now_ms: int,
) -> None:
    """Raise `BadInput` naming what a training would fail for.

    `candles` are those of the period with their lookback, or more, sorted.
    """
    check_spec(episode)
    exits = (episode.protection, episode.leverage)
    with_features = _check_market(
        store, candles, period, features, exits, most_missing_fraction, now_ms=now_ms
    )
    check_sizes(_dearest(candles, period, features), episode)
    opens = candles.between(period.start_ms, period.end_ms).open_ms
    is_behind = np.diff(opens, prepend=opens[0]) > interval_ms(period.interval)
    longest, least = _longest_run(with_features & ~is_behind), least_run(episode)
    if longest < least:
        raise BadInput(
            "period",
            f"{int(with_features.sum())} of {len(with_features)} candles have features, at most"
            f" {longest} one after another, expected {least}: backfill, or choose a longer period",
        )


def check_evaluation(
    store: DocStore,
    candles: Candles,
    period: Period,
    features: FeatureSet,
    *,
    protection: Protection = NO_PROTECTION,
    leverage: int | None = None,
    most_missing_fraction: float,
    now_ms: int,
) -> None:
    """Raise `BadInput` naming what an evaluation would fail for; `candles` as for a training."""
    exits = (protection, leverage)
    _check_market(store, candles, period, features, exits, most_missing_fraction, now_ms=now_ms)


def _check_market(  # noqa: PLR0917 - what is looked at, and what with
    store: DocStore,
    candles: Candles,
    period: Period,
    features: FeatureSet,
    exits: tuple[Protection, int | None],
    most_missing_fraction: float,
    *,
    now_ms: int,
) -> NDArray[np.bool_]:
    """Whether each candle of the period has features, as far as that can be known without them."""
    protection, leverage = exits
    period.check_leverage(leverage)
    chosen = candles.between(period.start_ms, period.end_ms)
    if not len(chosen):
        raise BadInput(
            "period",
            f"has no stored {period.interval} candle of {period.pair}: backfill it, or choose another",
        )
    period.check_gaps(chosen, most_missing_fraction)
    check_on_tick(chosen, period.instrument)
    exit_rules(_dearest(candles, period, features), protection, leverage)
    signals = period.heard(store, features, now_ms=now_ms)
    step_ms = interval_ms(period.interval)
    seen = candles.between(period.start_ms - (features.lookback - 1) * step_ms, period.end_ms)
    with_features = rows_with_features(seen, features, signals, step_ms)
    inside = with_features[seen.open_ms >= period.start_ms]
    if not inside.any():
        raise BadInput(
            "period",
            f"none of {len(inside)} candles has features: {features.feature_set_id} looks back on"
            f" {features.lookback} candles; backfill, or choose a longer period",
        )
    return inside


def rows_with_features(
    candles: Candles, features: FeatureSet, signals: Signals, step_ms: int
) -> NDArray[np.bool_]:
    """Which rows of sorted candles have all that their features look at; bool[T].

    Raises `BadInput` as `FeatureSet.compute` does.
    """
    found = np.zeros(len(candles), dtype=np.bool_)
    if features.anchor is not None:
        for stretch in stretches(candles, features.anchor, step_ms):
            found[stretch.at] = True
    elif len(candles) >= (reach := features.lookback):
        spans_ms = candles.open_ms[reach - 1 :] - candles.open_ms[: len(candles) - reach + 1]
        found[reach - 1 :] = spans_ms == (reach - 1) * step_ms
    if features.funding is not None:
        paid = features.funding.compute(marks_in(signals), candles.open_ms + step_ms)
        found &= np.isfinite(paid).all(axis=1)
    return found


def _dearest(candles: Candles, period: Period, features: FeatureSet) -> MarketArrays:
    """A market of the one candle with the highest price: what sizes and exits depend on."""
    chosen = candles.between(period.start_ms, period.end_ms)
    at = int(np.argmax(chosen.high))
    market = Market.of(chosen.take(slice(at, at + 1)), period.instrument, period.fill_spec)
    return MarketArrays.from_market(market, np.zeros((1, features.size), dtype=np.float32))


def _longest_run(rows: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
    return int(np.diff(edges)[::2].max()) if len(edges) else 0
