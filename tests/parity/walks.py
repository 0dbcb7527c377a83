"""Hostile little tapes, drawn by hypothesis so that one that fails shrinks to its smallest."""

from decimal import Decimal

from hypothesis import strategies as st

from desk.evaluation.cases import (
    BEFORE_DUE_MIN,
    FARTHEST_TICKS,
    LONGEST,
    MINUTES_TO_NEXT,
    SLIPPAGES_BPS,
    Bar,
    Case,
    Decision,
    case_of,
    venue_case,
)
from desk.trading.fills import FillSpec, PathOrder

_STEP = st.integers(-FARTHEST_TICKS, FARTHEST_TICKS)
_LENGTH = st.integers(0, FARTHEST_TICKS)
_BAR = st.builds(
    Bar,
    gap=_STEP,
    body=_STEP,
    upper_wick=_LENGTH,
    lower_wick=_LENGTH,
    minutes=st.sampled_from(MINUTES_TO_NEXT),
)
_DECISION = st.builds(
    Decision,
    is_decided=st.booleans(),
    target_lots=st.integers(-3, 3),
    stop=_LENGTH,
    take=_LENGTH,
    is_liquidation=st.booleans(),
)
_RATE = st.integers(-30, 30).map(lambda basis_points: Decimal(basis_points) / 10_000)


@st.composite
def cases(draw: st.DrawFn, *, at_the_venue: bool = False, has_holes: bool = True) -> Case:
    """A market of 3 to 60 candles around 1,000 ticks, and a plan that hardly ever rests."""
    bars = draw(st.lists(_BAR, min_size=3, max_size=LONGEST))
    bars = bars if has_holes else [bar._replace(minutes=1) for bar in bars]
    decisions = draw(st.lists(_DECISION, min_size=len(bars), max_size=len(bars)))
    spec = FillSpec(
        slippage_bps=draw(st.sampled_from(SLIPPAGES_BPS)),
        path=draw(st.sampled_from(list(PathOrder))),
    )
    minutes = st.just(BEFORE_DUE_MIN) if at_the_venue else st.integers(0, len(bars))
    rates = draw(st.dictionaries(minutes, _RATE, max_size=len(bars)))
    case = case_of(bars, decisions, spec, rates)
    return venue_case(case) if at_the_venue else case
