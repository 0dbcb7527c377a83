"""The paper venue: an exchange of our own that fills from closed candles by the fill specification.

Its only state is one document per pair in the store, so a killed process loses nothing.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from desk.clock import Clock
from desk.errors import BadInput, NotFound, VersionConflict
from desk.ids import Pair
from desk.market.candles import Candle
from desk.market.interval import interval_ms
from desk.store import kinds
from desk.store.port import CandleStore, DocStore, Kind
from desk.trading.fills import ZERO, FillSpec, FundingPayment, tick_candle
from desk.trading.instruments import Instrument
from desk.trading.orders import Fill, Order, VenueBalance, VenueOrder, VenuePosition
from desk.venues import paper_book
from desk.venues.paper_book import FUNDING_STEP_MS, PaperBook, PaperOrder

KEPT_ORDERS = 50
"""Finished orders that stay in a pair's document; older ones move to documents of their own."""

_TRIES = 5
_PAGE = 200


def paper_books(account: str) -> Kind[PaperBook]:
    """Books of an account by pair."""
    return Kind(name=f"paper:{account}:book", type=PaperBook)


def paper_orders(account: str, pair: Pair) -> Kind[PaperOrder]:
    """Finished orders that left their book, by client order id."""
    return Kind(name=f"paper:{account}:order:{pair}", type=PaperOrder)


class PaperStore(DocStore, CandleStore, Protocol):
    """What this venue needs of the store."""


