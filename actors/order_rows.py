"""Order rows as the executor moves them: read, advance by one event, commit with the epoch."""

from actors.alerts import Cause, raise_alert
from actors.events import order_event
from actors.heartbeat import leave
from actors.store_calls import PATIENCE_S, RequestIds, retried, stored
from desk import meters
from desk.clock import Clock
from desk.errors import Fenced, IllegalTransition, NotFound
from desk.ids import Pair
from desk.store import kinds
from desk.store.port import Fence, Store
from desk.trading import orders
from desk.trading.orders import Order, OrderEffect, OrderEvent
from desk.trading.risk import MARGIN_COOLDOWN_MS


def cooldown_key(account: str, pair: Pair) -> str:
    """Name of the fact that a pair takes no entries until a market time."""
    return f"cooldown:{account}:{pair}"


class OrderRows:
    """The orders of one account. A newer executor's epoch ends this process."""

    def __init__(self, account: str, store: Store, fence: Fence, clock: Clock) -> None:
        self._account, self._store, self._fence, self._clock = account, store, fence, clock
        self._requests = RequestIds(fence.role, fence.epoch)

    async def load(self, client_order_id: str) -> Order:
        """Read a row. Raises `NotFound`."""
        order = await stored(lambda: self._store.order(client_order_id))
        if order is None:
            raise NotFound("order", client_order_id)
        return order

    async def active(self) -> list[Order]:
        """Every order that is not terminal, oldest first."""
        return await stored(lambda: self._store.active_orders(self._account))

    async def learn(
        self, client_order_id: str, event: OrderEvent
    ) -> tuple[Order, list[OrderEffect]]:
        """Apply an event to the row as it stands, however often another writer comes first."""

        async def attempt() -> tuple[Order, list[OrderEffect]]:
            return await self.commit(await self.load(client_order_id), event)

        return await retried(attempt)

    async def commit(
        self, order: Order, event: OrderEvent, *, within_s: float = PATIENCE_S
    ) -> tuple[Order, list[OrderEffect]]:
        """Advance exactly this version of the row. Raises `VersionConflict` if it moved on."""
        now_ms = self._clock.now_ms()
        try:
            moved, effects = orders.advance(order, event, now_ms=now_ms)
            if moved is order:
                return order, effects
            request_id = self._requests.fresh("move")
            row = await stored(
                lambda: self._store.move_order(
                    order,
                    moved,
                    fence=self._fence,
                    request_id=request_id,
                    event=order_event(moved, at_ms=now_ms),
                ),
                within_s=within_s,
            )
        except Fenced as newer:
            leave(str(newer))
        except IllegalTransition as wrong:
            await self.alert("illegal_transition", order, str(wrong))
            raise
        meters.ORDER_MOVES.count(self._account, row.state.value)
        return row, effects

    async def cool_down(self, order: Order) -> None:
        """Keep the order's pair without entries for a while."""
        now_ms = self._clock.now_ms()
        fact = {"until_ms": now_ms + MARGIN_COOLDOWN_MS, "reason": order.reason}
        key = cooldown_key(self._account, order.pair)
        await stored(lambda: self._store.put(kinds.STATE, key, fact, at_ms=now_ms))

    async def alert(self, code: str, order: Order, detail: str) -> None:
        """Tell the operator about an order."""
        cause = Cause(
            code=code,
            about=order.client_order_id,
            category="ops",
            severity="critical" if code == "illegal_transition" else "warning",
            detail=detail,
            trace_id=order.trace_id,
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())
