"""A venue in virtual time, and the wire to it as one process of ours sees it: slow, lossy, at times silent."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

from desk import ids
from desk.errors import (
    DuplicateClientId,
    LikelyRefused,
    OutcomeUnknown,
    VenueRejected,
    VenueUnavailable,
)
from desk.ids import Pair
from desk.trading.orders import (
    Fill,
    Order,
    Side,
    VenueBalance,
    VenueOrder,
    VenueOrderStatus,
    VenuePosition,
)
from tests.dst.mix import CALM, Mix

if TYPE_CHECKING:
    from tests.dst.checks import Witness
    from tests.dst.incarnation import Incarnation
    from tests.dst.loop import VirtualLoop

START_MS = 1_700_000_040_000
RECEIVE_WINDOW_MS = 5_000
PAIRS: tuple[Pair, ...] = ("BTC-USDT", "ETH-USDT")
BASE = {"BTC-USDT": Decimal(40_000), "ETH-USDT": Decimal(2_500)}
TAKER = Decimal("0.0005")
LOT = Decimal("0.0001")
RESTS = (VenueOrderStatus.OPEN, VenueOrderStatus.PARTIAL)


@dataclass(slots=True, eq=False)
class AtVenue:
    """One order as the venue keeps it."""

    client_order_id: str
    venue_order_id: str
    pair: Pair
    side: Side
    quantity: Decimal
    reduce_only: bool
    visible_s: float
    updated_ms: int
    status: VenueOrderStatus = VenueOrderStatus.OPEN
    filled: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    fills: list[tuple[float, Fill]] = field(default_factory=list[tuple[float, Fill]])
    """With the time from which the venue lists them."""
    ended_late: bool = False
    """A fill came after the venue had reported the end."""

    @property
    def rests(self) -> bool:
        return self.status in RESTS

    def report(self) -> VenueOrder:
        return VenueOrder(
            client_order_id=self.client_order_id,
            venue_order_id=self.venue_order_id,
            pair=self.pair,
            side=self.side,
            status=self.status,
            quantity=self.quantity,
            filled_quantity=self.filled,
            average_price=self.cost / self.filled if self.filled else Decimal(0),
            fees=self.fees,
            reduce_only=self.reduce_only,
            updated_ms=self.updated_ms,
            raw_status=self.status.value.upper(),
        )


class Exchange:
    """The truth: orders, fills, positions. Everything that happens here is told to the witness."""

    def __init__(self, loop: "VirtualLoop", rng: Random, mix: Mix) -> None:
        self.loop, self.rng, self.mix = loop, rng, mix
        self.orders: list[AtVenue] = []
        self.positions = dict.fromkeys(PAIRS, Decimal(0))
        self.manual = dict.fromkeys(PAIRS, Decimal(0))
        self.dark_until_s = 0.0
        self.skewed_until_s = 0.0
        self.witness: Witness

    # --- clock and price ------------------------------------------------------------------------

    def now_ms(self) -> int:
        return START_MS + round(self.loop.now_s * 1000)

    def skew_ms(self) -> int:
        """What our picture of the venue's clock is wrong by."""
        if self.mix.is_skewed and self.loop.now_s > self.skewed_until_s:
            return 0
        return self.mix.skew_ms

    def price(self, pair: Pair) -> Decimal:
        """A walk that needs no generator, so that asking for it changes nothing."""
        step = self.now_ms() // 500
        wave = (step * 7 % 41) + (step * 3 % 17) - 28
        return BASE[pair] * (1 + Decimal(wave) / 20_000)

    # --- orders ---------------------------------------------------------------------------------

    def find(self, client_order_id: str) -> AtVenue | None:
        """The newest order under an id."""
        for order in reversed(self.orders):
            if order.client_order_id == client_order_id:
                return order
        return None

    def accept(self, order: Order, signed_ms: int) -> AtVenue:
        """Take an order that arrives now, or raise what the venue would answer."""
        age_ms = self.now_ms() + self.skew_ms() - signed_ms
        if abs(age_ms) > RECEIVE_WINDOW_MS:
            raise OutcomeUnknown("submit", "timestamp")
        if self.mix.venue_refuses_ids_twice and self.find(order.client_order_id):
            raise DuplicateClientId("submit", "duplicate client order id")
        if self.rng.random() < self.mix.refusal:
            raise VenueRejected("submit", "101204", "margin", "insufficient margin")
        if self.rng.random() < self.mix.likely_refusal:
            raise LikelyRefused("submit", "size")
        placed = AtVenue(
            client_order_id=order.client_order_id,
            venue_order_id=f"v{len(self.orders) + 1}",
            pair=order.pair,
            side=order.side,
            quantity=order.quantity,
            reduce_only=order.reduce_only,
            visible_s=self.loop.now_s + self.rng.uniform(0.0, self.mix.visibility_s),
            updated_ms=self.now_ms(),
        )
        self.orders.append(placed)
        self.witness.accepted(placed)
        self._plan(placed)
        return placed

    def _plan(self, order: AtVenue) -> None:
        """What the market does with it: whole, in parts, ended by the venue, or resting for long."""
        first_s, rest_s = self.rng.uniform(0.0, 1.5), self.rng.uniform(2.0, 8.0)
        part = (order.quantity * self.rng.choice((3, 5, 7)) / 10 / LOT).to_integral_value() * LOT
        kind = self.rng.random()
        if self.rng.random() < self.mix.venue_ends_order:
            ended = self.rng.choice(
                (VenueOrderStatus.CANCELLED, VenueOrderStatus.EXPIRED, VenueOrderStatus.REJECTED)
            )
            if kind < 0.5:
                self._later(first_s, lambda: self._fill(order, part))
            self._later(rest_s, lambda: self._end(order, ended))
        elif kind < 0.7:
            self._later(first_s, lambda: self._fill(order, order.quantity))
        elif kind < 0.9:
            self._later(first_s, lambda: self._fill(order, part))
            self._later(rest_s, lambda: self._fill(order, order.quantity))
        else:
            self._later(rest_s * 2, lambda: self._fill(order, order.quantity))

    def _later(self, delay_s: float, work: Callable[[], None]) -> None:
        self.loop.call_later(delay_s, work)

    def _fill(self, order: AtVenue, wanted: Decimal, *, late: bool = False) -> None:
        if not (order.rests or late):
            return
        quantity = min(wanted, order.quantity - order.filled)
        if order.reduce_only:
            against = -self.positions[order.pair] * order.side.sign
            quantity = min(quantity, max(against, Decimal(0)))
            if quantity <= 0:
                self._end(order, VenueOrderStatus.CANCELLED)
                return
        if quantity <= 0:
            return
        price = self.price(order.pair)
        fee = quantity * price * TAKER
        order.filled += quantity
        order.cost += quantity * price
        order.fees += fee
        order.updated_ms = self.now_ms()
        listed_s = self.loop.now_s
        if self.rng.random() < self.mix.late_fill_row:
            listed_s += self.rng.uniform(0.0, 1.5)
        row = Fill(
            fill_id=f"{order.venue_order_id}:{len(order.fills) + 1}",
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            pair=order.pair,
            side=order.side,
            quantity=quantity,
            price=price,
            fee=fee,
            is_maker=False,
            filled_ms=self.now_ms(),
        )
        order.fills.append((listed_s, row))
        self.positions[order.pair] += order.side.sign * quantity
        order.status = (
            VenueOrderStatus.FILLED
            if order.filled == order.quantity
            else VenueOrderStatus.PARTIAL
            if order.rests
            else order.status
        )
        self.witness.filled(order, row)
        if order.reduce_only and order.rests and not self.positions[order.pair]:
            self._end(order, VenueOrderStatus.CANCELLED)

    def _end(self, order: AtVenue, status: VenueOrderStatus) -> None:
        if not order.rests:
            return
        order.status, order.updated_ms = status, self.now_ms()
        self.witness.ended(order)
        if self.rng.random() < self.mix.fill_after_end:
            order.ended_late = True
            self._later(
                self.rng.uniform(0.5, 4.0), lambda: self._fill(order, order.quantity, late=True)
            )

    def cancel(self, client_order_id: str) -> None:
        """Cancel what rests; now and then the market is faster."""
        order = self.find(client_order_id)
        if order is None or not order.rests:
            raise OutcomeUnknown("cancel", "order not found")
        if self.rng.random() < self.mix.fill_after_end:
            self._fill(order, order.quantity)
        self._end(order, VenueOrderStatus.CANCELLED)

    # --- other people ---------------------------------------------------------------------------

    def trade_by_hand(self, pair: Pair, quantity: Decimal) -> None:
        """Somebody else moves the position of the account."""
        self.positions[pair] += quantity
        self.manual[pair] += quantity
        self.witness.note("manual", pair, str(quantity))

    def place_foreign(self, pair: Pair) -> None:
        """Somebody else's order rests on the account."""
        self.orders.append(
            AtVenue(
                client_order_id="someone-else",
                venue_order_id=f"v{len(self.orders) + 1}",
                pair=pair,
                side=Side.BUY,
                quantity=Decimal("0.01"),
                reduce_only=False,
                visible_s=0.0,
                updated_ms=self.now_ms(),
            )
        )

    def heal(self) -> None:
        """Every fault ends; what the market had planned goes on."""
        self.mix = CALM
        self.dark_until_s = 0.0


