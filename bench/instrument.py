"""The perpetual that benches trade, as BingX describes it."""

from decimal import Decimal

from desk.trading.instruments import Instrument

BTC = Instrument(
    pair="BTC-USDT",
    tick=Decimal("0.1"),
    lot=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=100,
)
