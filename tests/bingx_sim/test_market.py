"""The generated market: valid candles, the same ones in whatever order they are read."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bingx_sim.clock import DAY_MS, MINUTE_MS
from bingx_sim.generator import CLOSE, HIGH, LOW, OPEN, VOLUME, SeededDays
from bingx_sim.instruments import CONTRACTS
from bingx_sim.intervals import LONGER, MINUTES
from bingx_sim.market import Bar, PairMarket
from bingx_sim.sources import GeneratedSource, funding_rate

NOW_MS = 1_750_000_000_000
PAIRS = sorted(CONTRACTS)


def market(pair: str = "BTC-USDT", *, seed: int = 7, edge: float = 0.0) -> PairMarket:
    contract = CONTRACTS[pair]
    return PairMarket(contract, GeneratedSource(contract, seed=seed, edge=edge, start_ms=NOW_MS))


@cache
def shared() -> PairMarket:
    """One market for tests that only read."""
    return market()


def bars(made: PairMarket, interval: str, start_ms: int, end_ms: int, now_ms: int) -> list[Bar]:
    rows = made.bars(interval, start_ms=start_ms, end_ms=end_ms, limit=1_000_000, now_ms=now_ms)
    return rows[::-1]


@settings(max_examples=40)
@given(
    pair=st.sampled_from(PAIRS),
    seed=st.integers(0, 2**32),
    day=st.integers(0, 40_000),
    edge=st.sampled_from([0.0, 0.3]),
)
def test_every_generated_candle_is_valid_and_follows_the_one_before(
    pair: str, seed: int, day: int, edge: float
) -> None:
    days = SeededDays(CONTRACTS[pair], seed=seed, edge=edge)

    rows, following = days.day(day), days.day(day + 1)

    assert rows.shape == (1440, 5)
    assert (rows[:, :VOLUME] > 0).all()
    assert (rows[:, VOLUME] > 0).all()
    assert (rows[:, LOW] <= np.minimum(rows[:, OPEN], rows[:, CLOSE])).all()
    assert (rows[:, HIGH] >= np.maximum(rows[:, OPEN], rows[:, CLOSE])).all()
    assert (np.abs(rows[1:, OPEN] - rows[:-1, CLOSE]) <= 3).all()
    assert following[0, OPEN] == rows[-1, CLOSE]


def test_prices_are_realistic_for_their_pair() -> None:
    for pair, contract in CONTRACTS.items():
        closes = [bar.close for bar in bars(market(pair), "1d", 0, NOW_MS, NOW_MS)]

        levels = np.array(closes) / 10**contract.price_precision / contract.base_price
        moves = np.std(np.diff(np.log(closes)))
        assert 0.4 < levels.min() < levels.max() < 2.5
        assert 0.5 < moves / contract.daily_volatility < 2.0


def test_volatility_comes_in_clusters_and_moves_have_fat_tails() -> None:
    days = SeededDays(CONTRACTS["BTC-USDT"], seed=7, edge=0.0)
    closes = np.concatenate([days.day(day)[:, CLOSE] for day in range(20_000, 20_030)])
    returns = np.diff(np.log(closes))

    size = np.abs(returns)
    clustering = np.corrcoef(size[:-1], size[1:])[0, 1]
    kurtosis = float(np.mean(returns**4) / np.mean(returns**2) ** 2)

    assert clustering > 0.1
    assert kurtosis > 4.0


@pytest.mark.parametrize(("edge", "low", "high"), [(0.0, -0.1, 0.1), (0.3, 0.3, 1.0)])
def test_only_a_planted_edge_lets_past_returns_predict_the_next(
    edge: float, low: float, high: float
) -> None:
    days = SeededDays(CONTRACTS["BTC-USDT"], seed=7, edge=edge)
    closes = np.concatenate([days.day(day)[:, CLOSE] for day in range(20_000, 20_040)])
    hourly = np.diff(np.log(closes[::60]))

    correlation = float(np.corrcoef(hourly[:-1], hourly[1:])[0, 1])

    assert low < correlation < high


@settings(max_examples=15)
@given(
    starts=st.lists(st.integers(0, 200_000), min_size=2, max_size=5, unique=True),
    interval=st.sampled_from(["1m", "3m", "15m", "1h", "4h", "1d"]),
)
def test_history_is_the_same_in_whatever_order_its_pages_are_read(
    starts: list[int], interval: str
) -> None:
    straight, shuffled = market(), market()
    pages = [NOW_MS - start * MINUTE_MS for start in starts]

    in_order = {
        page: bars(straight, interval, page - DAY_MS, page, NOW_MS) for page in sorted(pages)
    }
    as_given = {page: bars(shuffled, interval, page - DAY_MS, page, NOW_MS) for page in pages}

    assert in_order == as_given
    assert all(in_order.values())


@settings(max_examples=40)
@given(st.integers(0, 30 * 1440 * 60_000), st.sampled_from(sorted(set(MINUTES) - {"1m"})))
def test_longer_candles_are_the_minutes_put_together(back_ms: int, interval: str) -> None:
    made = shared()
    now_ms = NOW_MS - back_ms
    length_ms = MINUTES[interval] * MINUTE_MS
    last = now_ms // length_ms * length_ms

    for open_ms in (last - length_ms, last):
        minutes = bars(made, "1m", open_ms, open_ms + length_ms - 1, now_ms)
        (longer,) = bars(made, interval, open_ms, open_ms, now_ms)

        assert longer == Bar(
            open_ms,
            minutes[0].open,
            max(bar.high for bar in minutes),
            min(bar.low for bar in minutes),
            minutes[-1].close,
            sum(bar.volume for bar in minutes),
        )


@pytest.mark.parametrize("interval", LONGER)
def test_the_longest_candles_are_the_days_put_together(interval: str) -> None:
    made = shared()
    longer = bars(made, interval, 0, NOW_MS, NOW_MS)
    days = bars(made, "1d", longer[0].open_ms, NOW_MS, NOW_MS)

    for bar, following in zip(longer, [*longer[1:], None], strict=True):
        end_ms = NOW_MS + 1 if following is None else following.open_ms
        inside = [day for day in days if bar.open_ms <= day.open_ms < end_ms]
        assert bar.high == max(day.high for day in inside)
        assert bar.close == inside[-1].close
        assert bar.volume == sum(day.volume for day in inside)


@settings(max_examples=40)
@given(st.integers(0, 59_999), st.integers(0, 59_999))
def test_the_forming_candle_only_grows_until_it_is_the_closed_one(first: int, second: int) -> None:
    made = shared()
    open_ms = NOW_MS // MINUTE_MS * MINUTE_MS
    earlier, later = sorted((first, second))

    (before,) = bars(made, "1m", open_ms, open_ms, open_ms + earlier)
    (after,) = bars(made, "1m", open_ms, open_ms, open_ms + later)
    (closed,) = bars(made, "1m", open_ms, open_ms, open_ms + MINUTE_MS)

    assert before.open == after.open == closed.open
    assert before.high <= after.high <= closed.high
    assert before.low >= after.low >= closed.low
    assert before.volume <= after.volume <= closed.volume
    assert before.low <= before.close <= before.high


@settings(max_examples=40)
@given(st.integers(0, 20_000_000))
def test_the_price_lies_inside_its_candle(at: int) -> None:
    made = shared()
    at_ms = NOW_MS - at
    open_ms = at_ms // MINUTE_MS * MINUTE_MS

    (bar,) = bars(made, "1m", open_ms, open_ms, open_ms + MINUTE_MS)

    assert bar.low <= made.ticks_at(at_ms) <= bar.high


def test_a_shock_moves_the_price_at_its_moment_and_stays() -> None:
    plain, shocked = market(), market()
    at_ms = NOW_MS + 5_000

    shocked.shock(at_ms, 0.9)

    assert shocked.ticks_at(at_ms - 1) == plain.ticks_at(at_ms - 1)
    assert shocked.ticks_at(at_ms) == pytest.approx(plain.ticks_at(at_ms) * 0.9, abs=1)
    later_ms = at_ms + 3 * DAY_MS
    assert shocked.ticks_at(later_ms) == pytest.approx(plain.ticks_at(later_ms) * 0.9, abs=1)
    open_ms = at_ms // MINUTE_MS * MINUTE_MS
    (bar,) = bars(shocked, "1m", open_ms, open_ms, later_ms)
    assert bar.low <= shocked.ticks_at(at_ms) <= bar.high
    assert bar.open == plain.ticks_at(open_ms)


def test_an_edit_changes_the_record_and_not_the_price() -> None:
    made = market()
    minute = NOW_MS // MINUTE_MS - 10
    price = made.ticks_at(minute * MINUTE_MS)

    made.edit(minute, None)
    made.edit(minute + 1, (1, 2, 1, 2, 3))

    found = bars(made, "1m", minute * MINUTE_MS, (minute + 1) * MINUTE_MS, NOW_MS)
    assert found == [Bar((minute + 1) * MINUTE_MS, 1, 2, 1, 2, 3)]
    assert made.ticks_at(minute * MINUTE_MS) == price


def test_two_seeds_give_two_markets() -> None:
    assert market(seed=7).ticks_at(NOW_MS) != market(seed=8).ticks_at(NOW_MS)


def test_funding_rates_take_both_signs_around_a_small_positive_mean() -> None:
    settlements = range(NOW_MS // 28_800_000 - 500, NOW_MS // 28_800_000)
    rates = [funding_rate("BTC-USDT", seed=7, settlement_ms=n * 28_800_000) for n in settlements]

    assert min(rates) < 0 < max(rates)
    assert 0.00002 < float(np.mean(rates)) < 0.0003
