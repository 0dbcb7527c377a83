"""The order desk of the venue: take, find and cancel orders."""

from decimal import Decimal

from bingx_sim.accounts import ZERO, Account, Order
from bingx_sim.checks import check_open_for_trading, check_sizes, read_order
from bingx_sim.errors import Refusal, bad_parameter
from bingx_sim.exchange import Call, Exchange
from bingx_sim.execution import Execution, closable
from bingx_sim.instruments import CONTRACTS

DUPLICATE_WINDOW_MS = 1_000
MAX_OPEN_ORDERS = 200
NOT_FOUND = "order not exist"


class Trading:
    """Orders of one exchange."""

    def __init__(self, exchange: Exchange, execution: Execution) -> None:
        self._exchange = exchange
        self._execution = execution

    def place(self, call: Call) -> Order:
        """Check and accept an order, and execute what crosses at once."""
        account = call.owner
        contract = self._exchange.market(call.text("symbol")).contract
        order = read_order(self._exchange, call, account, contract)
        state = self._exchange.states[order.pair]
        check_open_for_trading(order, state)
        self._check_client_id(account, order, call.now_ms)
        check_sizes(order, contract, state, self._exchange.mark(order.pair, call.now_ms))
        self._check_post_only(order, call.now_ms)
        self._check_reducible(account, order)
        self._check_margin(account, order, call.now_ms)
        for amend in call.amendments:
            amend(order)
        account.remember(order)
        if not order.held:
            self._execute(account, order, call.now_ms)
        return order

    def find(self, call: Call) -> Order:
        """Look an order up by id or client id; one of another pair, or not yet shown, is not found."""
        self._exchange.market(call.text("symbol"))
        order = _lookup(call.owner, call)
        if (
            order is None
            or order.pair != call.text("symbol")
            or call.server_ms < order.visible_from_ms
            or (not call.text("orderId") and call.server_ms < order.blind_until_ms)
        ):
            raise Refusal(109421, NOT_FOUND)
        return order

    def cancel(self, call: Call) -> Order:
        """Cancel an order; a filled one is refused as final, a cancelled one as unknown."""
        order = self.find(call)
        if call.fill_on_cancel == "before" and order.is_open:
            self._fill_rest(call.owner, order, call.now_ms)
        if not order.is_open:
            if order.status == "FILLED":
                raise Refusal(80018, "order is already filled")
            raise Refusal(80016, NOT_FOUND)
        self._execution.end(call.owner, order, "CANCELLED", call.now_ms)
        return order

    def fill_after_cancel(self, call: Call, order: Order) -> None:
        """The match that raced a cancel: the answer said cancelled, the order is filled."""
        call.owner.reopen(order)
        self._fill_rest(call.owner, order, call.now_ms)

    def fill_now(self, account: Account, order: Order, quantity: Decimal, now_ms: int) -> None:
        """Fill an order, also one that has ended: the venue's books have the last word."""
        if not order.is_open:
            account.reopen(order)
        price = order.price or self._exchange.mark(order.pair, now_ms)
        self._execution.fill(
            account, order, min(quantity, order.remaining), price, now_ms, maker=bool(order.price)
        )

    def cancel_all(
        self, account: Account, pair: str | None, type_: str, now_ms: int
    ) -> list[Order]:
        """Cancel resting orders, protection included."""
        gone = [order for order in account.open_orders(pair) if not type_ or order.type == type_]
        for order in gone:
            self._execution.end(account, order, "CANCELLED", now_ms)
        return gone

    def close_all(self, account: Account, pair: str | None, now_ms: int) -> list[Order]:
        """Close positions by market orders of the venue's own making."""
        made: list[Order] = []
        for held, position in tuple(account.positions.items()):
            if pair is None or held == pair:
                order = self._execution.closing_order(position, now_ms)
                account.remember(order)
                self._execution.market(account, order, order.quantity, now_ms)
                made.append(order)
        return made

    def _fill_rest(self, account: Account, order: Order, now_ms: int) -> None:
        price = order.price or self._exchange.mark(order.pair, now_ms)
        self._execution.fill(account, order, order.remaining, price, now_ms, maker=True)

    def _check_client_id(self, account: Account, order: Order, now_ms: int) -> None:
        twin_id = account.client_ids.get(order.client_id) if order.client_id else None
        if twin_id is None:
            return
        if now_ms - account.orders[twin_id].created_ms <= DUPLICATE_WINDOW_MS:
            text = "The same order number is only allowed to be submitted once within 1 second."
            raise Refusal(109201, text)
        raise Refusal(101481, "The clientOrderID has already been used")

    def _check_post_only(self, order: Order, now_ms: int) -> None:
        if order.time_in_force != "PostOnly" or order.type != "LIMIT":
            return
        if self._execution.is_marketable(order, now_ms):
            text = "Post Only order would be filled immediately and was not placed"
            raise Refusal(101215, text)

    def _check_reducible(self, account: Account, order: Order) -> None:
        if not order.reduce_only:
            return
        can_close = closable(account, order)
        if can_close <= 0:
            raise Refusal(101205, "No position to close")
        if order.quantity > can_close:
            text = "Reduce Only order quantity exceeds the position that can be closed"
            raise Refusal(101290, text)

    def _check_margin(self, account: Account, order: Order, now_ms: int) -> None:
        """Freeze the margin of what the order opens, or refuse it."""
        if len(account.open_ids) >= MAX_OPEN_ORDERS:
            raise Refusal(101414, "The maximum number of open orders is reached")
        if order.reduce_only:
            return
        position = account.positions.get(order.pair)
        closing = min(order.quantity, closable(account, order))
        released = ZERO
        if position is not None and closing:
            released = position.margin * closing / abs(position.quantity)
        price = order.price or order.stop_price
        if not price:
            price = self._execution.taker_price(order.pair, order.side, order.quantity, now_ms)
        notional = (order.quantity - closing) * price
        margin = notional / order.leverage
        available = account.available(self._exchange.marks(now_ms, account)) + released
        if margin + notional * CONTRACTS[order.pair].taker_fee > available:
            raise Refusal(101204, "Insufficient margin")
        if order.type != "MARKET":
            order.frozen_margin = margin

    def _execute(self, account: Account, order: Order, now_ms: int) -> None:
        if order.trigger_above is not None:
            return
        if order.type == "MARKET":
            self._execution.market(account, order, order.quantity, now_ms)
            return
        self._execution.limit(account, order, now_ms)
        if order.is_open and order.time_in_force in {"IOC", "FOK"}:
            status = "EXPIRED" if order.time_in_force == "FOK" else "CANCELLED"
            self._execution.end(account, order, status, now_ms)


def _lookup(account: Account, call: Call) -> Order | None:
    raw = call.text("orderId")
    client_id = (call.text("clientOrderId") or call.text("clientOrderID")).lower()
    if raw:
        if not (raw.isascii() and raw.isdigit()):
            text = f"Invalid parameters, err:orderId: must be an integer, was {raw}"
            raise bad_parameter(text)
        return account.orders.get(int(raw))
    if client_id:
        order_id = account.client_ids.get(client_id)
        return None if order_id is None else account.orders[order_id]
    raise bad_parameter("Invalid parameters, err:orderId or clientOrderId is required")
