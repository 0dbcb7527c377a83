"""Reads that every process behind one address takes turns at; the store says whose turn it is.

BingX limits market data per address, not per process. A static share would leave most of the budget
unused while somebody waits, so a turn is asked for at the store: urgent reads first, then who has
waited longest. While the store is away the process falls back to its static share: reads neither
stop nor run free.
"""

import asyncio
import heapq
import itertools
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import structlog

from desk import meters
from desk.errors import StoreUnavailable, VenueUnavailable
from desk.venues.limiter import Limiter, Monotonic
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()

SLOWED_TURNS = 10
"""For so many turns' time every process reads at half pace after the venue complained about one."""
ASK_TIMEOUT_S = 2.0
STORE_RETRY_S = 5.0
"""How long the static share is kept to before the store is asked again."""
AGED_S = 60.0
"""A read that has waited so long is as urgent as any: where there are more pairs than the rate can
serve, history is still fetched and holes are still healed."""
PATIENCE_S = 180.0
"""Longest wait for a turn: three times what 50 pairs need for one read each."""


class Urgency(IntEnum):
    """What a read is for; lower comes first."""

    NEWEST = 0
    """The newest candle of the smallest interval, and everything nobody said otherwise about."""
    HEAL = 1
    LONGER = 2
    """Newest candles of longer intervals."""
    BACKFILL = 3


_urgency: ContextVar[Urgency] = ContextVar("_urgency", default=Urgency.NEWEST)


@contextmanager
def urgency(level: Urgency) -> Generator[None]:
    """Reads inside the block are this urgent; travels with the task, not to other tasks."""
    token = _urgency.set(level)
    try:
        yield
    finally:
        _urgency.reset(token)


class TurnBook(Protocol):
    """The part of the store that hands out turns; see `desk.store.port.TurnStore`."""

    def ask_turn(
        self,
        address: str,
        lane: str,
        taker: str,
        *,
        priority: int,
        spacing_ms: float,
    ) -> float: ...

    def leave_turns(self, lane: str, taker: str) -> None: ...

    def hinder_turns(self, address: str, *, slow_ms: float = 0.0, hold_ms: float = 0.0) -> None: ...


@dataclass(order=True, slots=True)
class _Waiter:
    urgency: int
    number: int
    turn: asyncio.Future[None] = field(compare=False)
    since_s: float = field(compare=False)


