"""What may be stored, and what may be decided on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.market.candles import Candle, Candles
from desk.market.gaps import GapEvent, GapStatus
from desk.market.integrity import (
    Verdict,
    WindowVerdict,
    frozen_rows,
    inspect,
    outlier_wicks,
    put_right,
    window_move,
    window_verdict,
)

MINUTE = 60_000
START = 1_700_000_040_000 // MINUTE * MINUTE


def bar(minute: int, **changes: float) -> Candle:
    sound = Candle(START + minute * MINUTE, 100.0, 101.0, 99.0, 100.5, 3.0)
    return sound._replace(**changes)  # pyright: ignore[reportArgumentType]


def bars(*numbers: int) -> Candles:
    return Candles.of([bar(number) for number in numbers])


def inspected(*rows: Candle, now: int = 1000) -> Verdict:
    return inspect(Candles.of(rows), "1m", now_ms=START + now * MINUTE)


def same(left: Candles, right: Candles) -> bool:
    return [left.row(i) for i in range(len(left))] == [right.row(i) for i in range(len(right))]


def test_a_sound_batch_passes_untouched() -> None:
    verdict = inspected(bar(0), bar(1), bar(2))

    assert same(verdict.candles, bars(0, 1, 2))
    assert (verdict.rejected, verdict.warnings, verdict.blocks) == ((), (), ())
    assert len(inspect(Candles.empty(), "1m", now_ms=START).candles) == 0


@pytest.mark.catalogue("D03")
@given(st.permutations(range(6)))
def test_D03_an_unsorted_page_gives_the_same_candles_and_a_warning(order: list[int]) -> None:
    verdict = inspected(*(bar(number) for number in order))

    assert same(verdict.candles, bars(0, 1, 2, 3, 4, 5))
    assert verdict.warnings == (() if order == sorted(order) else ("candles_unsorted",))
    assert verdict.blocks == ()


@pytest.mark.catalogue("D03")
def test_D03_what_the_adapter_put_right_is_warned_of_all_the_same() -> None:
    batch = replace(bars(0, 1, 2), noted=("candles_unsorted",))

    verdict = inspect(batch, "1m", now_ms=START + 1000 * MINUTE)

    assert verdict.warnings == ("candles_unsorted",)
    assert Candles.concat([bars(3), batch.take(slice(1, None))]).noted == ("candles_unsorted",)


@given(order=st.permutations(range(5)))
def test_newest_first_and_oldest_first_are_in_order_and_nothing_else_is(order: list[int]) -> None:
    is_in_order = order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])

    assert put_right(bars(*order).open_ms) == (() if is_in_order else ("candles_unsorted",))
    assert put_right(bars(4, 4, 2).open_ms) == ("candles_duplicated",)


@pytest.mark.catalogue("D02")
def test_D02_of_duplicated_candles_the_last_given_wins() -> None:
    verdict = inspected(bar(0), bar(1), bar(1, close=100.7))

    assert len(verdict.candles) == 2
    assert verdict.candles.row(1).close == 100.7
    assert verdict.warnings == ("candles_duplicated",)


@pytest.mark.catalogue("D04")
def test_D04_a_misaligned_open_time_is_rejected_and_blocks() -> None:
    crooked = bar(1, open_ms=START + MINUTE + 1_000)

    verdict = inspected(bar(0), crooked, bar(2))

    assert same(verdict.candles, bars(0, 2))
    assert verdict.rejected == ((crooked, "timestamp_misalignment"),)
    assert verdict.blocks == ("timestamp_misalignment",)


@pytest.mark.catalogue("D15")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"close": float("inf")}, "not_finite"),
        ({"volume": float("-inf")}, "not_finite"),
        ({"open": 0.0}, "not_positive"),
        ({"low": -1.0}, "not_positive"),
        ({"volume": -0.1}, "negative_volume"),
        ({"high": 100.4}, "high_below_low"),
        ({"low": 100.1}, "high_below_low"),
        ({"high": 98.0, "low": 102.0}, "high_below_low"),
    ],
)
def test_D15_a_row_that_no_market_makes_is_rejected(changes: dict[str, float], reason: str) -> None:
    broken = bar(1, **changes)

    verdict = inspected(bar(0), broken, bar(2))

    assert same(verdict.candles, bars(0, 2))
    assert verdict.rejected == ((broken, reason),)
    assert "candles_rejected" in verdict.warnings
    assert verdict.blocks == ()


@pytest.mark.catalogue("D15")
@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
def test_D15_nan_is_rejected_in_every_column(column: str) -> None:
    verdict = inspected(bar(0, **{column: float("nan")}))

    assert len(verdict.candles) == 0
    assert [reason for _, reason in verdict.rejected] == ["not_finite"]


@pytest.mark.catalogue("D05")
def test_D05_a_flat_candle_without_volume_is_accepted_and_flagged() -> None:
    flat = bar(1, open=100.0, high=100.0, low=100.0, close=100.0, volume=0.0)

    verdict = inspected(bar(0), flat, bar(2))

    assert len(verdict.candles) == 3
    assert (verdict.rejected, verdict.blocks) == ((), ())
    assert verdict.warnings == ("candles_without_volume",)


@pytest.mark.catalogue("D07")
@given(
    minutes=st.sets(st.integers(0, 20), min_size=1),
    early_ms=st.integers(-20 * MINUTE, 20 * MINUTE),
    error_ms=st.integers(0, 5 * MINUTE),
)
def test_D07_a_newest_candle_waits_until_no_error_of_the_clock_can_have_closed_it(
    minutes: set[int], early_ms: int, error_ms: int
) -> None:
    now_ms = START + 21 * MINUTE + early_ms
    batch = bars(*sorted(minutes))

    trusted = inspect(batch, "1m", now_ms=now_ms)
    wary = inspect(batch, "1m", now_ms=now_ms, error_ms=error_ms)

    newest_ms = START + max(minutes) * MINUTE
    certain = [
        open_ms
        for open_ms in trusted.candles.open_ms
        if open_ms != newest_ms or open_ms + MINUTE + error_ms <= now_ms
    ]
    assert list(wary.candles.open_ms) == certain
    assert wary.rejected == trusted.rejected


@pytest.mark.catalogue("D07")
def test_D07_the_forming_candle_is_left_out_and_a_future_one_rejected() -> None:
    now = START + 2 * MINUTE + 30_000
    batch = Candles.of([bar(0), bar(1), bar(2), bar(4)])

    verdict = inspect(batch, "1m", now_ms=now)

    assert same(verdict.candles, bars(0, 1))
    assert verdict.rejected == ((bar(4), "from_the_future"),)
    assert same(inspect(batch, "1m", now_ms=START + 3 * MINUTE).candles, bars(0, 1, 2))
    assert same(inspect(batch, "1m", now_ms=START + 3 * MINUTE - 1).candles, bars(0, 1))


PRICES = st.floats(allow_nan=True, allow_infinity=True, width=32)
ROWS = st.lists(
    st.builds(
        Candle,
        st.one_of(
            st.integers(0, 12).map(lambda n: START + n * MINUTE), st.integers(START, START + 9**6)
        ),
        PRICES,
        PRICES,
        PRICES,
        PRICES,
        PRICES,
    ),
    max_size=12,
)


@given(ROWS)
def test_whatever_the_venue_sends_only_sound_rows_pass(rows: list[Candle]) -> None:
    now_ms = START + 8 * MINUTE

    kept = inspect(Candles.of(rows), "1m", now_ms=now_ms).candles

    assert np.all(np.diff(kept.open_ms) > 0)
    assert np.all(kept.open_ms % MINUTE == 0)
    assert np.all(kept.open_ms + MINUTE <= now_ms)
    assert np.all(np.isfinite([kept.open, kept.high, kept.low, kept.close, kept.volume]))
    assert np.all(kept.low > 0)
    assert np.all(kept.low <= np.minimum(kept.open, kept.close))
    assert np.all(np.maximum(kept.open, kept.close) <= kept.high)


# --- the window of a decision -----------------------------------------------------------------


def judged(
    window: Candles, *gaps: GapEvent, now: float | None = None, needed: int = 5
) -> WindowVerdict:
    last = int(window.open_ms[-1]) if len(window) else START
    now_ms = last + 61_000 if now is None else START + int(now * MINUTE)
    return window_verdict(window, "1m", now_ms=now_ms, needed=needed, gaps=gaps)


def gap(first: int, last: int, status: GapStatus = GapStatus.OPEN) -> GapEvent:
    return GapEvent(
        gap_id="g",
        pair="BTC-USDT",
        interval="1m",
        source_type="bingx_candles",
        start_ms=START + first * MINUTE,
        end_ms=START + last * MINUTE,
        missing_points=last - first + 1,
        status=status,
        detected_ms=START,
    )


FIVE = bars(0, 1, 2, 3, 4)


def test_a_complete_fresh_window_may_be_decided_on() -> None:
    assert judged(FIVE) == WindowVerdict()


def test_too_few_candles_block() -> None:
    assert judged(FIVE, needed=6).blocks == ("missing_candles",)
    assert judged(Candles.empty()).blocks == ("missing_candles", "stale_candles")


@pytest.mark.catalogue("D10")
def test_D10_staleness_is_the_age_of_the_newest_open_time() -> None:
    assert judged(FIVE, now=4 + 2.5).blocks == ()
    assert judged(FIVE, now=4 + 2.51).blocks == ("stale_candles",)


def test_a_hole_inside_the_window_blocks() -> None:
    assert judged(bars(0, 1, 3, 4, 5)).blocks == ("candle_gaps_detected",)


def test_recorded_gaps_block_from_the_window_on() -> None:
    assert judged(FIVE, gap(5, 6)).blocks == ("open_gap_events",)
    assert judged(FIVE, gap(5, 6, GapStatus.HEALING)).blocks == ("open_gap_events",)
    assert judged(FIVE, gap(-9, -1)).blocks == ()
    assert judged(FIVE, gap(5, 6, GapStatus.RESOLVED)).blocks == ()


def test_a_gap_counts_while_candles_of_it_are_missing_and_not_longer() -> None:
    assert judged(FIVE, gap(1, 3)).blocks == ()
    assert judged(FIVE, gap(-3, 2)).blocks == ()
    assert judged(FIVE, gap(3, 5)).blocks == ("open_gap_events",)
    assert judged(bars(0, 1, 3, 4, 5), gap(1, 2)).blocks == (
        "candle_gaps_detected",
        "open_gap_events",
    )


def test_minutes_without_trades_at_the_venue_warn_and_do_not_block() -> None:
    window = bars(0, 1, 3, 4, 5)

    absent = judged(window, gap(2, 2, GapStatus.ABSENT_AT_VENUE))
    elsewhere = judged(window, gap(1, 1, GapStatus.ABSENT_AT_VENUE))

    assert (absent.blocks, absent.warnings) == ((), ("candles_absent_at_venue",))
    assert elsewhere.blocks == ("candle_gaps_detected",)


def test_misaligned_stored_candles_block() -> None:
    crooked = Candles.of([*(bar(n) for n in range(4)), bar(4, open_ms=START + 4 * MINUTE + 1)])

    assert "timestamp_misalignment" in judged(crooked).blocks


def test_an_unsorted_window_warns_and_is_judged_as_if_sorted() -> None:
    verdict = judged(bars(1, 0, 2, 4, 3), now=5)

    assert verdict == WindowVerdict(warnings=("candles_unsorted",))


def flat(minute: int, price: float = 28_080.0) -> Candle:
    return Candle(START + minute * MINUTE, price, price, price, price, 0.0)


def test_a_feed_that_stands_still_is_stale_once_five_candles_are_frozen() -> None:
    four = Candles.of([*(bar(n) for n in range(5)), *(flat(n) for n in range(5, 9))])
    five = Candles.of([*(bar(n) for n in range(5)), *(flat(n) for n in range(5, 10))])
    past = Candles.of([*(flat(n) for n in range(5)), *(bar(n) for n in range(5, 10))])

    assert judged(four) == WindowVerdict()
    assert judged(five) == WindowVerdict(warnings=("candles_frozen",), blocks=("stale_candles",))
    assert judged(past) == WindowVerdict(warnings=("candles_frozen",))


def test_flat_candles_of_different_prices_are_not_frozen() -> None:
    window = Candles.of([flat(n, 100.0 + n) for n in range(8)])

    assert not frozen_rows(window).any()
    assert not frozen_rows(Candles.empty()).any()


def load(path: Path) -> Candles:
    table = pq.read_table(path)
    names = ("open", "high", "low", "close", "volume")
    columns = {name: table[name].to_numpy() for name in names}
    return Candles(open_ms=table["open_time"].to_numpy(), **columns)


@pytest.mark.parametrize("coin", ["BTC", "ETH", "SOL"])
def test_the_frozen_feed_of_march_2023_is_marked_row_for_row(
    tape: Callable[[str], Path], coin: str
) -> None:
    candles = load(tape(f"binance_spot_{coin}USDT_1m_2023-03-16_2023-05-01.parquet"))
    outage = candles.between(1_679_657_280_000, 1_679_661_600_000)  # 11:28 … 12:39

    frozen = frozen_rows(candles)
    during = judged(outage, needed=1)

    assert int(frozen.sum()) == len(outage) == 72
    assert "stale_candles" in during.blocks


def test_clean_real_candles_raise_no_false_alarm(tape: Callable[[str], Path]) -> None:
    candles = load(tape("binance_spot_BTCUSDT_1m_2025-05-20_2025-08-18.parquet"))
    now_ms = int(candles.open_ms[-1]) + MINUTE

    verdict = inspect(candles, "1m", now_ms=now_ms)
    window = window_verdict(candles, "1m", now_ms=now_ms, needed=len(candles))

    assert (verdict.rejected, verdict.warnings, verdict.blocks) == ((), (), ())
    assert (window.blocks, window.holds) == ((), ())
    assert set(window.warnings) <= {"outlier_wicks"}, "three months have their flash crashes"
    assert len(verdict.candles) == 130_708


def test_the_move_of_a_window_is_its_highest_high_over_its_lowest_low() -> None:
    window = Candles.of([bar(0), bar(1, high=110.0), bar(2, low=88.0)])

    assert window_move(window) == pytest.approx(0.25)
    assert window_move(Candles.empty()) == 0.0


def test_a_longer_interval_is_judged_on_its_own_grid() -> None:
    window = replace(bars(0, 1, 2), open_ms=np.array([0, 1, 2], dtype=np.int64) * 3_600_000)

    verdict = window_verdict(window, "1h", now_ms=3 * 3_600_000, needed=3)

    assert verdict == WindowVerdict()


def noisy(count: int, *, seed: int = 1) -> Candles:
    """Minutes of a market that moves by some 4 bps each, with wicks of 2."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.cumprod(1 + rng.normal(0, 0.0004, count))
    open_ = np.concatenate([[100.0], close[:-1]])
    return Candles(
        open_ms=START + MINUTE * np.arange(count, dtype=np.int64),
        open=open_,
        high=np.maximum(open_, close) * 1.0002,
        low=np.minimum(open_, close) * 0.9998,
        close=close,
        volume=np.ones(count),
    )


