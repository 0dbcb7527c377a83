"""Plans and markets made to find the places where two executions of the fill rules would differ.

Hostile little tapes around 1,000 ticks: gaps, flat candles, touches, wicks through both exits, holes,
funding anywhere; stops of one to four ticks, so that many are crossed on arrival.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from desk.clock import MINUTE_MS
from desk.evaluation.plan import Plan, flat_at_the_end
from desk.market.candles import Candles
from desk.trading.fills import FillSpec, PathOrder
from desk.trading.instruments import Instrument
from desk.trading.tape import Market

BEFORE_DUE_MIN = 20
START_MS = 1_746_374_400_000 - BEFORE_DUE_MIN * MINUTE_MS
"""So many minutes before a funding instant of the venue."""
LONGEST = 60
"""Candles of a generated case, at most."""
FARTHEST_TICKS = 4
"""Of gaps, bodies, wicks and exits."""
MINUTES_TO_NEXT = (1, 1, 1, 1, 2, 7)
SLIPPAGES_BPS = (Decimal(0), Decimal("7.5"), Decimal(10))
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


class Bar(NamedTuple):
    """A candle by its steps, in ticks."""

    gap: int
    """From the last close to the open."""
    body: int
    upper_wick: int
    lower_wick: int
    minutes: int
    """Since the last open: more than 1 leaves a hole."""


class Decision(NamedTuple):
    """What is decided on a candle's close; distances in ticks from it."""

    is_decided: bool
    target_lots: int
    stop: int
    """0: no exits at all."""
    take: int
    """0: none."""
    is_liquidation: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A market and a plan on it."""

    market: Market
    plan: Plan


def case_of(
    bars: Sequence[Bar],
    decisions: Sequence[Decision],
    spec: FillSpec,
    rates_by_minute: dict[int, Decimal],
) -> Case:
    """A case of at least 2 bars, with funding so many minutes after its first open; ends flat."""
    rates = [(START_MS + minute * MINUTE_MS, rate) for minute, rate in rates_by_minute.items()]
    market = Market.of(_candles(bars), INSTRUMENT, spec, rates)
    return Case(market=market, plan=_plan(market, decisions))


def random_case(seed: int, *, at_the_venue: bool = False) -> Case:
    """A case of 3 to `LONGEST` candles; the same seed always gives the same one.

    `at_the_venue`: as an exchange would have it, see `venue_case`.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, LONGEST + 1))
    signed = rng.integers(-FARTHEST_TICKS, FARTHEST_TICKS + 1, (2, count)).tolist()
    wicks = rng.integers(0, FARTHEST_TICKS + 1, (2, count)).tolist()
    minutes = rng.choice(MINUTES_TO_NEXT, count).tolist()
    decided = (rng.random(count) < 0.5).tolist()
    targets = rng.integers(-3, 4, count).tolist()
    exits = rng.integers(0, FARTHEST_TICKS + 1, (2, count)).tolist()
    liquidations = (rng.random(count) < 0.3).tolist()
    due = np.flatnonzero(rng.random(count + 1) < 0.15).tolist()
    rates = {
        minute: Decimal(int(rng.integers(-30, 31))) / 10_000 for minute in [*due, BEFORE_DUE_MIN]
    }
    case = case_of(
        [Bar(*steps) for steps in zip(*signed, *wicks, minutes, strict=True)],
        [Decision(*row) for row in zip(decided, targets, *exits, liquidations, strict=True)],
        FillSpec(
            slippage_bps=SLIPPAGES_BPS[int(rng.integers(len(SLIPPAGES_BPS)))],
            path=tuple(PathOrder)[int(rng.integers(len(PathOrder)))],
        ),
        rates,
    )
    return venue_case(case) if at_the_venue else case


def venue_case(case: Case) -> Case:
    """The case as an exchange could have it.

    Funding at the venue's own instants; no stops that are liquidations; and exits with every order
    or, where the first candle's decision has none, with no order: an order without exits leaves
    those of an earlier one in place there.
    """
    at_ms = START_MS + BEFORE_DUE_MIN * MINUTE_MS
    dues = tuple(due for due in case.market.dues if due.due_ms == at_ms)
    plan, close = case.plan, case.market.tape.close
    has_exits, side = plan.stop_ticks[0] != 0, np.sign(plan.target_lots)
    stop = np.where(plan.stop_ticks == 0, close - side * FARTHEST_TICKS, plan.stop_ticks)
    plan = replace(
        plan, stop_ticks=stop * (side != 0) * has_exits, take_ticks=plan.take_ticks * has_exits
    )
    return without_liquidations(Case(market=replace(case.market, dues=dues), plan=plan))


def without_liquidations(case: Case) -> Case:
    """The case with stops that are only stops: an order cannot carry another kind."""
    none = np.zeros(len(case.plan), dtype=np.bool_)
    return replace(case, plan=replace(case.plan, is_liquidation=none))


def random_plan(market: Market, *, seed: int, share: float, with_exits: bool) -> Plan:
    """A plan for any market that decides on a share of its candles and on every settlement's."""
    rng = np.random.default_rng(seed)
    tape, count = market.tape, len(market.tape)
    decided = rng.random(count) < share
    at_due = np.searchsorted(tape.close_ms, [due.due_ms for due in market.dues])
    decided[at_due] = True
    target = rng.choice([-300, -150, 0, 0, 150, 300, 450], count)
    side = np.sign(target)
    reach = np.maximum(tape.close * rng.uniform(0.0005, 0.003, count), 1).astype(np.int64)
    has_take = rng.random(count) < 0.5
    is_held = (side != 0) & with_exits
    return flat_at_the_end(
        Plan(
            decided=decided,
            target_lots=target,
            stop_ticks=np.maximum(tape.close - side * reach, 1) * is_held,
            take_ticks=np.maximum(tape.close + side * reach * 2, 1) * (is_held & has_take),
            is_liquidation=rng.random(count) < 0.1,
        )
    )


def _candles(bars: Sequence[Bar]) -> Candles:
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


def _plan(market: Market, decisions: Sequence[Decision]) -> Plan:
    decided, target, stop, take, liquidation = (
        np.array(column) for column in zip(*decisions, strict=True)
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
