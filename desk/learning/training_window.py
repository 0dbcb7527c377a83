"""Whether a window of candles can be studied: what is refused before the first step, with the remedy."""

from math import isfinite

import numpy as np

from desk.clock import to_iso
from desk.errors import BadInput
from desk.learning.study import Dataset
from desk.market.candles import Ints

MOST_MISSING_FRACTION = 0.01
"""Of a window's candles; what the runbook allows after a backfill."""
EPISODE_CANDLES = 1_440
"""Of an episode, unless another length is asked for."""


def check_length(candles: int, lookback: int, episode_candles: int) -> None:
    """Raise `BadInput` for a period that is too short for an episode, whatever is stored of it.

    See `desk.learning.episode.stretches`; candles before the period count where they are stored, so
    the `lookback` is only named.
    """
    needed = max(episode_candles // 4, 1) + 1
    if candles < needed:
        raise BadInput(
            "period",
            f"had {candles} candles, expected at least {needed}, a quarter of an episode, after the"
            f" {lookback} that the features look back on: choose a longer period",
        )


def check_gaps(
    open_ms: Ints, *, start_ms: int, end_ms: int, step_ms: int, most_missing_fraction: float
) -> None:
    """Raise `BadInput` where `[start_ms, end_ms)` lacks more candles than allowed, naming the first.

    `open_ms` int64[T]: those that are there, sorted, all of them within the range. The request of a
    training, an evaluation or a sweep asks this, and the job does again.
    """
    if not isfinite(most_missing_fraction) or not 0.0 <= most_missing_fraction <= 1.0:
        raise BadInput(
            "most_missing_fraction", f"was {most_missing_fraction}, expected from 0 to 1"
        )
    whole = (end_ms - start_ms) // step_ms
    missing = whole - len(open_ms)
    if missing <= most_missing_fraction * whole:
        return
    expected = start_ms + step_ms * np.arange(len(open_ms))
    off = np.flatnonzero(open_ms != expected)
    first_ms = int(expected[off[0]]) if len(off) else start_ms + step_ms * len(open_ms)
    raise BadInput(
        "period",
        f"had {missing} of {whole} candles missing, the first at {to_iso(first_ms)},"
        f" expected at most {most_missing_fraction:.2%}: backfill it, or choose another period",
    )


def check_is_dataset(
    dataset: Dataset,
    *,
    pair: str,
    interval: str,
    start_ms: int,
    end_ms: int,
    feature_set_id: str,
) -> None:
    """Raise `BadInput` where a training asks for something else than the dataset that it names."""
    asked = {
        "pair": pair,
        "interval": interval,
        "start_ms": start_ms,
        "end_ms": end_ms,
        "feature_set_id": feature_set_id,
    }
    for name, wanted in asked.items():
        there = getattr(dataset, name)
        if wanted != there:
            raise BadInput("dataset_id", f"has {name} {there}, asked was {wanted}: leave it out")


def check_unchanged(found: Dataset, asked: Dataset) -> None:
    """Raise `BadInput` where a window is not, or no longer, the dataset that was asked for."""
    check_is_dataset(
        asked,
        pair=found.pair,
        interval=found.interval,
        start_ms=found.start_ms,
        end_ms=found.end_ms,
        feature_set_id=found.feature_set_id,
    )
    if asked.lookback != found.lookback:
        raise BadInput(
            "dataset_id",
            f"has rows that look at {asked.lookback} candles, training looks at {found.lookback}:"
            " build one without a window of its own",
        )
    if asked.sha256 != found.sha256:
        raise BadInput(
            "dataset_id",
            f"{asked.dataset_id} has sha256 {asked.sha256[:16]}…, but what is stored of its period now"
            f" has {found.sha256[:16]}…: candles or signals changed since; build a new dataset",
        )