def with_wick(candles: Candles, at: int, fraction: float) -> Candles:
    """One candle that was `fraction` above (or below, where negative) its body for a moment."""
    high, low = candles.high.copy(), candles.low.copy()
    if fraction > 0:
        high[at] *= 1 + fraction
    else:
        low[at] *= 1 + fraction
    return replace(candles, high=high, low=low)


@pytest.mark.catalogue("D08")
@pytest.mark.parametrize("fraction", [0.02, -0.02])
def test_D08_an_outlier_wick_holds_until_the_next_candle_or_a_second_source(
    fraction: float,
) -> None:
    calm = noisy(240)
    wild = with_wick(calm, -1, fraction)
    newest = wild.row(-1)
    far = newest.high if fraction > 0 else newest.low

    def judge(window: Candles, second_price: float | None = None) -> WindowVerdict:
        now_ms = int(window.open_ms[-1]) + MINUTE
        return window_verdict(window, "1m", now_ms=now_ms, needed=1, second_price=second_price)

    assert judge(calm) == WindowVerdict()
    assert judge(wild) == WindowVerdict(warnings=("outlier_wicks",), holds=("outlier_wick",))
    assert judge(wild, second_price=newest.close).holds == ("outlier_wick",)
    assert judge(wild, second_price=far) == WindowVerdict(warnings=("outlier_wicks",))
    confirmed = with_wick(calm, -2, fraction)
    assert judge(confirmed) == WindowVerdict(warnings=("outlier_wicks",))


