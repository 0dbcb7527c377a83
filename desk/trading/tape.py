"""Candles as columns of whole ticks, and the funding settlements that fall on them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from desk.clock import MINUTE_MS
from desk.errors import BadInput
from desk.market.candles import Candles, Floats, Ints
from desk.market.interval import Interval, interval_ms
from desk.trading.fills import Due, FillSpec, TickCandle
from desk.trading.instruments import Instrument

_MILLION = 1_000_000
_NEAR_HALF = 1e-4
_OFF_TICK = 1e-3
"""Of a tick; a float quotient errs far less."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tape:
    """Columns int64[T], oldest first, open times strictly rising, prices in whole ticks above 0.

    `bid` and `ask` are the quote at each candle's open, slippage included.
    """

    interval: Interval
    open_ms: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    bid: Ints
    ask: Ints

    def __len__(self) -> int:
        return len(self.open_ms)

    @property
    def close_ms(self) -> Ints:
        """First millisecond after each candle."""
        return self.open_ms + interval_ms(self.interval)

    def rows(self) -> Iterator[TickCandle]:
        """One candle at a time."""
        columns = (self.open_ms, self.open, self.high, self.low, self.close)
        return map(TickCandle._make, zip(*(column.tolist() for column in columns), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Market:
    """All that an engine needs to know of one pair and period."""

    tape: Tape
    dues: tuple[Due, ...]
    """Funding settlements on the tape, oldest first, each with a known rate."""
    spec: FillSpec
    instrument: Instrument

    @classmethod
    def of(
        cls,
        candles: Candles,
        instrument: Instrument,
        spec: FillSpec,
        rates: Iterable[tuple[int, Decimal]] = (),
    ) -> "Market":
        """Candles in ticks with the funding settlements `(stamp_ms, rate)` among them."""
        tape = tape_of(candles, instrument, spec)
        return cls(tape=tape, dues=tuple(dues_of(rates, tape)), spec=spec, instrument=instrument)


def tape_of(candles: Candles, instrument: Instrument, spec: FillSpec) -> Tape:
    """Round candles to whole ticks, once. Raises `BadInput` for no tick, disorder or overlap."""
    if len(candles) == 0:
        raise BadInput("candles", "there were none: choose a period with stored candles")
    if not (np.diff(candles.open_ms) >= interval_ms(spec.interval)).all():
        raise BadInput("candles", f"open times did not rise by {spec.interval} or more: sort them")
    open_, high, low, close = (
        ticks_of(column, instrument)
        for column in (candles.open, candles.high, candles.low, candles.close)
    )
    if int(min(open_.min(), high.min(), low.min(), close.min())) <= 0:
        raise BadInput("candles", f"a price was below one tick of {instrument.tick}: fetch again")
    bid, ask = quotes_of(open_, spec)
    return Tape(
        interval=spec.interval,
        open_ms=candles.open_ms,
        open=open_,
        high=high,
        low=low,
        close=close,
        bid=bid,
        ask=ask,
    )


def check_on_tick(candles: Candles, instrument: Instrument) -> None:
    """Raise `BadInput` for prices off the tick: another market's, or of another time."""
    for name in ("open", "high", "low", "close"):
        exact = getattr(candles, name) / float(instrument.tick)
        off = np.flatnonzero(~(np.abs(exact - np.rint(exact)) <= _OFF_TICK))
        if len(off):
            at = f"{len(off)} {name} prices, the first {getattr(candles, name)[off[0]]}"
            raise BadInput(
                "candles",
                f"{at}, were off the tick of {instrument.tick}: "
                "give the tick they were traded in, or leave them out",
            )


def ticks_of(prices: Floats, instrument: Instrument) -> Ints:
    """Whole ticks of prices, equal to `Instrument.to_ticks` of each."""
    exact = prices / float(instrument.tick)
    if not np.isfinite(exact).all():
        raise BadInput("candles", "a price was not finite: fetch the candles again")
    ticks = np.rint(exact).astype(np.int64)
    # A float quotient errs far less than this; only prices this near to half a tick need Decimal.
    doubtful = np.flatnonzero(np.abs(np.abs(exact - ticks) - 0.5) < _NEAR_HALF)
    ticks[doubtful] = [instrument.to_ticks(float(price)) for price in prices[doubtful]]
    return ticks


def quotes_of(open_ticks: Ints, spec: FillSpec) -> tuple[Ints, Ints]:
    """Bid and ask of each open, equal to `fills.quote_ticks` of each."""
    bid = open_ticks * (_MILLION - spec.slippage_ppm) // _MILLION
    ask = -(-open_ticks * (_MILLION + spec.slippage_ppm) // _MILLION)
    return bid, ask


def dues_of(
    rates: Iterable[tuple[int, Decimal]], tape: Tape, marks: Tape | None = None
) -> list[Due]:
    """The settlements `(stamp_ms, rate)` that fall on a tape, oldest first.

    A stamp is rounded to the minute (a venue's jitter by milliseconds); its mark is the open of the
    first candle of `marks` (1m candles; the tape itself when left out) that starts at or after it.
    Settlements before the first open or from the last close on are dropped.
    """
    marks = tape if marks is None else marks
    first_ms, end_ms = int(tape.open_ms[0]), int(tape.close_ms[-1])
    found: list[Due] = []
    for stamp_ms, rate in sorted(rates):
        due_ms = (stamp_ms + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS
        index = int(np.searchsorted(marks.open_ms, due_ms))
        if first_ms <= due_ms < end_ms and index < len(marks):
            found.append(Due(due_ms=due_ms, mark_ticks=int(marks.open[index]), rate=rate))
    return found
