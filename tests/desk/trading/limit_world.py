"""A desk of pure rules whose steps interleave, and a second opinion on what it may hold.

A decision reads, and commits some steps later: in between come fills, marks, edits of limits and
restarts. It commits on what it read only where nothing moved, as the store makes it; a decision that
finds something moved reads again. `is_careless` leaves that out, to see that the judge is no dummy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random

from desk.clock import MINUTE_MS
from desk.ids import Pair
from desk.store.codec import from_json, to_json
from desk.trading import breaker as breakers
from desk.trading import intents, risk
from desk.trading import ledger as books
from desk.trading.breaker import Breaker
from desk.trading.intents import OrderIntent
from desk.trading.ledger import Ledger
from desk.trading.limits import AccountPolicy, RiskLimitSet, default_limits, default_live_policy
from desk.trading.orders import Leg, Order, OrderState, Side
from desk.trading.risk import Approved
from tests.desk.trading.builders import NOW, a_fill, an_intent

PAIRS: tuple[Pair, ...] = ("BTC-USDT", "ETH-USDT", "PAXG-USDT")
CASH = Decimal(10_000)
LOT = Decimal("0.1")
MOST_OPEN = 5
SLACK = Decimal("1.000001")
STEPS = (
    *("decide", "decide", "decide", "commit", "commit", "commit", "commit", "fill", "fill"),
    *("mark", "mark", "cancel", "edit", "guard", "restart"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a decision saw."""

    intent: OrderIntent
    ledger: Ledger
    orders: tuple[Order, ...]
    limits: RiskLimitSet
    policy: AccountPolicy
    breaker: Breaker
    revision: int


