"""A window that cannot be trained on is refused with the reason and the remedy."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from desk.clock import to_iso
from desk.errors import BadInput
from desk.learning.study import Window, window
from desk.learning.training_window import check_gaps, check_length, check_unchanged
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1

MINUTE_MS = 60_000
type Cut = Callable[..., Window]


def gaps_of(found: Window, most_missing_fraction: float) -> None:
    dataset = found.dataset
    check_gaps(
        found.candles.open_ms,
        start_ms=dataset.start_ms,
        end_ms=dataset.end_ms,
        step_ms=MINUTE_MS,
        most_missing_fraction=most_missing_fraction,
    )


@pytest.fixture
def cut(walk: Callable[..., Candles]) -> Cut:
    """A window of 1,000 candles without those at some rows."""
    candles = walk(1_400)
    start_ms = int(candles.open_ms[400])

    def make(*missing: int) -> Window:
        kept = ~np.isin(np.arange(len(candles)), [400 + row for row in missing])
        return window(
            "BTC-USDT",
            "1m",
            candles.take(kept),
            FEATURES_V1,
            start_ms=start_ms,
            end_ms=start_ms + 1_000 * MINUTE_MS,
        )

    return make


@pytest.mark.parametrize("missing", [(), (3,), tuple(range(10))])
def test_as_many_holes_as_allowed_pass(cut: Cut, missing: tuple[int, ...]) -> None:
    gaps_of(cut(*missing), 0.01)


@pytest.mark.parametrize("first", [0, 17, 989])
def test_more_holes_are_refused_with_the_first_ones_time(cut: Cut, first: int) -> None:
    found = cut(*range(first, first + 11))
    first_hole = to_iso(found.dataset.start_ms + first * MINUTE_MS)

    with pytest.raises(BadInput, match="had 11 of 1000 candles missing") as refused:
        gaps_of(found, 0.01)

    assert f"the first at {first_hole}," in str(refused.value)
    assert "backfill" in str(refused.value)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_that_is_none_is_refused(cut: Cut, fraction: float) -> None:
    with pytest.raises(BadInput, match="most_missing_fraction"):
        gaps_of(cut(), fraction)


def test_a_period_shorter_than_a_quarter_of_an_episode_is_refused() -> None:
    check_length(361, 240, 1_440)
    with pytest.raises(BadInput, match="had 360 candles, expected at least 361"):
        check_length(360, 240, 1_440)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sha256": "0" * 64}, "changed since; build a new dataset"),
        ({"pair": "ETH-USDT"}, "has pair ETH-USDT, asked was BTC-USDT"),
        ({"end_ms": 5}, "has end_ms 5"),
        ({"feature_set_id": "v9"}, "has feature_set_id v9"),
        ({"lookback": 999}, "look at 999 candles"),
    ],
)
def test_a_dataset_that_is_not_the_window_is_refused(
    cut: Cut, change: dict[str, object], says: str
) -> None:
    found = cut().dataset
    check_unchanged(found, found)

    with pytest.raises(BadInput, match=says) as refused:
        check_unchanged(found, replace(found, **change))  # pyright: ignore[reportArgumentType]

    assert refused.value.field == "dataset_id"
