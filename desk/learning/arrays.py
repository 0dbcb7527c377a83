"""A market as plain arrays: what the compiled rules read, shared by all lanes and never written."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desk.errors import BadInput
from desk.market.candles import Candles, Floats, Ints
from desk.market.features import Features
from desk.trading.fills import FillSpec, PathOrder
from desk.trading.instruments import Instrument
from desk.trading.tape import Market


class Columns(NamedTuple):
    """One row per candle: whole ticks int64[T], and the funding settlements that fall on it.

    Settlements of candle t are rows `due_first[t]` to `due_first[t + 1]` (exclusive) of the due
    columns; those with `due_is_path` come after its quote, before its path.
    """

    open: Ints
    high: Ints
    low: Ints
    close: Ints
    bid: Ints
    ask: Ints
    due_first: Ints
    due_mark: Ints
    due_rate: Floats
    due_is_path: NDArray[np.bool_]


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarketArrays:
    """Candles, funding and features of one pair and period."""

    open_ms: Ints
    columns: Columns
    rules: Rules
    features: Features
    """float32[T, F], C order; row t is made of candles up to t. NaN rows are never decided on."""

    def __len__(self) -> int:
        return len(self.open_ms)

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


def _columns(market: Market) -> Columns:
    tape = market.tape
    dues = [due for due in market.dues if due.rate is not None]
    due_ms = np.array([due.due_ms for due in dues], dtype=np.int64)
    # A settlement belongs to the candle that closes after it: before its quote unless it falls
    # after its open.
    candle = np.searchsorted(tape.close_ms, due_ms, side="right")
    return Columns(
        open=tape.open,
        high=tape.high,
        low=tape.low,
        close=tape.close,
        bid=tape.bid,
        ask=tape.ask,
        due_first=np.searchsorted(candle, np.arange(len(tape) + 1)).astype(np.int64),
        due_mark=np.array([due.mark_ticks for due in dues], dtype=np.int64),
        due_rate=np.array([float(due.rate) for due in dues if due.rate is not None]),
        due_is_path=due_ms > tape.open_ms[candle],
    )


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