class LimitWorld:
    """One schedule; `breaches` says what must never happen."""

    def __init__(self, seed: int, *, is_careless: bool = False) -> None:
        self.rng, self.is_careless = Random(f"limits:{seed}"), is_careless
        self.now_ms = NOW
        self.prices = dict.fromkeys(PAIRS, Decimal(100))
        self.ledger = replace(books.open_ledger("live", CASH, now_ms=NOW), version=1)
        self.ledger = books.mark(self.ledger, self.prices, NOW)
        self.limits, self.policy = default_limits(), default_live_policy()
        self.breaker = Breaker(account="live")
        self.revision = 0
        """Of limits and guardrails together."""
        self.orders: list[Order] = []
        self.pending: list[Read] = []
        self.reaches: dict[Pair, tuple[Decimal, Decimal]] = {}
        self.breaches: list[str] = []
        self.approved = self.refused = self.read_again = self.numbers = 0

    def run(self, steps: int) -> None:
        for _ in range(steps):
            getattr(self, f"_{self.rng.choice(STEPS)}")()

    # --- steps ----------------------------------------------------------------------------------

    def _decide(self) -> None:
        pair, side = self.rng.choice(PAIRS), self.rng.choice(tuple(Side))
        quantity, held = self.rng.randint(1, 60) * LOT, books.held_quantity(self.ledger, pair)
        reduce_only = bool(held) and self.rng.random() < 0.3
        if reduce_only:
            side, quantity = Side.of(-held), min(quantity, abs(held))
        self.numbers += 1
        intent = an_intent(
            side.sign * quantity,
            account="live",
            pair=pair,
            decision_id=f"d{self.numbers}",
            reduce_only=reduce_only,
            leg=Leg.EXIT if reduce_only else Leg.ENTRY,
            reference_price=self.prices[pair],
        )
        self.pending.append(self._read(intent))

    def _read(self, intent: OrderIntent) -> Read:
        return Read(
            intent=replace(intent, reference_price=self.prices[intent.pair]),
            ledger=self.ledger,
            orders=tuple(self.orders),
            limits=self.limits,
            policy=self.policy,
            breaker=self.breaker,
            revision=self.revision,
        )

    def _commit(self) -> None:
        if not self.pending or len(self.orders) >= MOST_OPEN:
            return
        read = self.pending.pop(self.rng.randrange(len(self.pending)))
        has_moved = (read.ledger.version, read.revision) != (self.ledger.version, self.revision)
        if has_moved and not self.is_careless:
            self.read_again += 1
            read = self._read(read.intent)
        intent = read.intent
        verdict = risk.check(
            intent,
            ledger=read.ledger,
            open_orders=read.orders,
            limits=read.limits,
            policy=read.policy,
            breaker=breakers.observe(
                read.breaker, ledger=read.ledger, policy=read.policy, now_ms=self.now_ms
            ),
            price=intent.reference_price,
            leverage=Decimal(1),
            now_ms=self.now_ms,
        )
        if not isinstance(verdict, Approved):
            self.refused += 1
            if intent.reduce_only:
                self.breaches.append(f"an exit was refused by {verdict.limit}")
            return
        self.approved += 1
        order = intents.order_of(
            intent,
            position=self.ledger.positions.get(intent.pair),
            reserved_quote=risk.reservation(intent, price=intent.reference_price),
            now_ms=self.now_ms,
        )
        self.orders.append(replace(order, state=OrderState.OPEN))
        self._moved(self.ledger)
        if not intent.reduce_only:
            self._judge(intent)
        self._widen(intent.pair)

    def _fill(self) -> None:
        if not self.orders:
            return
        at = self.rng.randrange(len(self.orders))
        order, left = self.orders[at], self.orders[at].remaining_quantity
        if order.reduce_only:
            held = books.held_quantity(self.ledger, order.pair)
            left = min(left, max(-held * order.side.sign, Decimal(0)))
        lots = int(left / LOT)
        part = left if lots < 1 or self.rng.random() < 0.5 else self.rng.randint(1, lots) * LOT
        if part <= 0:
            del self.orders[at]  # nothing left to reduce: the venue ends it
            return
        self.numbers += 1
        fill = a_fill(
            f"f{self.numbers}", part, self.prices[order.pair], order=order, filled_ms=self.now_ms
        )
        ledger, _ = books.book_fill(self.ledger, fill, order=order)
        self._moved(ledger)
        filled = order.filled_quantity + part
        if filled == order.quantity:
            del self.orders[at]
        else:
            self.orders[at] = replace(order, filled_quantity=filled, state=OrderState.PARTIAL)
        self._watch()
        self._judge_held(order.pair)

    def _cancel(self) -> None:
        if self.orders:
            del self.orders[self.rng.randrange(len(self.orders))]

    def _mark(self) -> None:
        pair = self.rng.choice(PAIRS)
        most = 250 if self.rng.random() < 0.3 else 30
        moved = self.prices[pair] * Decimal(1000 + self.rng.randint(-most, most)) / 1000
        self.prices[pair] = moved.quantize(Decimal("0.01"))
        self.now_ms += self.rng.choice((1, 5, 60, 600)) * MINUTE_MS
        self._moved(books.mark(self.ledger, self.prices, self.now_ms))
        self._watch()

    def _edit(self) -> None:
        def some(value: Decimal) -> Decimal:
            return value * Decimal(self.rng.randint(30, 250)) / 100

        fresh = default_limits()
        self.limits = replace(
            fresh,
            max_position_size=some(fresh.max_position_size),
            max_daily_loss=some(fresh.max_daily_loss / 5),
            max_drawdown=some(fresh.max_drawdown / 5),
            max_open_positions=self.rng.randint(1, 4),
        )
        self.revision += 1

    def _guard(self) -> None:
        def some(value: Decimal) -> Decimal:
            return value * Decimal(self.rng.randint(50, 300)) / 100

        fresh = default_live_policy()
        self.policy = replace(
            fresh,
            max_total_exposure=some(fresh.max_total_exposure),
            max_instrument_exposure=some(fresh.max_instrument_exposure),
            max_daily_loss=some(fresh.max_daily_loss),
            max_drawdown=some(fresh.max_drawdown),
            max_open_positions=self.rng.randint(1, 4),
            circuit_breaker_loss=some(fresh.circuit_breaker_loss),
        )
        self.revision += 1
        self._watch()

    def _restart(self) -> None:
        """Everything in memory is gone; the rest comes back as it was stored."""
        self.pending.clear()
        self.ledger = from_json(Ledger, to_json(Ledger, self.ledger))
        self.breaker = from_json(Breaker, to_json(Breaker, self.breaker))
        self.orders = [from_json(Order, to_json(Order, order)) for order in self.orders]

    def _moved(self, ledger: Ledger) -> None:
        self.ledger = replace(ledger, version=self.ledger.version + 1)

    def _watch(self) -> None:
        self.breaker = breakers.observe(
            self.breaker, ledger=self.ledger, policy=self.policy, now_ms=self.now_ms
        )

    # --- the second opinion ---------------------------------------------------------------------

    def _judge(self, intent: OrderIntent) -> None:
        """An entry was created just now: nothing may be beyond a limit, however the orders fill."""
        equity = self.ledger.cash + sum(
            held.quantity * (self.prices[pair] - held.average_price)
            for pair, held in self.ledger.positions.items()
        )
        notionals: dict[Pair, Decimal] = {}
        for pair in PAIRS:
            low, high = self._extremes(pair)
            worst = max(-low, high)
            if pair == intent.pair:
                worst = high if intent.side is Side.BUY else -low
            notionals[pair] = max(worst, Decimal(0)) * self.prices[pair]
        mine, count = notionals[intent.pair], sum(one > 0 for one in notionals.values())
        limits, policy = self.limits, self.policy
        day_start, peak = self.ledger.day_start_equity, self.ledger.peak_equity
        held_to = {
            "max_position_size": mine <= limits.max_position_size * SLACK,
            "max_instrument_exposure": mine <= policy.max_instrument_exposure * equity * SLACK,
            "max_total_exposure": sum(notionals.values())
            <= policy.max_total_exposure * equity * SLACK,
            "max_open_positions": count
            <= min(limits.max_open_positions, policy.max_open_positions),
            "max_daily_loss": day_start - equity
            < min(limits.max_daily_loss, policy.max_daily_loss * day_start),
            "max_drawdown": peak - equity < min(limits.max_drawdown, policy.max_drawdown) * peak,
            "circuit_breaker": not breakers.is_cooling(self.breaker, self.now_ms),
        }
        self.breaches += [
            f"{limit} was passed" for limit, is_kept in held_to.items() if not is_kept
        ]

    def _judge_held(self, pair: Pair) -> None:
        low, high = self.reaches[pair]
        held = books.held_quantity(self.ledger, pair)
        if not low <= held <= high:
            self.breaches.append(f"{pair} holds {held}, approved was {low} to {high}")

    def _widen(self, pair: Pair) -> None:
        self.reaches[pair] = self._extremes(pair)

    def _extremes(self, pair: Pair) -> tuple[Decimal, Decimal]:
        """Least and most that may come to be held: every order of fills is tried."""
        held = books.held_quantity(self.ledger, pair)
        mine = [order for order in self.orders if order.pair == pair]
        seen = _ways(held, mine)
        return min(seen), max(seen)


def _ways(held: Decimal, orders: Sequence[Order]) -> set[Decimal]:
    found = {held}
    for at, order in enumerate(orders):
        quantity = order.remaining_quantity
        if order.reduce_only:
            quantity = min(quantity, max(-held * order.side.sign, Decimal(0)))
        rest = [*orders[:at], *orders[at + 1 :]]
        found |= _ways(held + order.side.sign * quantity, rest)
    return found
