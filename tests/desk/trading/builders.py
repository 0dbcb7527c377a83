"""Small values that several tests of the trading rules start from."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from desk.trading.instruments import Instrument
from desk.trading.intents import OrderIntent
from desk.trading.ledger import Ledger, Position, open_ledger
from desk.trading.orders import (
    Fill,
    Leg,
    Order,
    OrderState,
    Side,
    VenueOrder,
    VenueOrderStatus,
)

NOW = 1_700_000_000_000
WALL = 1_800_000_000_000
PAIR = "BTC-USDT"
INSTRUMENT = Instrument(
    pair=PAIR,
    tick=Decimal("0.1"),
    lot=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=125,
)


def an_order(**changes: Any) -> Order:
    """A buy of 1 coin at 100 in state INTENT."""
    order = Order(
        client_order_id="t1" + "a" * 24,
        account="paper",
        run_id="run",
        decision_id="d1",
        trade_id="t1" + "a" * 24,
        pair=PAIR,
        leg=Leg.ENTRY,
        side=Side.BUY,
        quantity=Decimal(1),
        reduce_only=False,
        reference_price=Decimal(100),
        decided_open_ms=NOW - 60_000,
        created_ms=NOW,
        trace_id="tr1",
        reserved_quote=Decimal(100),
        updated_ms=NOW,
        version=1,
    )
    return replace(order, **changes)


def sending(**changes: Any) -> Order:
    """The order on the wire for the first time, sent at WALL."""
    return an_order(state=OrderState.SENDING, attempts=1, sent_wall_ms=WALL, **changes)


def a_fill(
    fill_id: str = "f1",
    quantity: str | Decimal = "1",
    price: str | Decimal = "100",
    *,
    order: Order | None = None,
    fee: str | Decimal = "0.05",
    filled_ms: int = NOW + 1_000,
) -> Fill:
    """One execution of an order."""
    of = order or an_order()
    return Fill(
        fill_id=fill_id,
        client_order_id=of.client_order_id,
        venue_order_id="77",
        pair=of.pair,
        side=of.side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        fee=Decimal(fee),
        is_maker=False,
        filled_ms=filled_ms,
    )


def a_report(
    status: VenueOrderStatus, filled: str | Decimal = "0", *, order: Order | None = None
) -> VenueOrder:
    """The venue's word on an order."""
    of = order or an_order()
    return VenueOrder(
        client_order_id=of.client_order_id,
        venue_order_id="77",
        pair=of.pair,
        side=of.side,
        status=status,
        quantity=of.quantity,
        filled_quantity=Decimal(filled),
        average_price=Decimal(100),
        fees=Decimal(0),
        reduce_only=of.reduce_only,
        updated_ms=NOW,
        raw_status=status.value.upper(),
    )


def an_intent(signed_quantity: str | Decimal = "1", **changes: Any) -> OrderIntent:
    """A plain entry of a signed quantity at 100."""
    quantity = Decimal(signed_quantity)
    intent = OrderIntent(
        account="paper",
        run_id="run",
        decision_id="d1",
        pair=PAIR,
        leg=Leg.ENTRY,
        side=Side.of(quantity),
        quantity=abs(quantity),
        reduce_only=False,
        reference_price=Decimal(100),
        decided_open_ms=NOW - 60_000,
        trace_id="tr1",
    )
    return replace(intent, **changes)


def a_position(quantity: str | Decimal, price: str | Decimal = "100", **changes: Any) -> Position:
    """A position opened by the trade `t-old`."""
    position = Position(
        pair=PAIR,
        quantity=Decimal(quantity),
        average_price=Decimal(price),
        trade_id="t-old",
        run_id="run",
        opened_ms=NOW - 3_600_000,
    )
    return replace(position, **changes)


def books_with(*positions: Position, cash: str = "10000") -> Ledger:
    """Books that hold these positions, marked at their entry prices."""
    ledger = open_ledger("paper", Decimal(cash), now_ms=NOW)
    return replace(
        ledger,
        positions={position.pair: position for position in positions},
        marks={position.pair: position.average_price for position in positions},
        marked_ms=NOW,
    )
