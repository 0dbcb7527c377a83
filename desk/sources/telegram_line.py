"""One connected client of Telethon: every wait has an end, and leaving it leaves nothing behind.

Telethon keeps no list of its tasks, swallows cancellations while it disconnects, and connects again
at once and for ever when it is told to. So its tasks are known here by the context they are born
in, waits end by the clock alone, and connecting again is the caller's.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any

import structlog

log = structlog.stdlib.get_logger()

CLOSE_TIMEOUT_S = 3.0
_LINE: ContextVar["Line | None"] = ContextVar("telegram_line", default=None)


class Line:
    """A client with all tasks that it started. Used inside one event loop."""

    def __init__(self, client: Any, lost: Callable[["Line"], None]) -> None:
        self.client = client
        self._lost, self._is_left = lost, False
        self._context = copy_context()
        self._context.run(_LINE.set, self)

    @property
    def is_open(self) -> bool:
        """Whether the connection stands as far as the client knows."""
        return not self._is_left and bool(self.client.is_connected())

    async def run[R](self, work: Coroutine[Any, Any, R], within_s: float) -> R:
        """Let the client work. Raises `TimeoutError` at the deadline, whatever the client does about
        it, `ConnectionError` if the client gave its connection up, and what the work raises."""
        task = asyncio.create_task(work, context=self._context)
        try:
            done, _ = await asyncio.wait({task}, timeout=within_s)
        finally:
            task.cancel()
        if not done:
            raise TimeoutError(f"no answer within {within_s:g} s")
        if task.cancelled():
            raise ConnectionError("the connection ended")
        return task.result()

    def watch(self) -> None:
        """Tell `lost` when the connection ends without our having left it, and leave it then."""
        asyncio.create_task(self._watch(), context=self._context)  # noqa: RUF006 - known by its context

    async def leave(self) -> None:
        """Disconnect and end every task of the client, within a few seconds. Never raises for it."""
        self._is_left = True
        end = asyncio.create_task(self._disconnect(), context=self._context)
        await asyncio.wait({end}, timeout=CLOSE_TIMEOUT_S)
        if left := self.tasks():
            for task in left:
                task.cancel()
            _, stuck = await asyncio.wait(left, timeout=CLOSE_TIMEOUT_S)
            if stuck:
                log.error("telegram_tasks_left", count=len(stuck))

    def tasks(self) -> set[asyncio.Task[Any]]:
        """Those of the client that have not ended, without the caller's."""
        mine = asyncio.current_task()
        return {
            task
            for task in asyncio.all_tasks()
            if task is not mine and task.get_context().get(_LINE) is self
        }

    async def _watch(self) -> None:
        try:
            await self.client.disconnected
        except (OSError, asyncio.IncompleteReadError) as why:
            log.info("telegram_connection_ended", error=type(why).__name__)
        if not self._is_left:
            self._lost(self)
            # Its loops would go on waiting for updates that cannot come.
            await self.leave()

    async def _disconnect(self) -> None:
        try:
            await self.client.disconnect()
        except (OSError, RuntimeError, ValueError) as why:
            log.info("telegram_left_roughly", error=f"{type(why).__name__}: {why}")
