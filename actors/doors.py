"""How the actors reach each other on Ray: each port of a shell, kept by asking a named actor."""

import asyncio
from collections.abc import Coroutine, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import structlog

from actors.approval import Approve
from actors.candle_messages import CandleClosed, Fetched, FetchRange, StartBackfill
from actors.commands import BackfillAsk
from actors.names import (
    CANDLE_POLLER,
    DECISION_LOOP,
    ORDER_EXECUTOR,
    RISK_LEDGER,
    Door,
)
from actors.order_executor import Cancel, Execute, Refresh, Settle
from actors.risk_ledger import Adjust, Mark
from actors.run_book import DECIDING, PAGE
from actors.store_calls import stored
from actors.venue_exits import BookExit, CancelExit, NoteExit, PlaceStop
from desk.errors import DeskError
from desk.ids import Pair
from desk.market.interval import Interval
from desk.store import kinds
from desk.store.codec import to_json
from desk.store.port import Store
from desk.trading.intents import OrderIntent
from desk.trading.orders import Order, Side, VenueOrder
from desk.trading.risk import Approved, Refused

if TYPE_CHECKING:
    from actors.candle_poller import CandlePoller
    from actors.wiring import Wiring

log = structlog.stdlib.get_logger()

MONEY_S = 15.0
"""Longer than the venue's deadline: an executor that waits for the venue is not away."""
HAND_OVER_S = 12.0
"""Within the time of whoever waits for the approval, and longer than the venue's deadline."""
SETTLE_S = 5.0
MARK_S = 3.0
TELL_S = 30.0
FETCH_S = 120.0
START_S = 5.0
HEED_S = 0.5
"""The store's server does one thing at a time, and a durable write holds it up for as long as the disk
takes: for so long records of a candle give way to the decisions on it."""


class LedgerDoor:
    """The risk ledger of one account."""

    def __init__(self, account: str, *, namespace: str) -> None:
        self._door = Door(RISK_LEDGER, account, namespace=namespace)

    async def greet(self) -> None:
        """Connect, and have it connect to its executor, so that the first request waits for neither."""
        await self._door.ask(lambda actor: actor.greet.remote(), within_s=MONEY_S)

    async def approve(
        self, intent: OrderIntent, limits_set_id: str, *, after: str = ""
    ) -> Approved[Order] | Refused:
        ask = Approve(intent=intent, limits_set_id=limits_set_id, after=after)
        text = to_json(Approve, ask)
        return await self._door.ask(lambda actor: actor.approve_text.remote(text), within_s=MONEY_S)

    async def adjust(
        self, pair: Pair, ours: Decimal, quantity: Decimal, price: Decimal, adjustment_id: str
    ) -> None:
        ask = Adjust(
            pair=pair, ours=ours, quantity=quantity, price=price, adjustment_id=adjustment_id
        )
        await self._door.ask(lambda actor: actor.adjust.remote(ask), within_s=MONEY_S)

    async def mark(self, prices: Mapping[Pair, Decimal], trace_id: str = "") -> None:
        ask = Mark(prices=prices, trace_id=trace_id)
        await self._door.ask(lambda actor: actor.mark.remote(ask), within_s=MARK_S)


