"""What an account holds: cash, positions, orders, fills and incomes, and its margin arithmetic."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

ZERO = Decimal(0)
MAINTENANCE_RATIO = Decimal("0.004")

OPEN_STATUSES = frozenset({"NEW", "PENDING", "PARTIALLY_FILLED"})
KEPT_ROWS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step planned for an order: fill `quantity`, or end it with `status`."""

    at_ms: int
    quantity: Decimal = ZERO
    status: str = ""


@dataclass(slots=True, kw_only=True)
class Order:
    """One order as the venue keeps it. Times are market time; quantities are coins."""

    order_id: int
    pair: str
    side: str
    type: str
    quantity: Decimal
    created_ms: int
    updated_ms: int
    price: Decimal = ZERO
    stop_price: Decimal = ZERO
    time_in_force: str = "GTC"
    reduce_only: bool = False
    client_id: str = ""
    working_type: str = "MARK_PRICE"
    status: str = "NEW"
    executed: Decimal = ZERO
    quote: Decimal = ZERO
    commission: Decimal = ZERO
    profit: Decimal = ZERO
    leverage: int = 1
    frozen_margin: Decimal = ZERO
    trigger_above: bool | None = None
    """True: waits for the mark price to rise to `stop_price`; None: no trigger, or triggered."""
    stop_loss: dict[str, str] | None = None
    take_profit: dict[str, str] | None = None
    trigger_order_id: int = 0
    visible_from_ms: int = 0
    """Server time before which no query finds the order."""
    forced: str = ""
    """LIQUIDATION or ADL when the venue itself made the order."""
    plan: list[Step] = field(default_factory=list[Step])
    held: bool = False
    """The market does not touch the order; only its plan does."""
    blind_until_ms: int = 0
    """Server time until which no look-up by client id finds it; lists show it."""
    stale_until_ms: int = 0
    """Server time before which queries show the order as it was accepted."""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def sign(self) -> int:
        return 1 if self.side == "BUY" else -1

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.executed

    @property
    def average(self) -> Decimal:
        return self.quote / self.executed if self.executed else ZERO


@dataclass(slots=True, kw_only=True)
class Position:
    """A one-way position; `quantity` is signed coins."""

    position_id: int
    pair: str
    quantity: Decimal
    average: Decimal
    leverage: int
    isolated: bool
    margin: Decimal
    """Collateral set aside: for isolated positions all that can be lost."""
    created_ms: int
    updated_ms: int
    realised: Decimal = ZERO

    def unrealised(self, mark: Decimal) -> Decimal:
        return (mark - self.average) * self.quantity

    def value(self, mark: Decimal) -> Decimal:
        return abs(self.quantity) * mark


@dataclass(slots=True, kw_only=True)
class Fill:
    trade_id: int
    order_id: int
    client_id: str
    pair: str
    side: str
    order_type: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    maker: bool
    realised: Decimal
    reduce_only: bool
    at_ms: int


@dataclass(slots=True, kw_only=True)
class Income:
    pair: str
    kind: str
    amount: Decimal
    at_ms: int
    transaction_id: int
    trade_id: str = ""
    info: str = ""


@dataclass(slots=True)
class PairSettings:
    leverage: int = 10
    margin_type: str = "CROSSED"


@dataclass(slots=True, kw_only=True)
class Account:
    """One API key with its money. `cancel_after_ms` is the dead-man timer on the server clock."""

    key: str
    secret: str
    user_id: str
    balance: Decimal
    realised: Decimal = ZERO
    hedged: bool = False
    positions: dict[str, Position] = field(default_factory=dict[str, Position])
    orders: dict[int, Order] = field(default_factory=dict[int, Order])
    open_ids: dict[int, None] = field(default_factory=dict[int, None])
    client_ids: dict[str, int] = field(default_factory=dict[str, int])
    fills: list[Fill] = field(default_factory=list[Fill])
    incomes: list[Income] = field(default_factory=list[Income])
    settings: dict[str, PairSettings] = field(default_factory=dict[str, PairSettings])
    cancel_after_ms: int | None = None
    listen_keys: dict[str, int] = field(default_factory=dict[str, int])
    """Key of a private stream -> server ms at which it expires."""

    def settings_of(self, pair: str) -> PairSettings:
        return self.settings.setdefault(pair, PairSettings())

    def open_orders(self, pair: str | None = None) -> Iterator[Order]:
        for order_id in tuple(self.open_ids):
            order = self.orders[order_id]
            if pair is None or order.pair == pair:
                yield order

    def remember(self, order: Order) -> None:
        self.orders[order.order_id] = order
        if order.is_open:
            self.open_ids[order.order_id] = None
        if order.client_id:
            self.client_ids[order.client_id] = order.order_id
        while len(self.orders) > KEPT_ROWS:
            oldest = next(iter(self.orders))
            if oldest in self.open_ids:
                break
            self.client_ids.pop(self.orders.pop(oldest).client_id, None)

    def finish(self, order: Order, status: str, at_ms: int) -> None:
        """End an order; its frozen margin is free again."""
        order.status = status
        order.plan.clear()
        order.updated_ms = max(order.updated_ms, at_ms)
        order.frozen_margin = ZERO
        self.open_ids.pop(order.order_id, None)

    def reopen(self, order: Order) -> None:
        order.status = "PENDING"
        self.open_ids[order.order_id] = None

    def book(self, income: Income) -> None:
        """Change the cash by an income and keep the row."""
        self.balance += income.amount
        self.incomes.append(income)
        del self.incomes[:-KEPT_ROWS]

    def keep_fill(self, fill: Fill) -> None:
        self.fills.append(fill)
        del self.fills[:-KEPT_ROWS]

    def used_margin(self) -> Decimal:
        return sum((position.margin for position in self.positions.values()), ZERO)

    def frozen_margin(self) -> Decimal:
        return sum((order.frozen_margin for order in self.open_orders()), ZERO)

    def unrealised(self, marks: dict[str, Decimal]) -> Decimal:
        return sum((p.unrealised(marks[p.pair]) for p in self.positions.values()), ZERO)

    def available(self, marks: dict[str, Decimal]) -> Decimal:
        """Cash free for new orders: losses of cross positions count, their gains do not."""
        cross = sum(
            (p.unrealised(marks[p.pair]) for p in self.positions.values() if not p.isolated), ZERO
        )
        free = self.balance - self.used_margin() - self.frozen_margin() + min(ZERO, cross)
        return max(ZERO, free)

    def liquidation_price(self, pair: str, marks: dict[str, Decimal]) -> Decimal | None:
        """Mark price at which the collateral no longer covers maintenance; None if never."""
        position = self.positions[pair]
        collateral = position.margin
        if not position.isolated:
            others = [p for p in self.positions.values() if p.pair != pair]
            collateral = self.balance - sum((p.margin for p in others if p.isolated), ZERO)
            collateral += sum((p.unrealised(marks[p.pair]) for p in others if not p.isolated), ZERO)
        per_coin = collateral / abs(position.quantity)
        if position.quantity > 0:
            price = (position.average - per_coin) / (1 - MAINTENANCE_RATIO)
        else:
            price = (position.average + per_coin) / (1 + MAINTENANCE_RATIO)
        return price if price > 0 else None