class Wire:
    """The venue port of one process. What left before the process died still arrives."""

    def __init__(self, exchange: Exchange, incarnation: "Incarnation") -> None:
        self._exchange, self._incarnation = exchange, incarnation
        self._loop = exchange.loop

    async def submit(self, order: Order) -> str:
        exchange = self._exchange
        self._incarnation.point("submit.before")
        exchange.witness.sent(order, self._incarnation)
        mix, rng = exchange.mix, exchange.rng
        if rng.random() < mix.error_before:
            await self._pause(0.01, 0.3)
            raise OutcomeUnknown("submit", "http 503")
        answer: asyncio.Future[str] = self._loop.create_future()
        if not (self._is_dark() or rng.random() < mix.lost_request):
            is_late = rng.random() < mix.late_request
            travel_s = rng.uniform(2.5, 9.5) if is_late else rng.uniform(0.005, 0.08)
            self._loop.call_later(travel_s, self._arrive, order, answer)
        venue_order_id = await answer
        self._incarnation.point("submit.after")
        return venue_order_id

    def _arrive(self, order: Order, answer: "asyncio.Future[str]") -> None:
        exchange = self._exchange
        outcome: str | Exception
        try:
            outcome = exchange.accept(order, order.sent_wall_ms).venue_order_id
        except (OutcomeUnknown, VenueRejected) as refused:
            outcome = refused
        if exchange.rng.random() < exchange.mix.error_after and isinstance(outcome, str):
            outcome = OutcomeUnknown("submit", "unreadable answer")
        if exchange.rng.random() < exchange.mix.lost_reply:
            return
        back_s = exchange.rng.uniform(0.005, 0.08)
        self._loop.call_later(back_s, _answer, answer, outcome)

    async def look_up(self, pair: Pair, client_order_id: str) -> VenueOrder | None:
        def look() -> VenueOrder | None:
            exchange = self._exchange
            found = exchange.find(client_order_id)
            if found is None or found.visible_s > self._loop.now_s:
                return None
            if exchange.rng.random() < exchange.mix.blind_look_up:
                return None
            return found.report()

        return await self._ask("look_up", look)

    async def order_by_id(self, pair: Pair, venue_order_id: str) -> VenueOrder | None:
        def look() -> VenueOrder | None:
            listed = self._visible(pair)
            found = (row for row in listed if row.venue_order_id == venue_order_id)
            return next((row.report() for row in found), None)

        return await self._ask("order_by_id", look)

    async def cancel(self, pair: Pair, client_order_id: str) -> None:
        self._exchange.witness.cancel_sent(client_order_id)
        self._incarnation.point("cancel.before")
        await self._ask("cancel", lambda: self._exchange.cancel(client_order_id))

    async def open_orders(self, pair: Pair | None = None) -> list[VenueOrder]:
        return await self._ask(
            "open_orders",
            lambda: [row.report() for row in self._visible(pair) if row.rests],
        )

    async def orders_between(self, pair: Pair, start_ms: int, end_ms: int) -> list[VenueOrder]:
        def listed() -> list[VenueOrder]:
            return [
                row.report()
                for row in self._visible(pair)
                if row.rests or start_ms <= row.updated_ms < end_ms
            ]

        return await self._ask("orders_between", listed)

    async def fills(self, pair: Pair, order: VenueOrder) -> list[Fill]:
        def listed() -> list[Fill]:
            exchange = self._exchange
            found = next(
                row for row in exchange.orders if row.venue_order_id == order.venue_order_id
            )
            rows = [row for listed_s, row in found.fills if listed_s <= self._loop.now_s]
            if rows and exchange.rng.random() < exchange.mix.duplicate_fill_row:
                rows.append(rows[0])
            return rows

        return await self._ask("fills", listed)

    async def positions(self) -> list[VenuePosition]:
        def held() -> list[VenuePosition]:
            return [
                VenuePosition(
                    pair=pair,
                    quantity=quantity,
                    average_price=self._exchange.price(pair),
                    leverage=1,
                    unrealized_pnl=Decimal(0),
                )
                for pair, quantity in self._exchange.positions.items()
                if quantity
            ]

        return await self._ask("positions", held)

    async def balance(self) -> VenueBalance:
        cash = Decimal(10_000)
        return VenueBalance(asset="USDT", balance=cash, equity=cash, available=cash)

    async def prepare(self, pair: Pair, leverage: int) -> None:
        """One-way mode is all there is."""

    async def close(self) -> None:
        """Nothing is open."""

    # --- the way there and back -----------------------------------------------------------------

    def _visible(self, pair: Pair | None) -> list[AtVenue]:
        return [
            row
            for row in self._exchange.orders
            if row.visible_s <= self._loop.now_s and pair in (None, row.pair)
        ]

    async def _ask[R](self, call: str, answer: Callable[[], R]) -> R:
        exchange = self._exchange
        self._incarnation.point(f"{call}.asked", can_crash=False)
        await self._pause(0.005, 0.05)
        if self._is_dark() or exchange.rng.random() < exchange.mix.read_error:
            await self._pause(0.1, 2.0)
            raise _unclear(call)
        found = answer()
        await self._pause(0.005, 0.05)
        self._incarnation.point(f"{call}.answered", can_crash=False)
        return found

    async def _pause(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self._exchange.rng.uniform(least_s, most_s))

    def _is_dark(self) -> bool:
        return self._loop.now_s < self._exchange.dark_until_s


def _unclear(call: str) -> VenueUnavailable:
    kind = OutcomeUnknown if call == "cancel" else VenueUnavailable
    return kind(call, "no answer")


def _answer(waiting: "asyncio.Future[Any]", outcome: Any) -> None:
    if waiting.done():
        return  # whoever asked has given up
    if isinstance(outcome, Exception):
        waiting.set_exception(outcome)
    else:
        waiting.set_result(outcome)


def is_ours(order: AtVenue) -> bool:
    """Whether one of our processes placed it."""
    return ids.is_ours(order.client_order_id)
