"""Two witnesses of one price."""

from dataclasses import replace

import pytest

from desk.clock import MINUTE_MS
from desk.market.candles import Candle, Candles
from desk.market.cross import drift_bps, mismatches
from desk.market.integrity import window_verdict

BEGIN_MS = 1_700_000_100_000
PARTS = Candles.of(
    [
        Candle(BEGIN_MS + i * MINUTE_MS, 100.0 + i, 103.0 + i, 99.0 - i, 101.0 + i, 1.0 + i)
        for i in range(5)
    ]
)
WHOLE = Candles.of([Candle(BEGIN_MS, 100.0, 107.0, 95.0, 105.0, 15.0)])
NOW_MS = BEGIN_MS + 5 * MINUTE_MS + 1_000


def test_a_longer_candle_made_of_its_minutes_agrees() -> None:
    assert BEGIN_MS % (5 * MINUTE_MS) == 0
    assert mismatches(PARTS, WHOLE, "1m", "5m").tolist() == []


@pytest.mark.parametrize("name", ["open", "high", "low", "close", "volume"])
def test_a_longer_candle_that_differs_in_any_column_is_named(name: str) -> None:
    wrong = replace(WHOLE, **{name: getattr(WHOLE, name) * 1.001})
    assert mismatches(PARTS, wrong, "1m", "5m").tolist() == [BEGIN_MS]


def test_a_longer_candle_of_which_a_minute_is_missing_is_not_judged() -> None:
    wrong = replace(WHOLE, close=WHOLE.close * 2)
    lacking = PARTS.take(PARTS.open_ms != BEGIN_MS + MINUTE_MS)
    assert mismatches(lacking, wrong, "1m", "5m").tolist() == []
    assert mismatches(Candles.empty(), wrong, "1m", "5m").tolist() == []


def drift(price: float, *, at_ms: int = NOW_MS - 2_000) -> float | None:
    return drift_bps(PARTS, "1m", price, at_ms, tolerance_ms=0)


def test_a_price_inside_what_was_traded_does_not_drift_and_one_outside_by_its_distance() -> None:
    assert drift(100.0) == 0.0
    assert drift(107.0 * 1.01) == pytest.approx(100.0)
    assert drift(95.0 * 0.99) == pytest.approx(100.0)


def test_a_price_of_another_time_says_nothing() -> None:
    assert drift(1.0, at_ms=NOW_MS + MINUTE_MS) is None
    assert drift(1.0, at_ms=BEGIN_MS) is None
    assert drift_bps(Candles.empty(), "1m", 1.0, BEGIN_MS, tolerance_ms=0) is None


@pytest.mark.catalogue("D09")
@pytest.mark.parametrize(
    ("bps", "warns", "blocks"),
    [(None, False, False), (29.9, False, False), (30.0, True, False), (100.0, True, True)],
)
def test_drift_warns_first_and_blocks_at_its_level(
    bps: float | None, warns: bool, blocks: bool
) -> None:
    verdict = window_verdict(PARTS, "1m", now_ms=NOW_MS, needed=5, drift_bps=bps)
    assert ("cross_source_drift" in verdict.warnings) is warns
    assert verdict.blocks == (("cross_source_divergence",) if blocks else ())


@pytest.mark.catalogue("D04")
def test_rows_off_the_grid_block_the_pair_until_a_batch_without_them() -> None:
    verdict = window_verdict(PARTS, "1m", now_ms=NOW_MS, needed=5, is_misaligned=True)
    assert verdict.blocks == ("timestamp_misalignment",)


@pytest.mark.catalogue("D10")
def test_a_feed_that_repeats_old_candles_is_stale_by_their_open_time() -> None:
    limit_ms = int(PARTS.open_ms[-1]) + round(2.5 * MINUTE_MS)
    assert window_verdict(PARTS, "1m", now_ms=limit_ms, needed=5).blocks == ()
    assert window_verdict(PARTS, "1m", now_ms=limit_ms + 1, needed=5).blocks == ("stale_candles",)