class PaperVenue:
    """`TradingVenue` and `CandleSettled` over stored candles. One process at a time should settle an
    account; a second one meets `VersionConflict` and starts again from the stored book."""

    def __init__(
        self,
        account: str,
        store: PaperStore,
        instruments: Mapping[Pair, Instrument],
        clock: Clock,
        spec: FillSpec,
        *,
        starting_cash: Decimal = Decimal(10_000),
    ) -> None:
        if FUNDING_STEP_MS % interval_ms(spec.interval):
            raise BadInput("interval", f"was {spec.interval}, expected one that divides 8h")
        self._account, self._store, self._clock = account, store, clock
        self._instruments, self._spec, self._starting_cash = instruments, spec, starting_cash
        self._kind = paper_books(account)
        self._lock = asyncio.Lock()

    # --- TradingVenue -------------------------------------------------------------------------

    async def submit(self, order: Order) -> str:
        """Accept a market order; it rests until its candle is settled. Idempotent by client order id."""
        async with self._lock:
            return await asyncio.to_thread(self._submit, order)

    async def look_up(self, pair: Pair, client_order_id: str) -> VenueOrder | None:
        found = await asyncio.to_thread(self._find, pair, client_order_id)
        return found.as_venue_order() if found else None

    async def order_by_id(self, pair: Pair, venue_order_id: str) -> VenueOrder | None:
        """An order of ours, or an exit while it rests and after it fired."""
        return await asyncio.to_thread(self._by_id, pair, venue_order_id)

    async def cancel(self, pair: Pair, client_order_id: str) -> None:
        now_ms = self._clock.now_ms()
        async with self._lock:
            await asyncio.to_thread(
                self._change, pair, lambda book: paper_book.cancel(book, client_order_id, now_ms)
            )

    async def open_orders(self, pair: Pair | None = None) -> list[VenueOrder]:
        books = await asyncio.to_thread(self._books, pair)
        orders = [order.as_venue_order() for book in books for order in book.resting()]
        exits = (
            paper_book.resting_exits(book, self._instrument(book.pair))
            for book in books
            if book.book.exits
        )
        return [*orders, *(order for of_pair in exits for order in of_pair)]

    async def orders_between(self, pair: Pair, start_ms: int, end_ms: int) -> list[VenueOrder]:
        return await asyncio.to_thread(self._orders_between, pair, start_ms, end_ms)

    async def fills(self, pair: Pair, order: VenueOrder) -> list[Fill]:
        found = await asyncio.to_thread(self._find, pair, order.client_order_id)
        if order.exit_kind is None:
            return list(found.fills) if found else []
        fired = await asyncio.to_thread(self._find, pair, order.venue_order_id)
        # An exit's fills go by the name under which the caller's books hold it.
        return [
            replace(fill, client_order_id=order.client_order_id)
            for fill in (fired.fills if fired else ())
        ]

    async def positions(self) -> list[VenuePosition]:
        books = await asyncio.to_thread(self._books)
        return [self._position(book) for book in books if book.book.lots]

    async def balance(self) -> VenueBalance:
        books = await asyncio.to_thread(self._books)
        balance = self._starting_cash + sum((book.book.cash for book in books), ZERO)
        unrealized = sum((self._unrealized(book) for book in books), ZERO)
        locked = sum((abs(book.book.cost) / book.leverage for book in books), ZERO)
        equity = balance + unrealized
        return VenueBalance(
            asset="USDT", balance=balance, equity=equity, available=max(equity - locked, ZERO)
        )

    async def prepare(self, pair: Pair, leverage: int) -> None:
        """Set the leverage that margin is shown with."""
        most = self._instrument(pair).max_leverage
        if not 1 <= leverage <= most:
            raise BadInput("leverage", f"was {leverage}, expected 1 to {most} for {pair}")
        async with self._lock:
            await asyncio.to_thread(
                self._change, pair, lambda book: replace(book, leverage=leverage)
            )

    async def close(self) -> None:
        """Nothing to release: the store belongs to the process."""

    # --- CandleSettled ------------------------------------------------------------------------

    async def settle(self, pair: Pair, upto_open_ms: int) -> list[str]:
        """Advance the pair's book through every stored candle up to this open time, inclusive.

        Returns the client order ids that changed and the ids of exits that fired, in the order of
        execution. Idempotent by open time; a candle that is stored after a later one was settled is
        passed over.
        Raises `BadInput` for a candle without a price; the book then stays before it.
        """
        async with self._lock:
            return await asyncio.to_thread(self._settle, pair, upto_open_ms)

    def quote(self, pair: Pair) -> Decimal | None:
        """Close of the newest settled candle."""
        close_ticks = self._load(pair)[0].book.close_ticks
        return self._instrument(pair).price_of(close_ticks) if close_ticks else None

    async def funding(self, pair: Pair) -> list[FundingPayment]:
        """Newest settlements of a held position, oldest first; rate None: not known yet, amount 0."""
        book, _ = await asyncio.to_thread(self._load, pair)
        return list(book.payments)

    # --- the document -------------------------------------------------------------------------

    def _load(self, pair: Pair) -> tuple[PaperBook, int]:
        doc = self._store.get(self._kind, pair)
        return (doc.value, doc.version) if doc else (PaperBook(pair=pair), 0)

    def _change(self, pair: Pair, change: Callable[[PaperBook], PaperBook]) -> PaperBook:
        """Apply a pure change to the stored book; another writer's move starts it again."""
        for tried in range(_TRIES):
            before, version = self._load(pair)
            after = change(before)
            if after == before:
                return after
            try:
                return self._commit(after, version)
            except VersionConflict:
                if tried == _TRIES - 1:
                    raise
        raise AssertionError("the last try returns or raises")

    def _commit(self, book: PaperBook, version: int) -> PaperBook:
        finished = [order for order in book.orders if not order.is_resting]
        leaving = finished[: max(len(finished) - KEPT_ORDERS, 0)]
        for order in leaving:
            kind = paper_orders(self._account, book.pair)
            self._store.put(kind, order.key, order, at_ms=order.updated_ms)
        kept = replace(book, orders=tuple(order for order in book.orders if order not in leaving))
        self._store.put(
            self._kind, book.pair, kept, at_ms=self._clock.now_ms(), expected_version=version
        )
        return kept

    def _submit(self, order: Order) -> str:
        known = self._find(order.pair, order.client_order_id)
        if known is not None:
            return known.venue_order_id
        instrument, now_ms = self._instrument(order.pair), self._clock.now_ms()
        decided_close_ms = order.decided_open_ms + self._decision_step_ms(order.run_id)

        def change(book: PaperBook) -> PaperBook:
            return paper_book.accept(
                book,
                order,
                now_ms=now_ms,
                decided_close_ms=decided_close_ms,
                spec=self._spec,
                instrument=instrument,
            )

        book = self._change(order.pair, change)
        accepted = book.order(order.client_order_id)
        assert accepted is not None, "an accepted order rests"
        return accepted.venue_order_id

    def _decision_step_ms(self, run_id: str) -> int:
        run = self._store.get(kinds.RUNS, run_id)
        return interval_ms(run.value.interval if run else self._spec.interval)

    def _settle(self, pair: Pair, upto_open_ms: int) -> list[str]:
        instrument, changed = self._instrument(pair), list[str]()

        def change(book: PaperBook) -> PaperBook:
            rates = self._rates(pair, book.unknown_dues)
            settled = paper_book.pay_known(book, rates, instrument)
            changed.clear()
            for candle in self._unsettled(book, pair, upto_open_ms):
                ticks = tick_candle(candle, instrument)
                dues = paper_book.boundaries(settled, ticks, self._spec)
                rates = self._rates(pair, dues if settled.book.lots else ())
                before = settled.orders
                settled = paper_book.settle_candle(settled, ticks, rates, self._spec, instrument)
                changed.extend(order.key for order in settled.orders if order not in before)
            return settled

        self._change(pair, change)
        return changed

    def _unsettled(self, book: PaperBook, pair: Pair, upto_open_ms: int) -> list[Candle]:
        """Stored candles that can still do something to the book; of an idle one only the newest."""
        interval = self._spec.interval
        settled_ms = book.book.settled_open_ms
        if book.book.lots == 0:
            waits = [order.not_before_ms for order in book.resting()]
            newest_ms = upto_open_ms + 1 - interval_ms(interval)
            settled_ms = max(settled_ms, min([newest_ms, *waits]) - 1)
        if settled_ms >= upto_open_ms:
            return []
        candles = self._store.read_candles(pair, interval, settled_ms + 1, upto_open_ms + 1)
        return [candles.row(index) for index in range(len(candles))]

    def _rates(self, pair: Pair, dues: Iterable[int]) -> dict[int, Decimal]:
        kind = kinds.funding_rates(pair)
        found = {due_ms: self._store.get(kind, str(due_ms)) for due_ms in dues}
        return {due_ms: doc.value.rate for due_ms, doc in found.items() if doc}

    # --- reads --------------------------------------------------------------------------------

    def _instrument(self, pair: Pair) -> Instrument:
        if pair not in self._instruments:
            raise NotFound("instrument", pair)
        return self._instruments[pair]

    def _books(self, pair: Pair | None = None) -> list[PaperBook]:
        if pair is not None:
            return [self._load(pair)[0]]
        docs = self._store.list(self._kind, limit=max(len(self._instruments), 1))
        return sorted((doc.value for doc in docs), key=lambda book: book.pair)

    def _find(self, pair: Pair, key: str) -> PaperOrder | None:
        known = self._load(pair)[0].order(key)
        if known is not None:
            return known
        doc = self._store.get(paper_orders(self._account, pair), key)
        return doc.value if doc else None

    def _by_id(self, pair: Pair, venue_order_id: str) -> VenueOrder | None:
        found = self._find(pair, venue_order_id) or self._find(
            pair, venue_order_id.removeprefix("paper-")
        )
        if found is not None:
            return found.as_venue_order()
        book = self._load(pair)[0]
        resting = paper_book.resting_exits(book, self._instrument(pair)) if book.book.exits else []
        return next((exit_ for exit_ in resting if exit_.venue_order_id == venue_order_id), None)

    def _orders_between(self, pair: Pair, start_ms: int, end_ms: int) -> list[VenueOrder]:
        kept = [o for o in self._load(pair)[0].orders if start_ms <= o.updated_ms < end_ms]
        known = {order.key for order in kept}
        moved = [o for o in self._moved(pair, start_ms, end_ms) if o.key not in known]
        found = sorted([*moved, *kept], key=lambda order: order.updated_ms)
        return [order.as_venue_order() for order in found]

    def _moved(self, pair: Pair, start_ms: int, end_ms: int) -> list[PaperOrder]:
        kind, found = paper_orders(self._account, pair), dict[str, PaperOrder]()
        before_ms = end_ms
        while page := self._store.list(kind, start_ms=start_ms, before_ms=before_ms, limit=_PAGE):
            found |= {doc.key: doc.value for doc in page}
            oldest_ms = page[-1].at_ms
            # Pages are cut at a time, and orders of one candle share theirs: ask it again, whole.
            before_ms = oldest_ms + 1 if oldest_ms + 1 < before_ms else oldest_ms
            if len(page) < _PAGE:
                break
        return list(found.values())

    def _position(self, paper: PaperBook) -> VenuePosition:
        instrument = self._instrument(paper.pair)
        return VenuePosition(
            pair=paper.pair,
            quantity=instrument.quantity_of(paper.book.lots),
            average_price=paper.book.average_price(instrument),
            leverage=paper.leverage,
            unrealized_pnl=self._unrealized(paper),
        )

    def _unrealized(self, paper: PaperBook) -> Decimal:
        book = paper.book
        return book.equity(book.close_ticks, self._instrument(paper.pair)) - book.cash
