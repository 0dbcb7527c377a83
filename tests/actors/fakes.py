"""Hand-written stand-ins for the ports that the actor shells use."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from desk import ids
from desk.clock import ManualClock
from desk.errors import OutcomeUnknown, VenueUnavailable
from desk.store.memory import MemoryStore
from desk.store.port import Event, Fence
from desk.trading import ledger as books
from desk.trading.instruments import Instrument
from desk.trading.orders import (
    Fill,
    Leg,
    Order,
    Side,
    VenueBalance,
    VenueOrder,
    VenueOrderStatus,
    VenuePosition,
)

PAIR = "BTC-USDT"
NOW_MS = 1_700_000_040_000

BTC = Instrument(
    pair=PAIR,
    tick=Decimal("0.1"),
    lot=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=125,
)


@dataclass
class ScriptedVenue:
    """A venue in memory. `on_submit` may raise before or after the order is placed."""

    heard: list[tuple[str, str]] = field(default_factory=list)
    orders: dict[str, VenueOrder] = field(default_factory=dict)
    before_placing: Callable[[Order], None] = lambda _: None
    after_placing: Callable[[Order], None] = lambda _: None
    is_reachable: bool = True
    fills_at_once: bool = True
    price: Decimal = Decimal("40000.0")
    external: Decimal = Decimal(0)

    async def submit(self, order: Order) -> str:
        self.heard.append(("submit", order.client_order_id))
        self.before_placing(order)
        filled = order.quantity if self.fills_at_once else Decimal(0)
        self.orders[order.client_order_id] = VenueOrder(
            client_order_id=order.client_order_id,
            venue_order_id=f"v{len(self.orders) + 1}",
            pair=order.pair,
            side=order.side,
            status=VenueOrderStatus.FILLED if filled else VenueOrderStatus.OPEN,
            quantity=order.quantity,
            filled_quantity=filled,
            average_price=self.price if filled else Decimal(0),
            fees=filled * self.price * Decimal("0.0005"),
            reduce_only=order.reduce_only,
            updated_ms=NOW_MS,
        )
        self.after_placing(order)
        return self.orders[order.client_order_id].venue_order_id

    async def look_up(self, pair: str, client_order_id: str) -> VenueOrder | None:
        self.heard.append(("look_up", client_order_id))
        self._reach("look_up")
        return self.orders.get(client_order_id)

    async def order_by_id(self, pair: str, venue_order_id: str) -> VenueOrder | None:
        self._reach("order_by_id")
        rows = self.orders.values()
        return next((row for row in rows if row.venue_order_id == venue_order_id), None)

    async def cancel(self, pair: str, client_order_id: str) -> None:
        self.heard.append(("cancel", client_order_id))
        resting = self.orders[client_order_id]
        self.orders[client_order_id] = replace(resting, status=VenueOrderStatus.CANCELLED)

    async def open_orders(self, pair: str | None = None) -> list[VenueOrder]:
        self._reach("open_orders")
        return [row for row in self.orders.values() if row.status is VenueOrderStatus.OPEN]

    async def orders_between(self, pair: str, start_ms: int, end_ms: int) -> list[VenueOrder]:
        self._reach("orders_between")
        return list(self.orders.values())

    async def fills(self, pair: str, order: VenueOrder) -> list[Fill]:
        if not order.filled_quantity:
            return []
        return [
            Fill(
                fill_id=f"{order.venue_order_id}-1",
                client_order_id=order.client_order_id,
                venue_order_id=order.venue_order_id,
                pair=pair,
                side=order.side,
                quantity=order.filled_quantity,
                price=order.average_price,
                fee=order.fees,
                is_maker=False,
                filled_ms=NOW_MS + 1000,
            )
        ]

    async def positions(self) -> list[VenuePosition]:
        self._reach("positions")
        held = sum(
            (row.side.sign * row.filled_quantity for row in self.orders.values()), Decimal(0)
        )
        held += self.external
        if not held:
            return []
        return [
            VenuePosition(
                pair=PAIR,
                quantity=held,
                average_price=self.price,
                leverage=1,
                unrealized_pnl=Decimal(0),
            )
        ]

    async def balance(self) -> VenueBalance:
        cash = Decimal(10_000)
        return VenueBalance(asset="USDT", balance=cash, equity=cash, available=cash)

    async def prepare(self, pair: str, leverage: int) -> None:
        self.heard.append(("prepare", pair))

    async def close(self) -> None:
        """Nothing to release."""

    def _reach(self, call: str) -> None:
        if not self.is_reachable:
            raise VenueUnavailable(call, "unreachable")

    @property
    def submitted(self) -> list[str]:
        return [cid for verb, cid in self.heard if verb == "submit"]


def drop_answer(order: Order) -> None:
    raise OutcomeUnknown("submit", "timeout")


@dataclass
class Desk:
    """A store in memory with an account that has books, and a clock to move."""

    store: MemoryStore
    clock: ManualClock
    ledger_fence: Fence

    def intent(self, decision: str = "d1", **changes: object) -> Order:
        """Store an approved order in state INTENT, as the risk ledger does."""
        side = Side.BUY
        order = Order(
            client_order_id=ids.client_order_id("paper", "run1", decision, "entry"),
            account="paper",
            run_id="run1",
            decision_id=decision,
            trade_id=ids.client_order_id("paper", "run1", decision, "entry"),
            pair=PAIR,
            leg=Leg.ENTRY,
            side=side,
            quantity=Decimal("0.0100"),
            reduce_only=False,
            reference_price=Decimal("40000.0"),
            decided_open_ms=self.clock.now_ms() - 60_000,
            created_ms=self.clock.now_ms(),
            trace_id="tr1",
            reserved_quote=Decimal(400),
        )
        order = replace(order, **changes)  # pyright: ignore[reportArgumentType]
        ledger = self.store.ledger("paper")
        assert ledger is not None
        return self.store.create_order(
            order,
            ledger,
            fence=self.ledger_fence,
            request_id=f"rq-{order.client_order_id}",
            event=_event(order.created_ms),
        )


def desk_with_books() -> Desk:
    store, clock = MemoryStore(), ManualClock(NOW_MS)
    fence = store.acquire_lease("ledger:paper", "test", 60_000)
    fresh = books.open_ledger("paper", Decimal(10_000), now_ms=NOW_MS)
    store.create_ledger(fresh, fence=fence, event=_event(NOW_MS))
    return Desk(store=store, clock=clock, ledger_fence=fence)


def _event(at_ms: int) -> Event:
    return Event(topic="test", key="test", data={}, at_ms=at_ms)