class ExecutorDoor:
    """The order executor of one account."""

    def __init__(self, account: str, *, namespace: str) -> None:
        self._door = Door(ORDER_EXECUTOR, account, namespace=namespace)

    async def greet(self) -> None:
        """Connect, so that the first request does not wait for it."""
        await self._door.ask(lambda actor: actor.heartbeat.remote(), within_s=HAND_OVER_S)

    async def execute(self, approved: Approved[Order]) -> Order:
        return await self._execute(approved, within_s=MONEY_S)

    async def hand_over(self, approved: Approved[Order]) -> Order:
        """As `execute`, for a ledger whose own caller waits for it."""
        return await self._execute(approved, within_s=HAND_OVER_S)

    async def _execute(self, approved: Approved[Order], *, within_s: float) -> Order:
        text = to_json(Execute, Execute(approved=approved))
        return await self._door.ask(
            lambda actor: actor.execute_text.remote(text), within_s=within_s
        )

    async def cancel(self, client_order_id: str, reason: str) -> Order:
        ask = Cancel(client_order_id=client_order_id, reason=reason)
        return await self._door.ask(lambda actor: actor.cancel.remote(ask), within_s=MONEY_S)

    async def refresh(self, client_order_id: str) -> Order:
        ask = Refresh(client_order_id=client_order_id)
        return await self._door.ask(lambda actor: actor.refresh.remote(ask), within_s=MONEY_S)

    async def book_exit(self, parent_id: str, report: VenueOrder) -> Order:
        ask = BookExit(parent_id=parent_id, report=report)
        return await self._door.ask(lambda actor: actor.book_exit.remote(ask), within_s=MONEY_S)

    async def note_exit(self, parent_id: str, report: VenueOrder) -> Order:
        ask = NoteExit(parent_id=parent_id, report=report)
        return await self._door.ask(lambda actor: actor.note_exit.remote(ask), within_s=MONEY_S)

    async def cancel_exit(self, pair: Pair, venue_order_id: str) -> None:
        ask = CancelExit(pair=pair, venue_order_id=venue_order_id)
        await self._door.ask(lambda actor: actor.cancel_exit.remote(ask), within_s=MONEY_S)

    async def place_stop(
        self, pair: Pair, side: Side, quantity: Decimal, stop_price: Decimal
    ) -> str:
        ask = PlaceStop(pair=pair, side=side, quantity=quantity, stop_price=stop_price)
        return await self._door.ask(lambda actor: actor.place_stop.remote(ask), within_s=MONEY_S)

    async def settle(self, pair: Pair, upto_open_ms: int) -> list[str]:
        ask = Settle(pair=pair, upto_open_ms=upto_open_ms)
        return await self._door.ask(lambda actor: actor.settle.remote(ask), within_s=SETTLE_S)


def poller_door(wiring: "Wiring", pair: Pair) -> "Door[CandlePoller]":
    """The poller of a pair, alone or with others."""
    return Door(CANDLE_POLLER, wiring.poller_of(pair), namespace=wiring.namespace)


class PollerDoor:
    """The pollers, by pair."""

    def __init__(self, wiring: "Wiring") -> None:
        self._wiring = wiring
        self._doors: dict[Pair, Door[CandlePoller]] = {}

    async def fetch(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Fetched:
        door = self._doors.setdefault(pair, poller_door(self._wiring, pair))
        ask = FetchRange(pair=pair, interval=interval, start_ms=start_ms, end_ms=end_ms)
        return await door.ask(lambda actor: actor.fetch.remote(ask), within_s=FETCH_S)

    async def start_backfill(self, job_id: str, ask: BackfillAsk) -> None:
        door = poller_door(self._wiring, ask.pair)
        start = StartBackfill(job_id=job_id, ask=ask)
        await door.ask(lambda actor: actor.backfill.remote(start), within_s=START_S)


class CandleListeners:
    """Everybody who must know of a closed candle."""

    def __init__(
        self, accounts: tuple[str, ...], paper: str, store: Store, *, namespace: str
    ) -> None:
        self._store, self._namespace = store, namespace
        self._paper = ExecutorDoor(paper, namespace=namespace)
        self._ledgers = [LedgerDoor(account, namespace=namespace) for account in accounts]
        self._telling: set[asyncio.Task[None]] = set()

    async def settle(self, pair: Pair, upto_open_ms: int) -> None:
        await self._paper.settle(pair, upto_open_ms)

    async def mark(self, prices: Mapping[Pair, Decimal], trace_id: str = "") -> None:
        answers = await asyncio.gather(
            *(ledger.mark(prices, trace_id) for ledger in self._ledgers), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def tell(self, closed: CandleClosed) -> None:
        """Tell every loop, and wait for their decisions for at most `HEED_S`: what the caller records
        next would hold them up, and a slow one must not delay the next poll.
        """
        docs = await stored(lambda: self._store.list(kinds.RUNS, limit=PAGE))
        of_series = (closed.pair, closed.interval)
        told = [
            self._start(self._tell(run.run_id, closed))
            for run in (doc.value for doc in docs)
            if run.status in DECIDING and (run.pair, run.interval) == of_series
        ]
        if told:
            await asyncio.wait(told, timeout=HEED_S)

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return task

    async def _tell(self, run_id: str, closed: CandleClosed) -> None:
        door = Door(DECISION_LOOP, run_id, namespace=self._namespace)
        try:
            await door.ask(lambda actor: actor.on_candle_closed.remote(closed), within_s=TELL_S)
        except DeskError as away:
            log.warning("loop_unheard", run_id=run_id, trace_id=closed.trace_id, error=str(away))
