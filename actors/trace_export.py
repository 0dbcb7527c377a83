"""The observer's part in tracing: each decision goes to the collector as spans, some seconds later.

Best effort, and beside everything else: the queue is bounded, a collector has one thread, and what it
does not take is counted and forgotten. The whole story stays in the store.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from actors.market_time import MarketClock
from actors.store_calls import stored
from desk import meters
from desk.clock import MINUTE_MS
from desk.spans import Span, spans_of
from desk.store import kinds
from desk.store.port import Event, Store
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()

MOST_WAITING = 1_000
MOST_OF_TURN = 50
SETTLE_S = 5.0
"""After a decision, so that its orders are at their end."""
TRIES = 6
"""Looks at a decision whose orders are not; then it goes as it is."""
PATIENCE_S = 10.0
"""With a collector; its thread may take longer, nobody else waits for it."""
OLD_MS = 10 * MINUTE_MS
"""Market time. What the streams tell of again after a restart is not exported anew."""


class Collector(Protocol):
    """Takes spans, in a thread of its own; False when they were not taken."""

    def send(self, spans: Sequence[Span]) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    run_id: str
    decision_id: str
    due_s: float
    looks: int = 0


class TraceExport:
    """Hears of decisions, tells a collector."""

    def __init__(
        self,
        store: Store,
        clock: MarketClock,
        collector: Collector,
        *,
        settle_s: float = SETTLE_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._store, self._clock, self._collector = store, clock, collector
        self._settle_s, self._patience_s = settle_s, patience_s
        self._waiting: deque[_Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="traces")
        self._sending: asyncio.Future[bool] | None = None

    def hear(self, event: Event) -> None:
        """Put a decision into the queue; the oldest makes room where it is full."""
        if event.topic != "decision" or event.at_ms < self._clock.now_ms() - OLD_MS:
            return
        due_s = monotonic_s() + self._settle_s
        run_id, decision_id = str(event.data["run_id"]), str(event.data["decision_id"])
        self._waiting.append(_Waiting(run_id=run_id, decision_id=decision_id, due_s=due_s))
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            meters.SPANS.count("dropped")

    async def turn(self) -> int:
        """Export what is due; returns how many spans the collector took."""
        if self._sending is not None and not self._sending.done():
            return 0
        due = self._due()
        batch: list[Span] = []
        for waiting in due:
            spans = await stored(lambda waiting=waiting: self._spans(waiting))
            if spans is None:
                due_s = monotonic_s() + self._settle_s
                self._waiting.append(replace(waiting, due_s=due_s, looks=waiting.looks + 1))
            else:
                batch += spans
        return await self._send(batch) if batch else 0

    def _due(self) -> list[_Waiting]:
        now_s, due = monotonic_s(), list[_Waiting]()
        while self._waiting and self._waiting[0].due_s <= now_s and len(due) < MOST_OF_TURN:
            due.append(self._waiting.popleft())
        return due

    def _spans(self, waiting: _Waiting) -> list[Span] | None:
        """None: its orders are still under way, look again later."""
        kind = kinds.decisions_of_run(waiting.run_id)
        found = self._store.get(kind, waiting.decision_id)
        if found is None:
            return []
        decision = found.value
        rows = [self._store.order(cid) for cid in decision.client_order_ids]
        orders = [order for order in rows if order is not None]
        if any(order.is_open for order in orders) and waiting.looks < TRIES:
            return None
        fills = {
            order.client_order_id: self._store.fills_of_order(order.client_order_id)
            for order in orders
        }
        return spans_of(decision, orders, fills, self._wall_of)

    def _wall_of(self, market_ms: int) -> float:
        anchor = self._clock.anchor
        return anchor.wall_ms + (market_ms - anchor.market_ms) / anchor.speed

    async def _send(self, batch: list[Span]) -> int:
        loop = asyncio.get_running_loop()
        self._sending = loop.run_in_executor(self._thread, self._collector.send, batch)
        try:
            async with asyncio.timeout(self._patience_s):
                is_taken = await asyncio.shield(self._sending)
        except TimeoutError:
            is_taken = False
        except Exception as failed:  # noqa: BLE001 - a library beside trading: whatever it is, spans are lost
            log.warning("spans_not_sent", error=repr(failed))
            is_taken = False
        meters.SPANS.count("sent" if is_taken else "refused", by=len(batch))
        return len(batch) if is_taken else 0
