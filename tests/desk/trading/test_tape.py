"""Candles in whole ticks, in columns, are those of one by one."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.market.candles import Candles
from desk.trading.fills import FillSpec, quote_ticks
from desk.trading.instruments import Instrument
from desk.trading.tape import Market, dues_of, quotes_of, tape_of, ticks_of

BTC = Instrument(
    pair="BTC-USDT",
    tick=Decimal("0.1"),
    lot=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=20,
)
SPEC = FillSpec()
MINUTE_MS = 60_000


@given(
    st.lists(
        st.one_of(
            st.floats(0.0, 1e6),
            st.integers(0, 10**8).map(lambda halves: halves / 20),  # on halves of a tick
        ),
        min_size=1,
    ),
    st.sampled_from(["0.1", "0.01", "0.5", "5"]),
)
def test_ticks_in_columns_are_those_of_one_price(prices: list[float], tick: str) -> None:
    instrument = replace(BTC, tick=Decimal(tick))

    assert ticks_of(np.array(prices), instrument).tolist() == [
        instrument.to_ticks(price) for price in prices
    ]


@given(st.lists(st.integers(1, 10**9), min_size=1), st.decimals(0, 100, places=2))
def test_quotes_in_columns_are_those_of_one_open(opens: list[int], slippage_bps: Decimal) -> None:
    spec = FillSpec(slippage_bps=slippage_bps)

    bid, ask = quotes_of(np.array(opens, dtype=np.int64), spec)

    assert list(zip(bid.tolist(), ask.tolist(), strict=True)) == [
        quote_ticks(open_ticks, spec) for open_ticks in opens
    ]


def test_a_due_is_rounded_to_its_minute_and_marked_at_the_next_open(
    walk: Callable[..., Candles],
) -> None:
    candles = walk(30).take(np.array([0, 1, 2, 8, 9, 10]))
    tape = tape_of(candles, BTC, SPEC)
    first_ms = int(candles.open_ms[0])
    stamps = [first_ms + 8 * MINUTE_MS + 14, first_ms + 4 * MINUTE_MS - 9, first_ms + MINUTE_MS]

    dues = dues_of([(stamp, Decimal("0.0001")) for stamp in stamps], tape)

    assert [(due.due_ms, due.mark_ticks) for due in dues] == [
        (first_ms + MINUTE_MS, tape.open[1]),
        (first_ms + 4 * MINUTE_MS, tape.open[3]),
        (first_ms + 8 * MINUTE_MS, tape.open[3]),
    ]


def test_dues_outside_the_tape_are_dropped(walk: Callable[..., Candles]) -> None:
    market = Market.of(walk(30), BTC, SPEC)
    first_ms, end_ms = int(market.tape.open_ms[0]), int(market.tape.close_ms[-1])

    dues = dues_of([(first_ms - MINUTE_MS, Decimal(1)), (end_ms, Decimal(1))], market.tape)

    assert dues == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda candles: candles.take(slice(0, 0)), "there were none"),
        (lambda candles: candles.take(slice(None, None, -1)), "did not rise"),
        (lambda candles: replace(candles, open_ms=candles.open_ms // 2), "did not rise"),
        (lambda candles: replace(candles, low=candles.low * 0.0), "below one tick"),
        (lambda candles: replace(candles, high=candles.high * np.nan), "not finite"),
    ],
)
def test_candles_that_are_no_tape_are_refused(
    walk: Callable[..., Candles], change: Callable[[Candles], Candles], problem: str
) -> None:
    with pytest.raises(BadInput, match=problem):
        tape_of(change(walk(30)), BTC, SPEC)