class SharedLimiter:
    """One lane (an endpoint at an address) as one process uses it: `Limiter` with others behind it.

    The process stands in the queue once, as urgently as its most urgent read, and hands a turn to
    that read when it comes.
    """

    def __init__(
        self,
        book: TurnBook,
        address: str,
        lane: str,
        rate_per_s: float,
        *,
        own_share: float,
        monotonic: Monotonic = monotonic_s,
        taker: str | None = None,
    ) -> None:
        self._book, self._address, self._lane = book, address, lane
        self._taker = f"{os.uname().nodename}:{os.getpid()}:{id(self)}" if taker is None else taker
        self._rate_per_s = rate_per_s
        self._own_share = own_share
        self._alone = Limiter(rate_per_s * own_share, monotonic=monotonic)
        self._monotonic = monotonic
        self._alone_until_s = float("-inf")
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[_Waiter] = []
        self._asking: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._is_queued = False

    @property
    def is_alone(self) -> bool:
        """Whether the store was away lately, so that the static share counts."""
        return self._monotonic() < self._alone_until_s

    def set_rate(self, rate_per_s: float) -> None:
        """Change the rate of the turns to come."""
        self._rate_per_s = rate_per_s
        self._alone.set_rate(rate_per_s * self._own_share)

    def slow_down(self) -> None:
        """Half the pace for a while, of this process only: `slow_everybody` tells the others."""
        self._alone.slow_down()

    async def slow_everybody(self, *, slow_ms: float | None = None, hold_ms: float = 0.0) -> None:
        """The venue complained, or its budget runs out: every process behind the address slows down."""
        if slow_ms is None:
            slow_ms = SLOWED_TURNS * 1000.0 / self._rate_per_s
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await asyncio.to_thread(
                    self._book.hinder_turns, self._address, slow_ms=slow_ms, hold_ms=hold_ms
                )
        except (StoreUnavailable, TimeoutError) as away:
            log.warning("complaint_not_shared", lane=self._lane, error=str(away))

    async def take(self) -> None:
        """Wait for a turn. Raises `VenueUnavailable` after `PATIENCE_S` without one."""
        self._enter_loop()
        loop, began_s = asyncio.get_running_loop(), self._monotonic()
        waiter = _Waiter(_urgency.get(), next(self._numbers), loop.create_future(), began_s)
        heapq.heappush(self._waiting, waiter)
        self._woken.set()
        if self._asking is None or self._asking.done():
            self._asking = loop.create_task(self._ask_on())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await waiter.turn
        except TimeoutError:
            reason = f"no turn within {PATIENCE_S:g} s: too many reads for this address"
            raise VenueUnavailable(self._lane, reason) from None
        finally:
            waited_s = self._monotonic() - began_s
            meters.TURN_WAIT.observe(waited_s, _urgency.get().name.lower())

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._waiting, self._asking = loop, [], None
            self._woken = asyncio.Event()

    async def _ask_on(self) -> None:
        """Stand in the queue for as long as a read waits."""
        try:
            while (first := self._first()) is not None or self._is_queued:
                if first is None:
                    await self._leave()
                elif (wait_s := await self._ask(level := self._level(first))) > 0:
                    await self._pause(wait_s, level)
                elif (served := self._first()) is not None:
                    self._waiting.remove(served)
                    heapq.heapify(self._waiting)
                    served.turn.set_result(None)
        except (
            Exception
        ) as unforeseen:  # nobody awaits this task: the reads that wait must hear of it
            log.exception("turns_failed", lane=self._lane)
            for waiter in self._waiting:
                if not waiter.turn.done():
                    waiter.turn.set_exception(unforeseen)
            self._waiting.clear()

    async def _leave(self) -> None:
        self._is_queued = False
        with suppress(StoreUnavailable):
            await asyncio.to_thread(self._book.leave_turns, self._lane, self._taker)

    def _first(self) -> _Waiter | None:
        """The most urgent read, or the oldest that has waited for long; those given up are forgotten."""
        while self._waiting and self._waiting[0].turn.done():
            heapq.heappop(self._waiting)
        aged = [one for one in self._waiting if self._is_aged(one) and not one.turn.done()]
        if aged:
            return min(aged, key=lambda one: one.number)
        return self._waiting[0] if self._waiting else None

    def _is_aged(self, waiter: _Waiter) -> bool:
        return self._monotonic() - waiter.since_s >= AGED_S

    def _level(self, waiter: _Waiter) -> int:
        return Urgency.NEWEST if self._is_aged(waiter) else waiter.urgency

    async def _ask(self, level: int) -> float:
        """Seconds to wait before asking again, 0 when the turn is ours."""
        if not self.is_alone:
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    wait_s = await asyncio.to_thread(self._ask_store, level) / 1000
                self._is_queued = wait_s > 0
                return wait_s
            except (StoreUnavailable, TimeoutError) as away:
                self._alone_until_s = self._monotonic() + STORE_RETRY_S
                log.warning("turns_alone", lane=self._lane, error=str(away))
        self._is_queued = False
        await self._alone.take()
        return 0.0

    def _ask_store(self, level: int) -> float:
        spacing_ms = 1000.0 / self._rate_per_s
        return self._book.ask_turn(
            self._address, self._lane, self._taker, priority=level, spacing_ms=spacing_ms
        )

    async def _pause(self, wait_s: float, level: int) -> None:
        """Sleep, but not through the arrival of a read that is more urgent than what was asked for."""
        until_s = self._monotonic() + wait_s
        while (left_s := until_s - self._monotonic()) > 0:
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._woken.wait()
            first = self._first()
            if first is None or self._level(first) < level:
                return
