"""Hostile little tapes: gaps, flat candles, touches, wicks through both exits, holes, funding anywhere."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
from hypothesis import strategies as st

from desk.evaluation.plan import Plan, flat_at_the_end
from desk.market.candles import Candles
from desk.trading.fills import FillSpec, PathOrder
from desk.trading.instruments import Instrument
from desk.trading.tape import Market

MINUTE_MS = 60_000
START_MS = 1_746_374_400_000 - 20 * MINUTE_MS
"""Twenty minutes before a funding instant of the venue."""
INSTRUMENT = Instrument(
    pair="BTC-USDT",
    tick=Decimal("0.1"),
    lot=Decimal("0.0001"),  # of an odd number of ticks, a fee ends on half of the eighth decimal
    min_quantity=Decimal("0.0001"),
    min_notional=Decimal(0),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=20,
)

_BAR = st.tuples(
    st.integers(-4, 4),  # gap from the last close
    st.integers(-4, 4),  # body
    st.integers(0, 4),  # upper wick
    st.integers(0, 4),  # lower wick
    st.sampled_from([1, 1, 1, 1, 2, 7]),  # minutes since the last open
)
_DECISION = st.tuples(
    st.booleans(),
    st.integers(-3, 3),  # target
    st.integers(0, 4),  # stop distance, 0: no exits
    st.integers(0, 4),  # take-profit distance, 0: none
    st.booleans(),  # the stop is a liquidation
)
_RATE = st.integers(-30, 30).map(lambda basis_points: Decimal(basis_points) / 10_000)


type World = tuple[Market, Plan]


@st.composite
def worlds(draw: st.DrawFn, *, at_the_venue: bool = False, has_holes: bool = True) -> World:
    """A market of 3 to 60 candles around 1,000 ticks, and a plan that hardly ever rests.

    `at_the_venue`: funding at the venue's own instants only, and no exits.
    """
    bars = draw(st.lists(_BAR, min_size=3, max_size=60))
    bars = bars if has_holes else [(*bar[:-1], 1) for bar in bars]
    choices = draw(st.lists(_DECISION, min_size=len(bars), max_size=len(bars)))
    spec = FillSpec(
        slippage_bps=draw(st.sampled_from([Decimal(0), Decimal("7.5"), Decimal(10)])),
        path=draw(st.sampled_from(list(PathOrder))),
    )
    candles = _candles(bars)
    minutes = st.just(20) if at_the_venue else st.integers(0, len(bars))
    dues = draw(st.dictionaries(minutes, _RATE, max_size=len(bars)))
    rates = [(START_MS + minute * MINUTE_MS, rate) for minute, rate in dues.items()]
    market = Market.of(candles, INSTRUMENT, spec, rates)
    plan = _plan(market, choices)
    return market, without_exits(plan) if at_the_venue else plan


def without_exits(plan: Plan) -> Plan:
    none = np.zeros(len(plan), dtype=np.int64)
    return replace(plan, stop_ticks=none, take_ticks=none)


def _candles(bars: list[tuple[int, int, int, int, int]]) -> Candles:
    gaps, bodies, ups, downs, minutes = np.array(bars).T
    close = 1_000 + np.cumsum(gaps + bodies)
    open_ = close - bodies
    tick = float(INSTRUMENT.tick)
    return Candles(
        open_ms=START_MS + MINUTE_MS * (np.cumsum(minutes) - minutes[0]),
        open=open_ * tick,
        high=(np.maximum(open_, close) + ups) * tick,
        low=(np.minimum(open_, close) - downs) * tick,
        close=close * tick,
        volume=np.ones(len(bars)),
    )


def _plan(market: Market, choices: list[tuple[bool, int, int, int, bool]]) -> Plan:
    decided, target, stop, take, liquidation = (
        np.array(column) for column in zip(*choices, strict=True)
    )
    side, close = np.sign(target), market.tape.close
    return flat_at_the_end(
        Plan(
            decided=decided,
            target_lots=target,
            stop_ticks=np.where(side * stop != 0, close - side * stop, 0),
            take_ticks=np.where(side * take != 0, close + side * take, 0),
            is_liquidation=liquidation,
        )
    )
