"""What a trade's profit or loss is made of: the market, slippage, fees, funding; and they add up. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from desk.trading.ledger import ZERO
from desk.trading.orders import Fill


@dataclass(frozen=True, slots=True, kw_only=True)
class PnlSplit:
    """Parts in USDT, each signed from the trader's side; `total` is their sum."""

    price: Decimal
    """Had every fill been at the price that was decided on."""
    slippage: Decimal
    """Fills against those prices: negative when they were worse."""
    fees: Decimal
    """Negative when paid."""
    funding: Decimal
    """Negative when paid."""

    @property
    def total(self) -> Decimal:
        """Net result."""
        return self.price + self.slippage + self.fees + self.funding


def split_pnl(
    fills: Iterable[tuple[Fill, Decimal]], *, gross: Decimal, fees: Decimal, funding: Decimal
) -> PnlSplit:
    """Split a trade's result; `fills` come with the reference price of their order.

    `gross` is realised plus unrealised before fees; `fees` as booked, positive when paid.
    """
    slippage = sum((slippage_quote(fill, reference) for fill, reference in fills), ZERO)
    return PnlSplit(price=gross - slippage, slippage=slippage, fees=-fees, funding=funding)


def slippage_quote(fill: Fill, reference_price: Decimal) -> Decimal:
    """What a fill gained against the price it was decided on; negative when it was worse."""
    return fill.side.sign * fill.quantity * (reference_price - fill.price)


def slippage_bps(fill: Fill, reference_price: Decimal) -> Decimal:
    """The same as a fraction of the price in 1/10,000, positive when the fill was worse."""
    if not reference_price:
        return ZERO
    return fill.side.sign * (fill.price - reference_price) / reference_price * 10_000
