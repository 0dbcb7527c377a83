"""The contracts the venue lists: precision, minimums, fees, and how their prices behave."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """One perpetual. Prices live in ticks and sizes in steps inside the simulator."""

    pair: str
    contract_id: str
    base: str
    price_precision: int
    quantity_precision: int
    max_leverage: int
    base_price: float
    daily_volatility: float
    minute_volume: float
    """Typical coins traded in a minute."""
    min_notional: Decimal = Decimal(2)
    maker_fee: Decimal = Decimal("0.0002")
    taker_fee: Decimal = Decimal("0.0005")
    half_spread_ticks: int = 1
    depth_notional: Decimal = Decimal(2_000_000)
    """USDT an aggressor takes before the price has moved one basis point."""

    @property
    def tick(self) -> Decimal:
        return Decimal(1).scaleb(-self.price_precision)

    @property
    def step(self) -> Decimal:
        return Decimal(1).scaleb(-self.quantity_precision)

    def price(self, ticks: int) -> Decimal:
        return Decimal(ticks).scaleb(-self.price_precision)

    def quantity(self, steps: int) -> Decimal:
        return Decimal(steps).scaleb(-self.quantity_precision)

    def ticks(self, price: Decimal) -> int:
        return int((price / self.tick).to_integral_value())

    def price_text(self, price: Decimal) -> str:
        return f"{price:.{self.price_precision}f}"

    def quantity_text(self, quantity: Decimal) -> str:
        return f"{quantity:.{self.quantity_precision}f}"


CONTRACTS: dict[str, Contract] = {
    contract.pair: contract
    for contract in (
        Contract(
            pair="BTC-USDT",
            contract_id="100",
            base="BTC",
            price_precision=1,
            quantity_precision=4,
            max_leverage=125,
            base_price=97_000.0,
            daily_volatility=0.024,
            minute_volume=60.0,
        ),
        Contract(
            pair="ETH-USDT",
            contract_id="101",
            base="ETH",
            price_precision=2,
            quantity_precision=2,
            max_leverage=100,
            base_price=3_350.0,
            daily_volatility=0.032,
            minute_volume=900.0,
        ),
        Contract(
            pair="PAXG-USDT",
            contract_id="1131",
            base="PAXG",
            price_precision=2,
            quantity_precision=4,
            max_leverage=50,
            base_price=2_680.0,
            daily_volatility=0.009,
            minute_volume=12.0,
            depth_notional=Decimal(400_000),
        ),
    )
}

MOST_EXTRA = 500


def list_more(count: int) -> None:
    """List `count` made-up perpetuals besides: X001-USDT, X002-USDT, …, each at a price of its own."""
    for number in range(1, count + 1):
        base = f"X{number:03}"
        CONTRACTS.setdefault(
            f"{base}-USDT",
            Contract(
                pair=f"{base}-USDT",
                contract_id=str(5_000 + number),
                base=base,
                price_precision=3,
                quantity_precision=2,
                max_leverage=50,
                base_price=5.0 + 3.7 * number,
                daily_volatility=0.03 + 0.0004 * (number % 50),
                minute_volume=400.0,
                depth_notional=Decimal(200_000),
            ),
        )
