"""Writers whose server is killed under them, and what must be found when it is back.

Each writer has an account of its own and walks orders through their life by the money calls of the
store. It remembers what was acknowledged and which one call was left in doubt.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

from desk.errors import StoreUnavailable
from desk.store.port import Event, Fence, Stream
from desk.store.valkey import ValkeyStore
from desk.trading import ledger as books
from desk.trading.ledger import Adjustment, Ledger
from desk.trading.orders import Fill, Leg, Order, OrderState, Side

WARM_UP = 12
"""Acknowledged calls before a server may be killed under a writer."""
PAUSE_S = 0.1
"""Between two tries of a call whose outcome is unknown, as in the actors."""
PATIENCE_S = 60.0
START = Decimal(10_000)
FEE = Decimal("0.15")


@dataclass
class Acknowledged:
    """What the store has said yes to, of one account."""

    versions: dict[str, int] = field(default_factory=dict[str, int])
    """Client order id → version of its row."""
    fills: set[str] = field(default_factory=set[str])
    adjustments: set[str] = field(default_factory=set[str])
    ledger_version: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One call. Repeating it under its request id must have no second effect."""

    subject: str
    """The client order id, or the adjustment id, that it is about."""
    call: Callable[[ValkeyStore], Order | Ledger]


class Writer(threading.Thread):
    """Writes until the store is gone; an insistent one then repeats its last call until it is back."""

    def __init__(self, url: str, account: str, *, insists: bool = False) -> None:
        super().__init__(daemon=True)
        self.account = account
        self.insists = insists
        self.seen = Acknowledged()
        self.doubt: Step | None = None
        self.busy = threading.Event()
        self.again_s = 0.0
        """When the repeated call was acknowledged, by the monotonic clock."""
        self.failure: BaseException | None = None
        self._store = ValkeyStore(url)
        self._fence = Fence(role="", epoch=0)
        self._ledger = Ledger(account=account, starting_cash=START, cash=START)
        self._orders: dict[str, Order] = {}

    def run(self) -> None:
        try:
            self._fence = self._store.acquire_lease(self.account, "writer", 60_000)
            event = self._event(self.account, "opened")
            self._keep(
                self._store.create_ledger(self._ledger, fence=self._fence, event=event),
                self.account,
            )
            for done, step in enumerate(self._steps()):
                try:
                    self._keep(step.call(self._store), step.subject)
                except StoreUnavailable:
                    self.doubt = step
                    break
                if done == WARM_UP:
                    self.busy.set()
            if self.insists:
                self.settle()
        except BaseException as failure:  # noqa: BLE001 - handed to the test by `ended`
            self.failure = failure
        finally:
            self._store.close()

    def ended(self) -> None:
        """Wait for the thread and raise what it raised."""
        self.join(PATIENCE_S * 2)
        assert not self.is_alive()
        if self.failure is not None:
            raise self.failure

    def settle(self) -> None:
        """Repeat the call in doubt until it is acknowledged; it has its effect once."""
        until_s = time.monotonic() + PATIENCE_S
        while self.doubt is not None:
            try:
                answer = self.doubt.call(self._store)
            except StoreUnavailable:
                if time.monotonic() > until_s:
                    raise
                threading.Event().wait(PAUSE_S)
                continue
            self.again_s = time.monotonic()
            self._keep(answer, self.doubt.subject)
            self.doubt = None
        self._store.close()

    def _steps(self) -> Iterator[Step]:
        """Filled, cancelled and open orders in turn; an adjustment now and then."""
        for number in range(1_000_000):
            cid = f"{self.account}-{number}"
            yield self._create(cid)
            yield self._move(cid, OrderState.SENDING)
            yield self._move(cid, OrderState.OPEN)
            if number % 3 == 0:
                yield self._fill(cid)
            if number % 3 == 1:
                yield self._move(cid, OrderState.CANCELLED)
            if number % 5 == 0:
                yield self._adjust(f"{self.account}+{number}")

    def _create(self, cid: str) -> Step:
        order, ledger = an_order(self.account, cid), self._ledger
        return Step(
            cid,
            lambda store: store.create_order(
                order,
                ledger,
                fence=self._fence,
                request_id=f"{cid} intent",
                event=self._event(cid, "intent"),
            ),
        )

    def _move(self, cid: str, state: OrderState) -> Step:
        before = self._orders[cid]
        return Step(
            cid,
            lambda store: store.move_order(
                before,
                replace(before, state=state),
                fence=self._fence,
                request_id=f"{cid} {state}",
                event=self._event(cid, state.value),
            ),
        )

    def _fill(self, cid: str) -> Step:
        before, ledger = self._orders[cid], self._ledger
        fill = a_fill(before)
        booked, _ = books.book_fill(ledger, fill, order=before)
        after = replace(before, state=OrderState.FILLED, filled_quantity=fill.quantity)

        def call(store: ValkeyStore) -> Order:
            answer = store.apply_fill(
                fill,
                before,
                after,
                ledger,
                booked,
                fence=self._fence,
                request_id=f"{cid} fill",
                event=self._event(cid, "filled"),
            )
            assert answer is not None
            order, self._ledger = answer
            self.seen.fills.add(fill.fill_id)
            return order

        return Step(cid, call)

    def _adjust(self, name: str) -> Step:
        ledger = self._ledger
        change = Adjustment(
            adjustment_id=name, pair="ETH-USDT", quantity=Decimal(1), price=Decimal(10), at_ms=1
        )

        def call(store: ValkeyStore) -> Ledger:
            answer = store.adjust_ledger(
                change,
                ledger,
                books.adjust(ledger, change),
                fence=self._fence,
                request_id=name,
                event=self._event(name, "adjusted"),
            )
            assert answer is not None
            self.seen.adjustments.add(name)
            return answer

        return Step(name, call)

    def _keep(self, answer: Order | Ledger, subject: str) -> None:
        match answer:
            case Order():
                self._orders[subject] = answer
                self.seen.versions[subject] = answer.version
                if answer.version == 1:
                    # The reservation moved the ledger's version, and nobody else writes here.
                    self._ledger = replace(self._ledger, version=self._ledger.version + 1)
            case Ledger():
                self._ledger = answer
        self.seen.ledger_version = self._ledger.version

    def _event(self, key: str, what: str) -> Event:
        return Event(topic="killing", key=key, data={"what": what}, at_ms=1, stream=Stream.ORDERS)


