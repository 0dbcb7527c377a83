"""What a fill does to an account: position, cash, fees, incomes, attached protection."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal

from bingx_sim.accounts import ZERO, Account, Fill, Income, Order, Position
from bingx_sim.exchange import Exchange
from bingx_sim.instruments import CONTRACTS, Contract

CENTS = Decimal("0.00000001")
BASIS_POINT = Decimal("0.0001")


class Execution:
    """Execute orders of one exchange at given prices."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def market(self, account: Account, order: Order, quantity: Decimal, at_ms: int) -> None:
        """Fill at the far side of the book, deeper for larger orders."""
        price = self.taker_price(order.pair, order.side, quantity, at_ms)
        self.fill(account, order, quantity, price, at_ms, maker=False)

    def limit(self, account: Account, order: Order, at_ms: int) -> None:
        """Take what a limit order crosses; what does not cross rests."""
        if self.is_marketable(order, at_ms):
            price = self.taker_price(order.pair, order.side, order.remaining, at_ms)
            bounded = min(price, order.price) if order.sign > 0 else max(price, order.price)
            self.fill(account, order, order.remaining, bounded, at_ms, maker=False)

    def is_marketable(self, order: Order, at_ms: int) -> bool:
        contract = CONTRACTS[order.pair]
        middle = self._exchange.mark(order.pair, at_ms)
        touch = middle + order.sign * contract.half_spread_ticks * contract.tick
        return (order.price - touch) * order.sign >= 0

    def taker_price(self, pair: str, side: str, quantity: Decimal, at_ms: int) -> Decimal:
        """Average price of a taker: half the spread and the depth it eats, against the trader."""
        contract = CONTRACTS[pair]
        middle = self._exchange.mark(pair, at_ms)
        sign = 1 if side == "BUY" else -1
        impact = middle * BASIS_POINT * (quantity * middle / contract.depth_notional)
        raw = middle + sign * (contract.half_spread_ticks * contract.tick + impact)
        rounding = ROUND_CEILING if sign > 0 else ROUND_FLOOR
        return max(contract.tick, raw.quantize(contract.tick, rounding=rounding))

    def fill(
        self,
        account: Account,
        order: Order,
        quantity: Decimal,
        price: Decimal,
        at_ms: int,
        *,
        maker: bool,
    ) -> None:
        """Execute part of an order. A reduce-only order never does more than close."""
        if order.reduce_only:
            quantity = min(quantity, closable(account, order))
            if quantity <= 0:
                self.end(account, order, "CANCELLED", at_ms)
                return
        fee = _fee(CONTRACTS[order.pair], quantity * price, maker=maker)
        realised = self._move_position(account, order, order.sign * quantity, price, at_ms)
        order.frozen_margin -= order.frozen_margin * quantity / order.remaining
        order.executed += quantity
        order.quote += quantity * price
        order.commission -= fee
        order.profit += realised
        order.updated_ms = at_ms
        fill = Fill(
            trade_id=self._exchange.mint(at_ms),
            order_id=order.order_id,
            client_id=order.client_id,
            pair=order.pair,
            side=order.side,
            order_type=order.type,
            price=price,
            quantity=quantity,
            fee=fee,
            maker=maker,
            realised=realised,
            reduce_only=order.reduce_only,
            at_ms=at_ms,
        )
        account.keep_fill(fill)
        trade_id = str(fill.trade_id)
        self.book(account, order.pair, "TRADING_FEE", -fee, at_ms, trade_id=trade_id)
        if realised:
            self.book(account, order.pair, "REALIZED_PNL", realised, at_ms, trade_id=trade_id)
        if order.remaining <= 0:
            self.end(account, order, "FILLED", at_ms)
        else:
            order.status = "PARTIALLY_FILLED"
        self._drop_orphans(account, order.pair, at_ms)

    def end(self, account: Account, order: Order, status: str, at_ms: int) -> None:
        """End an order; protection that came with it covers what was executed."""
        account.finish(order, status, at_ms)
        if order.executed > 0 and not order.reduce_only:
            self._attach(account, order, at_ms)

    def book(
        self,
        account: Account,
        pair: str,
        kind: str,
        amount: Decimal,
        at_ms: int,
        *,
        trade_id: str = "",
    ) -> None:
        """Move cash and keep the income row."""
        account.book(
            Income(
                pair=pair,
                kind=kind,
                amount=amount,
                at_ms=at_ms,
                transaction_id=self._exchange.mint(at_ms),
                trade_id=trade_id,
                info=INCOME_TEXTS.get(kind, kind),
            )
        )

    def force_close(self, account: Account, pair: str, at_ms: int, *, kind: str) -> Order:
        """Close a position by the venue's hand, LIQUIDATION or ADL.

        A liquidated isolated position loses exactly its margin: the insurance fund takes what is
        left of it and pays what a gap cost beyond it. It also covers cash below zero.
        """
        position = account.positions[pair]
        margin, isolated = position.margin, position.isolated
        for resting in account.open_orders(pair):
            account.finish(resting, "CANCELLED", at_ms)
        order = self.closing_order(position, at_ms)
        order.forced = kind
        account.remember(order)
        mark = self._exchange.mark(pair, at_ms)
        self.fill(account, order, order.quantity, mark, at_ms, maker=False)
        if kind == "LIQUIDATION":
            left = margin + order.profit + order.commission
            settled = -left if isolated else max(ZERO, -account.balance)
            if settled:
                self.book(account, pair, "INSURANCE_CLEAR", settled, at_ms)
        return order

    def closing_order(self, position: Position, at_ms: int) -> Order:
        """A market order of the venue's own making that closes a position."""
        return Order(
            order_id=self._exchange.mint(at_ms),
            pair=position.pair,
            side="SELL" if position.quantity > 0 else "BUY",
            type="MARKET",
            quantity=abs(position.quantity),
            reduce_only=True,
            leverage=position.leverage,
            created_ms=at_ms,
            updated_ms=at_ms,
        )

    def _move_position(
        self, account: Account, order: Order, change: Decimal, price: Decimal, at_ms: int
    ) -> Decimal:
        """Apply a signed trade to the position and return the profit it realised."""
        position = account.positions.get(order.pair)
        realised = ZERO
        if position is not None and position.quantity * change < 0:
            closed = min(abs(change), abs(position.quantity))
            realised = _reduce(position, closed, price, at_ms)
            account.realised += realised
            change -= closed if change > 0 else -closed
            if position.quantity == 0:
                del account.positions[order.pair]
                position = None
        if change != 0:
            self._extend(account, position, order.pair, change=change, price=price, at_ms=at_ms)
        return realised

    def _extend(
        self,
        account: Account,
        position: Position | None,
        pair: str,
        *,
        change: Decimal,
        price: Decimal,
        at_ms: int,
    ) -> None:
        settings = account.settings_of(pair)
        margin = _cents(abs(change) * price / settings.leverage)
        if position is None:
            account.positions[pair] = Position(
                position_id=self._exchange.mint(at_ms),
                pair=pair,
                quantity=change,
                average=price,
                leverage=settings.leverage,
                isolated=settings.margin_type == "ISOLATED",
                margin=margin,
                created_ms=at_ms,
                updated_ms=at_ms,
            )
            return
        total = position.quantity + change
        position.average = (position.average * position.quantity + price * change) / total
        position.quantity = total
        position.margin += margin
        position.updated_ms = at_ms

    def _attach(self, account: Account, parent: Order, at_ms: int) -> None:
        """Place the stop loss and take profit that came with an entry."""
        for protection, above in (
            (parent.stop_loss, parent.side == "SELL"),
            (parent.take_profit, parent.side == "BUY"),
        ):
            if protection is None or parent.pair not in account.positions:
                continue
            wanted = Decimal(protection.get("quantity") or parent.executed)
            account.remember(
                Order(
                    order_id=self._exchange.mint(at_ms),
                    pair=parent.pair,
                    side="SELL" if parent.side == "BUY" else "BUY",
                    type=protection["type"],
                    quantity=min(wanted, parent.executed),
                    price=Decimal(protection.get("price") or 0),
                    stop_price=Decimal(protection["stopPrice"]),
                    working_type=protection.get("workingType") or "MARK_PRICE",
                    reduce_only=True,
                    trigger_above=above,
                    trigger_order_id=parent.order_id,
                    leverage=parent.leverage,
                    created_ms=at_ms,
                    updated_ms=at_ms,
                )
            )

    def _drop_orphans(self, account: Account, pair: str, at_ms: int) -> None:
        """Cancel reduce-only orders that have nothing left to reduce."""
        for order in account.open_orders(pair):
            if order.reduce_only and closable(account, order) <= 0:
                account.finish(order, "CANCELLED", at_ms)


INCOME_TEXTS = {
    "TRADING_FEE": "Trading Fee",
    "REALIZED_PNL": "Realized PnL",
    "FUNDING_FEE": "Funding Fee",
    "INSURANCE_CLEAR": "Insurance Clear",
    "TRANSFER": "Transfer",
}


def closable(account: Account, order: Order) -> Decimal:
    """Coins of the position that an order of this side can close."""
    position = account.positions.get(order.pair)
    if position is None or position.quantity * order.sign >= 0:
        return ZERO
    return abs(position.quantity)


def _reduce(position: Position, closed: Decimal, price: Decimal, at_ms: int) -> Decimal:
    direction = 1 if position.quantity > 0 else -1
    realised = _cents((price - position.average) * closed * direction)
    position.margin -= position.margin * closed / abs(position.quantity)
    position.quantity -= direction * closed
    position.realised += realised
    position.updated_ms = at_ms
    return realised


def _fee(contract: Contract, notional: Decimal, *, maker: bool) -> Decimal:
    return _cents(notional * (contract.maker_fee if maker else contract.taker_fee))


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENTS, rounding=ROUND_HALF_UP)
