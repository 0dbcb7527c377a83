"""The ports between the money actors, kept by asking shells of the same process instead of Ray's."""

from decimal import Decimal
from typing import Any

from actors.approval import Approve
from actors.order_executor import Cancel, Execute, Refresh
from actors.risk_ledger import Adjust
from actors.venue_exits import BookExit, CancelExit, NoteExit, PlaceStop
from desk.ids import Pair
from desk.trading.intents import OrderIntent
from desk.trading.orders import Order, Side, VenueOrder
from desk.trading.risk import Approved, Refused


class DirectDoors:
    """Ledger and executor behind their ports. A subclass says who they are, or what a question costs."""

    ledger: Any
    executor: Any

    async def ask(self, role: str, method: str, message: Any) -> Any:
        """Put a message to the `ledger` or the `executor`."""
        return await getattr(getattr(self, role), method)(message)

    async def approve(
        self, intent: OrderIntent, limits_set_id: str, *, after: str = ""
    ) -> Approved[Order] | Refused:
        message = Approve(intent=intent, limits_set_id=limits_set_id, after=after)
        return await self.ask("ledger", "approve", message)

    async def adjust(
        self, pair: Pair, ours: Decimal, quantity: Decimal, price: Decimal, adjustment_id: str
    ) -> None:
        message = Adjust(
            pair=pair, ours=ours, quantity=quantity, price=price, adjustment_id=adjustment_id
        )
        await self.ask("ledger", "adjust", message)

    async def execute(self, approved: Approved[Order]) -> Order:
        return await self.ask("executor", "execute", Execute(approved=approved))

    async def cancel(self, client_order_id: str, reason: str) -> Order:
        message = Cancel(client_order_id=client_order_id, reason=reason)
        return await self.ask("executor", "cancel", message)

    async def refresh(self, client_order_id: str) -> Order:
        return await self.ask("executor", "refresh", Refresh(client_order_id=client_order_id))

    async def book_exit(self, parent_id: str, report: VenueOrder) -> Order:
        message = BookExit(parent_id=parent_id, report=report)
        return await self.ask("executor", "book_exit", message)

    async def note_exit(self, parent_id: str, report: VenueOrder) -> Order:
        message = NoteExit(parent_id=parent_id, report=report)
        return await self.ask("executor", "note_exit", message)

    async def cancel_exit(self, pair: Pair, venue_order_id: str) -> None:
        message = CancelExit(pair=pair, venue_order_id=venue_order_id)
        await self.ask("executor", "cancel_exit", message)

    async def place_stop(
        self, pair: Pair, side: Side, quantity: Decimal, stop_price: Decimal
    ) -> str:
        message = PlaceStop(pair=pair, side=side, quantity=quantity, stop_price=stop_price)
        return await self.ask("executor", "place_stop", message)
