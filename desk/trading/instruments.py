"""What may be traded and in which steps; the only home of tick and lot rounding."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from desk.ids import Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One USDT perpetual. Quantities are in coins, rates are fractions (0.0005 = 5 bps)."""

    pair: Pair
    tick: Decimal
    lot: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    maker_rate: Decimal
    taker_rate: Decimal
    max_leverage: int
    tradable: bool = True

    def to_ticks(self, price: float | Decimal) -> int:
        """Whole ticks of a price, half-even."""
        value = price if isinstance(price, Decimal) else Decimal(str(price))
        return int((value / self.tick).to_integral_value(ROUND_HALF_EVEN))

    def price_of(self, ticks: int) -> Decimal:
        """The price of whole ticks."""
        return ticks * self.tick

    def to_lots(self, quantity: Decimal) -> int:
        """Whole lots of a quantity, toward zero."""
        return int((quantity / self.lot).to_integral_value(ROUND_DOWN))

    def quantity_of(self, lots: int) -> Decimal:
        """The quantity of whole lots (keeps the sign)."""
        return lots * self.lot
