"""The store on a Redis-protocol server (Valkey 9.1, embedded or by `REDIS_URL`)."""

import redis

from desk.store.connection import Connection
from desk.store.valkey_audit import ValkeyAudit
from desk.store.valkey_candles import ValkeyCandles
from desk.store.valkey_documents import ValkeyDocuments, ValkeyEvents
from desk.store.valkey_glance import ValkeyGlance
from desk.store.valkey_money import ValkeyLeases, ValkeyLedgers, ValkeyOrders
from desk.store.valkey_requests import ValkeyRequests
from desk.store.valkey_turns import ValkeyTurns
from desk.store.valkey_versions import ValkeyVersions


class ValkeyStore(
    ValkeyLeases,
    ValkeyOrders,
    ValkeyLedgers,
    ValkeyDocuments,
    ValkeyAudit,
    ValkeyVersions,
    ValkeyGlance,
    ValkeyRequests,
    ValkeyTurns,
    ValkeyEvents,
    ValkeyCandles,
):
    """`desk.store.port.Store` by server-side functions. Can be pickled; connects on first use.

    `url` is `unix:///path`, `redis://…` or `rediss://…`; with `?wait_aof=yes` each change waits
    until it is on the server's disk. Raises `SettingsError` for a URL of another kind.
    """

    def __init__(self, url: str) -> None:
        self._connection = Connection(url)
        self._decoded = {}

    def __reduce__(self) -> tuple[type["ValkeyStore"], tuple[str]]:
        return (ValkeyStore, (self.url,))

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._connection.url

    @property
    def connection(self) -> Connection:
        """The connections below, for the desk's own start-up checks."""
        return self._connection

    def load_functions(self) -> None:
        """Load the function library now instead of on first use."""
        self._connection.load_functions()

    def ping(self) -> None:
        self._connection.run(self._connection.money.ping)

    def durability(self) -> dict[str, str]:
        facts = self._connection.run(lambda: self._connection.money.info("everything"))
        return {
            **self._settings(),
            "role": facts["role"],
            "version": facts.get("valkey_version") or facts["redis_version"],
            "wait_aof": "yes" if self._connection.wait_aof else "no",
        }

    def close(self) -> None:
        self._connection.close()

    def _settings(self) -> dict[str, str]:
        names = ("appendonly", "appendfsync", "maxmemory-policy")
        try:
            return self._connection.run(lambda: self._connection.money.config_get(*names))
        except redis.ResponseError:
            # Hosted servers hide CONFIG; what cannot be read is said to be unknown.
            return dict.fromkeys(names, "unknown")
