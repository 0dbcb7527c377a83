"""A market as plain arrays: what the compiled rules read, shared by all lanes and never written."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desk.errors import BadInput
from desk.market.candles import Candles, Floats, Ints
from desk.market.features import Features
from desk.market.interval import interval_ms
from desk.trading.exit_levels import AVERAGE_STEPS
from desk.trading.fills import FillSpec, PathOrder
from desk.trading.instruments import Instrument
from desk.trading.intents import NO_PROTECTION, Protection
from desk.trading.tape import Market

type Rows = NDArray[np.int32]

OPEN, HIGH, LOW, CLOSE, BID, ASK, DUE_FIRST, DUE_END = range(8)
ROW_COLUMNS = 8
"""Of a candle, in a row that lanes read; the features come after them."""

_LARGEST = 2**62
"""Products of ticks stay below it: compiled integers have 63 bits."""
_LARGEST_IN_ROWS = np.iinfo(np.int32).max


class Columns(NamedTuple):
    """One row per candle: whole ticks int64[T], and the funding settlements that fall on it.

    Settlements of candle t are rows `due_first[t]` to `due_end[t]` (exclusive) of the due columns;
    those with `due_is_path` come after its quote, before its path.
    """

    open: Ints
    high: Ints
    low: Ints
    close: Ints
    bid: Ints
    ask: Ints
    due_first: Ints
    due_end: Ints
    due_mark: Ints
    due_rate: Floats
    due_is_path: NDArray[np.bool_]

    def dues(self) -> "Dues":
        """The settlements by themselves."""
        return Dues(mark=self.due_mark, rate=self.due_rate, is_path=self.due_is_path)


class Dues(NamedTuple):
    """Funding settlements, as in `Columns`."""

    mark: Ints
    rate: Floats
    is_path: NDArray[np.bool_]


class Rules(NamedTuple):
    """The numbers of the fill specification and of the instrument, as float64."""

    quote_per_tick_lot: float
    """USDT of one lot at a price of one tick."""
    taker_rate: float
    maker_rate: float
    liquidation_rate: float
    is_adaptive: bool
    least_lots: int
    least_notional: float


class ExitRules(NamedTuple):
    """Exits that every decided position gets, in whole numbers; see `desk.trading.exit_levels`."""

    is_on: bool
    stop_distance: int
    """Of the decided close, in `whole_distance` parts; 0: no stop."""
    take_distance: int
    leverage: int
    """0: nothing is liquidated."""
    liquidation_rate: int
    """In `whole_rate` parts."""
    whole_distance: int = 10**8
    whole_rate: int = 10**6
    average_steps: int = AVERAGE_STEPS


@dataclass(frozen=True, kw_only=True, eq=False)
class MarketArrays:
    """Candles, funding and features of one pair and period."""

    open_ms: Ints
    step_ms: int
    """Length of a candle."""
    columns: Columns
    rules: Rules
    features: Features
    """float32[T, F], C order; row t is made of candles up to t. NaN rows are never decided on."""

    def __len__(self) -> int:
        return len(self.open_ms)

    @cached_property
    def rows(self) -> Rows:
        """int32[T, 8 + F]: all that lanes read of a candle, side by side and as small as can be.

        The first eight columns as whole numbers, then the features: float32 in the same memory.
        Lanes stand far apart; they wait for memory once, not once a column.

        Raises `BadInput` for a price of 2**31 ticks and more.
        """
        return _side_by_side(self.columns, self.features)

    @property
    def ready(self) -> NDArray[np.bool_]:
        """bool[T]: rows whose features are all finite."""
        return np.isfinite(self.features).all(axis=1)

    @classmethod
    def from_market(cls, market: Market, features: Features) -> "MarketArrays":
        """The arrays of a market. Raises `BadInput` when features and candles differ in length."""
        if len(features) != len(market.tape):
            problem = f"had {len(features)} rows for {len(market.tape)} candles"
            raise BadInput("features", f"{problem}: compute them on the same candles")
        return cls(
            open_ms=market.tape.open_ms,
            step_ms=interval_ms(market.tape.interval),
            columns=_columns(market),
            rules=_rules(market.spec, market.instrument),
            features=np.ascontiguousarray(features, dtype=np.float32),
        )

    @classmethod
    def from_candles(
        cls,
        candles: Candles,
        features: Features,
        instrument: Instrument,
        spec: FillSpec,
        rates: Iterable[tuple[int, Decimal]] = (),
    ) -> "MarketArrays":
        """The arrays of candles with the funding settlements `(stamp_ms, rate)` among them."""
        return cls.from_market(Market.of(candles, instrument, spec, rates), features)


def exit_rules(
    arrays: MarketArrays, protection: Protection = NO_PROTECTION, leverage: int | None = None
) -> ExitRules:
    """The exits of a protection, and of liquidation at a leverage, as compiled code reads them.

    Raises `BadInput` naming the field that is outside its range or does not fit whole numbers.
    """
    blank = ExitRules(is_on=False, stop_distance=0, take_distance=0, leverage=0, liquidation_rate=0)
    whole, highest = blank.whole_distance, int(arrays.columns.high.max())
    stop = _parts("stop_loss_fraction", protection.stop_loss_fraction, whole)
    take = _parts("take_profit_fraction", protection.take_profit_fraction, whole)
    if leverage is not None and leverage < 1:
        raise BadInput("leverage", f"was {leverage}, expected at least 1, or none")
    rate = round(arrays.rules.liquidation_rate * blank.whole_rate)
    if leverage is not None and not np.isclose(
        rate, arrays.rules.liquidation_rate * blank.whole_rate, rtol=0, atol=1e-6
    ):
        found = arrays.rules.liquidation_rate
        raise BadInput("maintenance_rate", f"and taker rate were {found}, expected millionths")
    widest = max(2 * whole, AVERAGE_STEPS * (leverage + 1 if leverage else 0) * blank.whole_rate)
    if highest * widest >= _LARGEST:
        problem = f"reached {highest} ticks, expected less than {_LARGEST // widest}"
        raise BadInput("candles", f"{problem} for exits: choose a larger tick or a lower leverage")
    return blank._replace(
        is_on=bool(stop or take or leverage),
        stop_distance=stop,
        take_distance=take,
        leverage=leverage or 0,
        liquidation_rate=rate,
    )


def _parts(field: str, fraction: Decimal | None, whole: int) -> int:
    if fraction is None:
        return 0
    if not (fraction.is_finite() and 0 < fraction < 1) or fraction * whole % 1:
        raise BadInput(field, f"was {fraction}, expected above 0 and below 1, at most 8 decimals")
    return int(fraction * whole)


def _columns(market: Market) -> Columns:
    tape = market.tape
    dues = [due for due in market.dues if due.rate is not None]
    due_ms = np.array([due.due_ms for due in dues], dtype=np.int64)
    # A settlement belongs to the candle that closes after it: before its quote unless it falls
    # after its open.
    candle = np.searchsorted(tape.close_ms, due_ms, side="right")
    bounds = np.searchsorted(candle, np.arange(len(tape) + 1)).astype(np.int64)
    return Columns(
        open=tape.open,
        high=tape.high,
        low=tape.low,
        close=tape.close,
        bid=tape.bid,
        ask=tape.ask,
        due_first=bounds[:-1],
        due_end=bounds[1:],
        due_mark=np.array([due.mark_ticks for due in dues], dtype=np.int64),
        due_rate=np.array([float(due.rate) for due in dues if due.rate is not None]),
        due_is_path=due_ms > tape.open_ms[candle],
    )


def _side_by_side(columns: Columns, features: Features) -> Rows:
    highest = max(int(columns[number].max(initial=0)) for number in range(ROW_COLUMNS))
    if highest > _LARGEST_IN_ROWS:
        problem = f"reached {highest} ticks, expected at most {_LARGEST_IN_ROWS}"
        raise BadInput("candles", f"{problem} to learn on: choose a larger tick")
    rows = np.empty((len(features), ROW_COLUMNS + features.shape[1]), dtype=np.int32)
    for number in range(ROW_COLUMNS):
        rows[:, number] = columns[number]
    rows.view(np.float32)[:, ROW_COLUMNS:] = features
    return rows


def _rules(spec: FillSpec, instrument: Instrument) -> Rules:
    return Rules(
        quote_per_tick_lot=float(instrument.tick) * float(instrument.lot),
        taker_rate=float(spec.taker_rate),
        maker_rate=float(spec.maker_rate),
        liquidation_rate=float(spec.liquidation_rate),
        is_adaptive=spec.path is PathOrder.ADAPTIVE,
        least_lots=instrument.to_lots(instrument.min_quantity),
        least_notional=float(instrument.min_notional),
    )
