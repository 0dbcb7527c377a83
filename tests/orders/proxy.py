"""A way to the exchange that can be cut: a TCP proxy in the test's own event loop."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from enum import StrEnum
from urllib.parse import urlsplit


class Way(StrEnum):
    """What becomes of what is said."""

    OPEN = "open"
    BLACKHOLE = "blackhole"
    """Connections are accepted; nothing arrives on either side."""
    DEAF = "deaf"
    """Requests arrive, answers do not: a connection that is half open."""
    REFUSED = "refused"
    """Connections are closed at once, old ones too."""


class Proxy:
    """Forward bytes to the exchange, or not, as `way` says at the moment they come."""

    def __init__(self, exchange_url: str) -> None:
        self.way = Way.OPEN
        self.url = ""
        self.connections = 0
        self.half_open: set[int] = set()
        """Connections, by number, on which an answer was withheld."""
        self.asked_again: set[int] = set()
        """Those of them on which something was asked afterwards."""
        self._target = urlsplit(exchange_url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncGenerator["Proxy"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in (*self._pumps,):
                task.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            for writer in (*self._writers,):
                writer.close()

    def cut(self) -> None:
        """Refuse new connections and break those that stand."""
        self.way = Way.REFUSED
        for writer in (*self._writers,):
            writer.close()

    async def _accept(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        if self.way is Way.REFUSED:
            back.close()
            return
        far, on = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {back, on}
        for source, sink, blocked in (
            (near, on, {Way.BLACKHOLE}),
            (far, back, {Way.BLACKHOLE, Way.DEAF}),
        ):
            task = asyncio.ensure_future(self._pump(source, sink, blocked, number))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        blocked: set[Way],
        number: int,
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                if Way.DEAF not in blocked and number in self.half_open:
                    self.asked_again.add(number)
                if self.way in blocked:
                    if self.way is Way.DEAF:
                        self.half_open.add(number)
                    continue
                sink.write(data)
                await sink.drain()
        sink.close()
        self._writers.discard(sink)