def an_order(account: str, cid: str) -> Order:
    return Order(
        client_order_id=cid,
        account=account,
        run_id="run",
        decision_id=cid,
        trade_id=cid,
        pair="BTC-USDT",
        leg=Leg.ENTRY,
        side=Side.BUY,
        quantity=Decimal("0.01"),
        reduce_only=False,
        reference_price=Decimal(50_000),
        decided_open_ms=0,
        created_ms=1,
        trace_id="tr",
        reserved_quote=Decimal(500),
    )


def a_fill(order: Order) -> Fill:
    return Fill(
        fill_id=f"f-{order.client_order_id}",
        client_order_id=order.client_order_id,
        venue_order_id="v",
        pair=order.pair,
        side=order.side,
        quantity=order.quantity,
        price=order.reference_price,
        fee=FEE,
        is_maker=False,
        filled_ms=1,
    )


def check(store: ValkeyStore, writers: list[Writer]) -> None:
    """Nothing acknowledged is missing, nothing is there that nobody asked for, nothing is half done."""
    told: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for event in store.read_events({Stream.ORDERS: "0-0"}, limit=10_000_000):
        if event.topic == "killing":
            told[event.key][event.data["what"]] += 1
    for writer in writers:
        _check_account(store, writer, told)


def _check_account(
    store: ValkeyStore, writer: Writer, told: defaultdict[str, Counter[str]]
) -> None:
    account, seen = writer.account, writer.seen
    in_doubt = writer.doubt.subject if writer.doubt else ""
    ids = store.trade_ids(account=account, limit=1_000_000)
    orders = {cid: order for cid in ids for order in store.orders_of_trade(cid)}

    for cid in {*seen.versions, *orders}:
        version = orders[cid].version if cid in orders else 0
        acknowledged = seen.versions.get(cid, 0)
        assert version in {acknowledged, acknowledged + (cid == in_doubt)}, (cid, acknowledged)
        # One event per change, each of them once: the change and its event are one write.
        assert (told[cid].total(), set(told[cid].values())) == (version, {1}), (cid, told[cid])

    fills = {cid: store.fills_of_order(cid) for cid in orders}
    for cid, order in orders.items():
        assert sum((fill.quantity for fill in fills[cid]), Decimal(0)) == order.filled_quantity
        assert (order.state is OrderState.FILLED) == bool(fills[cid])
    booked = {fill.fill_id for each in fills.values() for fill in each}
    assert seen.fills <= booked
    assert booked - seen.fills <= {f"f-{in_doubt}"}

    adjusted = {one.adjustment_id for one in store.adjustments(account)}
    assert seen.adjustments <= adjusted
    assert adjusted - seen.adjustments <= {in_doubt}
    assert all(told[name] == Counter({"adjusted": 1}) for name in adjusted)

    active = {order.client_order_id: order for order in store.active_orders(account)}
    assert set(active) == {cid for cid, order in orders.items() if not order.state.is_terminal}
    reserved = store.reservations(account)
    assert reserved == {cid: str(order.reserved_quote) for cid, order in active.items()}

    ledger = store.ledger(account)
    assert ledger is not None
    assert ledger.version == 1 + len(orders) + len(booked) + len(adjusted)
    assert ledger.version in {seen.ledger_version, seen.ledger_version + bool(in_doubt)}
    assert (ledger.fees, ledger.cash) == (FEE * len(booked), START - FEE * len(booked))
    held = books.held_quantity(ledger, "BTC-USDT"), books.held_quantity(ledger, "ETH-USDT")
    assert held == (Decimal("0.01") * len(booked), len(adjusted))
