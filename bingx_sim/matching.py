"""Carry the market forward: limits and triggers on the price path, liquidation, funding.

What happens between two calls depends only on the path, never on how often somebody asks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from bingx_sim.accounts import Account, Order
from bingx_sim.clock import MINUTE_MS
from bingx_sim.exchange import Exchange
from bingx_sim.execution import CENTS, Execution
from bingx_sim.instruments import CONTRACTS, Contract
from bingx_sim.sources import funding_rate, next_funding_ms

LIMIT_AFTER_TRIGGER = frozenset({"STOP", "TAKE_PROFIT", "TRIGGER_LIMIT"})


@dataclass(frozen=True, slots=True)
class Watch:
    """Something that happens when the price reaches `level` ticks from above or from below."""

    account: Account
    pair: str
    level: float
    falling: bool
    order: Order | None
    """None: the position of the account in the pair is liquidated."""


@dataclass(frozen=True, slots=True)
class Due:
    """A planned step of an order whose time has come."""

    account: Account
    order: Order


type Event = tuple[int, Watch | Due]


class Engine:
    """Match everything on one exchange."""

    def __init__(self, exchange: Exchange, execution: Execution) -> None:
        self._exchange = exchange
        self._execution = execution

    def advance(self, now_ms: int) -> None:
        """Carry out all that happened up to and including market time `now_ms`."""
        exchange = self._exchange
        while True:
            horizon = min(now_ms, next_funding_ms(exchange.settled_ms))
            found = self._first_event(exchange.settled_ms, horizon)
            if found is not None:
                exchange.settled_ms = found[0]
                self._happen(found[1], found[0])
                continue
            if exchange.settled_ms >= now_ms:
                return
            exchange.settled_ms = horizon
            if horizon == next_funding_ms(horizon - 1):
                self._pay_funding(horizon)

    def trigger(self, account: Account, order: Order, at_ms: int) -> None:
        """The stop price of an order was reached: it is now a market or a limit order."""
        order.trigger_above = None
        order.updated_ms = at_ms
        if order.type in LIMIT_AFTER_TRIGGER:
            self._execution.limit(account, order, at_ms)
        else:
            self._execution.market(account, order, order.remaining, at_ms)

    def _first_event(self, from_ms: int, to_ms: int) -> Event | None:
        best = self._first_due(to_ms)
        for pair in self._exchange.markets:
            watches = list(self._watches(pair))
            if watches:
                until_ms = to_ms if best is None else min(best[0], to_ms)
                found = self._first_in_pair(pair, watches, from_ms, until_ms)
                if found is not None and (best is None or found[0] < best[0]):
                    best = found
        if best is None:
            return None
        return max(best[0], from_ms), best[1]

    def _first_due(self, to_ms: int) -> Event | None:
        best: Event | None = None
        for account in self._exchange.accounts.values():
            for order in account.open_orders():
                if order.plan and order.plan[0].at_ms <= to_ms:
                    at_ms = order.plan[0].at_ms
                    if best is None or at_ms < best[0]:
                        best = at_ms, Due(account, order)
        return best

    def _watches(self, pair: str) -> Iterator[Watch]:
        contract = CONTRACTS[pair]
        for account in self._exchange.accounts.values():
            for order in account.open_orders(pair):
                yield from _order_watch(account, order, contract)
            if pair in account.positions:
                marks = self._exchange.marks(self._exchange.settled_ms, account)
                price = account.liquidation_price(pair, marks)
                if price is not None:
                    falling = account.positions[pair].quantity > 0
                    yield Watch(account, pair, float(price / contract.tick), falling, None)

    def _first_in_pair(
        self, pair: str, watches: list[Watch], from_ms: int, to_ms: int
    ) -> Event | None:
        market = self._exchange.markets[pair]
        falling = max((w.level for w in watches if w.falling), default=float("-inf"))
        rising = min((w.level for w in watches if not w.falling), default=float("inf"))
        for minute in range(from_ms // MINUTE_MS, to_ms // MINUTE_MS + 1):
            low, high = market.extremes(minute)
            if low > falling and high < rising:
                continue
            path = market.path(minute)
            offset = max(from_ms - minute * MINUTE_MS, 0)
            hits: list[tuple[int, Watch]] = []
            for watch in watches:
                first = path.first_at_or_below if watch.falling else path.first_at_or_above
                hit = first(watch.level, offset)
                if hit is not None and hit < MINUTE_MS and minute * MINUTE_MS + hit <= to_ms:
                    hits.append((minute * MINUTE_MS + hit, watch))
            if hits:
                return min(hits, key=lambda hit: hit[0])
        return None

    def _happen(self, event: Watch | Due, at_ms: int) -> None:
        if isinstance(event, Due):
            self._carry_out(event.account, event.order, at_ms)
        elif event.order is None:
            self._execution.force_close(event.account, event.pair, at_ms, kind="LIQUIDATION")
        elif event.order.trigger_above is not None:
            self.trigger(event.account, event.order, at_ms)
        else:
            order = event.order
            self._execution.fill(
                event.account, order, order.remaining, order.price, at_ms, maker=True
            )

    def _carry_out(self, account: Account, order: Order, at_ms: int) -> None:
        """The next planned step of an order: a part is filled, or the order ends."""
        step = order.plan.pop(0)
        if step.status:
            self._execution.end(account, order, step.status, at_ms)
            return
        quantity = min(step.quantity, order.remaining)
        if order.price > 0:
            self._execution.fill(account, order, quantity, order.price, at_ms, maker=True)
        else:
            self._execution.market(account, order, quantity, at_ms)

    def _pay_funding(self, at_ms: int) -> None:
        for account in self._exchange.accounts.values():
            for pair, position in tuple(account.positions.items()):
                rate = funding_rate(pair, seed=self._exchange.seed, settlement_ms=at_ms)
                mark = self._exchange.mark(pair, at_ms)
                amount = (-position.quantity * mark * Decimal(str(rate))).quantize(CENTS)
                self._execution.book(account, pair, "FUNDING_FEE", amount, at_ms)


def _order_watch(account: Account, order: Order, contract: Contract) -> Iterator[Watch]:
    if order.held:
        return
    if order.trigger_above is not None:
        level = float(order.stop_price / contract.tick)
        yield Watch(account, order.pair, level, not order.trigger_above, order)
    elif order.price > 0:
        half = order.sign * contract.half_spread_ticks
        level = float(order.price / contract.tick) - half
        yield Watch(account, order.pair, level, order.sign > 0, order)
