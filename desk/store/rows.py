"""What both stores ask of the rows they are given, and how they hand a document back."""

from desk.errors import BadInput
from desk.store.codec import from_json
from desk.store.port import Doc, Kind
from desk.trading.orders import Order, OrderState


def reservation(order: Order) -> str:
    """The amount an order reserves while it is not terminal; empty for none."""
    return str(order.reserved_quote) if order.reserved_quote else ""


def check_same_order(before: Order, after: Order) -> None:
    """Raise `BadInput` when a change would alter what an order is instead of where it stands."""
    for name in ("client_order_id", "account", "trade_id", "created_ms", "reduce_only"):
        was, is_now = getattr(before, name), getattr(after, name)
        if was != is_now:
            raise BadInput(name, f"was {was!r} and would become {is_now!r}: it never changes")


def starts_entry(before: Order, after: Order) -> bool:
    """Whether a move lets an order that may open a position leave."""
    is_sent = after.state is OrderState.SENDING and before.state is not OrderState.SENDING
    return is_sent and not after.reduce_only


def doc_of[T](kind: Kind[T], key: str, version: int, at_ms: int, row: bytes) -> Doc[T]:
    """A document as it is read back."""
    return Doc(key=key, value=from_json(kind.type, row), version=version, at_ms=at_ms)