@pytest.mark.catalogue("D08")
@given(
    at=st.integers(0, 239),
    # At eight itself the rounding of the high that is built here decides.
    sigmas=st.floats(0, 40).filter(lambda sigmas: abs(sigmas - 8) > 1e-6),
)
def test_D08_only_the_wick_beyond_eight_deviations_is_marked(at: int, sigmas: float) -> None:
    calm = noisy(240)
    returns = np.diff(np.log(calm.close))
    sigma = 1.4826 * float(np.median(np.abs(returns - np.median(returns))))
    row = calm.row(at)
    length = sigmas * sigma * row.close
    high = calm.high.copy()
    high[at] = max(row.open, row.close) + length

    marked = outlier_wicks(replace(calm, high=high))

    assert marked[at] == (sigmas > 8)
    assert not np.delete(marked, at).any()
    assert not outlier_wicks(with_wick(calm, 5, 0.5).take(slice(0, 20))).any(), "too few to tell"


@pytest.mark.catalogue("D08")
def test_D08_real_minutes_have_hardly_any_outlier_wick(tape: Callable[[str], Path]) -> None:
    table = pq.read_table(tape("btc_perp_1m_2022-01.parquet"))
    columns = {
        name: table[name].to_numpy().astype(np.float64)[:20_000]
        for name in ("open", "high", "low", "close")
    }
    count = len(columns["close"])
    candles = Candles(
        open_ms=START + MINUTE * np.arange(count, dtype=np.int64), volume=np.ones(count), **columns
    )

    newest = [
        bool(outlier_wicks(candles.take(slice(end - 240, end)))[-1]) for end in range(240, count, 7)
    ]

    assert 0 < sum(newest) / len(newest) < 1 / 500
