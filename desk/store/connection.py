"""Connections to a Redis-protocol server: deadlines, no hidden repeats, one error for "unknown".

redis-py repeats a command by itself when a reply is lost, which doubles what is not idempotent.
Here nothing is repeated but whole function calls, once, under the request id they carry.
"""

import threading
from collections.abc import Callable
from functools import partial
from itertools import batched
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import MasterDownError, OutOfMemoryError
from redis.retry import Retry

from desk.errors import SettingsError, StoreUnavailable
from desk.store.layout import ANSWERS_KEPT_MS, MAX_BLOCK_MS, READ_CHUNKS
from desk.store.library import library

type Argument = str | bytes | int

CONNECT_TIMEOUT_S = 2.0
MONEY_TIMEOUT_S = 4.0
BULK_TIMEOUT_S = 15.0
_SCHEMES = ("redis://", "rediss://", "unix://")
_NO_FUNCTION = "Function not found"
_REFUSED = ("BUSY", "MISCONF", "NOREPLICAS", "UNBLOCKED")
_REFUSALS = (
    OutOfMemoryError,
    redis.ReadOnlyError,
    MasterDownError,
)
"""Answers of a server that is there but cannot carry out the command now: by word, by type."""

_log = structlog.get_logger(__name__)


class Connection:
    """Lazily opened pools of one server: money calls, bulk reads and blocking reads apart.

    Holds plain settings until first used, so it can be pickled to another process. `?wait_aof=yes`
    in the URL lets each change wait until it is on the server's disk (`WAITAOF`), for servers that
    hide their settings. Raises `SettingsError` for a URL of another kind.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith(_SCHEMES):
            raise SettingsError(
                f"REDIS_URL: was no URL of a store, expected {' or '.join(_SCHEMES)}"
            )
        address, _, query = url.partition("?")
        options = dict(parse_qsl(query))
        self.url = url
        self.wait_aof = options.pop("wait_aof", "no") == "yes"
        self._address = "?".join(filter(None, (address, urlencode(options))))
        self._lock = threading.RLock()
        self._clients: dict[str, Any] = {}
        self._has_functions = False

    def __reduce__(self) -> tuple[type["Connection"], tuple[str]]:
        return (Connection, (self.url,))

    @property
    def money(self) -> Any:
        """Client of the short calls that must not wait behind anything else."""
        return self._client("money", MONEY_TIMEOUT_S)

    @property
    def bulk(self) -> Any:
        """Client of large answers."""
        return self._client("bulk", BULK_TIMEOUT_S)

    @property
    def blocking(self) -> Any:
        """Client of reads that wait up to `MAX_BLOCK_MS`."""
        return self._client("blocking", MAX_BLOCK_MS / 1000 + MONEY_TIMEOUT_S)

    def change(self, function: str, *arguments: Argument) -> list[bytes]:
        """Call a changing function; after a lost reply it is repeated once, by its request id."""

        def once() -> Any:
            if not self.wait_aof:
                return self.money.fcall(function, 0, *arguments)
            return self._change_and_wait(function, arguments)

        return cast("list[bytes]", self.with_functions(once))

    def read(self, function: str, *arguments: Argument, bulk: bool = False) -> list[bytes]:
        """Call a reading function."""
        return cast(
            "list[bytes]",
            self.with_functions(
                lambda: (self.bulk if bulk else self.money).fcall_ro(function, 0, *arguments)
            ),
        )

    def run[R](self, command: Callable[[], R]) -> R:
        """Run an idempotent command, once more after a broken connection."""
        try:
            return _translated(command)
        except StoreUnavailable:
            return _translated(command)

    def close(self) -> None:
        """Close every pool; the next use opens them again."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
            self._has_functions = False
        for client in clients:
            client.close()
            client.connection_pool.disconnect()

    def load_functions(self) -> None:
        """Make the server hold our function library, and our form of what an older one left.

        Raises `SettingsError` if it holds a newer one.
        """
        ours = library()
        found = self.run(self._stored_version)
        if found is not None and found[0] > ours.version:
            raise SettingsError(
                f"the store's function library is version {found[0]} and this program knows"
                f" {ours.version}: start the newer program on this store"
            )
        if found != (ours.version, ours.digest):
            self.run(lambda: self.money.function_load(ours.source, replace=True))
            _log.info("store_functions_loaded", version=ours.version, digest=ours.digest)
        if self.run(lambda: self.money.fcall_ro("upgrade_is_due", 0)):
            self._upgrade()
        self._has_functions = True

    def _upgrade(self) -> None:
        """Bring what an older release left into today's form; what is done already is not done again."""
        common = ["", 0, "", "", "", "", "", "", 0, ""]  # without request id and event
        moved = 0
        for index in self.run(lambda: self.bulk.keys("cidx:*")):
            name, chunks = index.removeprefix(b"cidx:"), self.bulk.zrangebyscore(index, 0, "+inf")
            for batch in batched(chunks, READ_CHUNKS):
                call = partial(self.money.fcall, "upgrade_candles", 0, *common, name, *batch)
                moved += int(self.run(call)[1])
        answer = self.run(lambda: self.money.fcall("upgrade", 0, *common, ANSWERS_KEPT_MS))
        _log.info("store_upgraded", answers_moved=int(answer[1]), candle_chunks_moved=moved)

    def _stored_version(self) -> tuple[int, str] | None:
        try:
            version, digest = self.money.fcall_ro("desk_version", 0)
        except redis.ResponseError as absent:
            if _NO_FUNCTION in str(absent):
                return None
            if "unknown command" in str(absent):
                raise SettingsError(
                    "REDIS_URL: the server has no functions, expected Valkey or Redis 7.0 or newer"
                ) from absent
            raise
        return int(version), digest.decode()

    def with_functions(self, call: Callable[[], Any]) -> Any:
        """Run reads that call our functions, with the library loaded."""
        with self._lock:
            if not self._has_functions:
                self.load_functions()
        try:
            return self.run(call)
        except redis.ResponseError as absent:
            if _NO_FUNCTION not in str(absent):
                raise
        self.load_functions()
        return self.run(call)

    def _change_and_wait(self, function: str, arguments: tuple[Argument, ...]) -> object:
        pipeline = self.money.pipeline(transaction=False)
        pipeline.fcall(function, 0, *arguments)
        pipeline.execute_command("WAITAOF", 1, 0, round(MONEY_TIMEOUT_S * 500))
        answer, synced = pipeline.execute(raise_on_error=False)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(synced, Exception) or int(synced[0]) < 1:
            raise StoreUnavailable(
                f"the store did not confirm that the change reached its disk ({synced}):"
                " it may be lost with the server"
            )
        return answer

    def _client(self, name: str, timeout_s: float) -> Any:
        with self._lock:
            if name not in self._clients:
                pool = redis.ConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType] - untyped **kwargs
                    self._address,
                    socket_timeout=timeout_s,
                    socket_connect_timeout=CONNECT_TIMEOUT_S,
                    retry=Retry(NoBackoff(), 0),
                    protocol=2,
                    max_connections=128,
                )
                self._clients[name] = redis.Redis(connection_pool=pool)
            return self._clients[name]


def _translated[R](command: Callable[[], R]) -> R:
    try:
        return command()
    except (redis.ConnectionError, redis.TimeoutError, OSError) as lost:
        raise StoreUnavailable(
            f"the store did not answer ({type(lost).__name__}: {lost}): the outcome is unknown"
        ) from lost
    except redis.ResponseError as refusal:
        if not isinstance(refusal, _REFUSALS) and not str(refusal).startswith(_REFUSED):
            raise
        raise StoreUnavailable(
            f"the store cannot serve now ({type(refusal).__name__}: {refusal})"
        ) from refusal
