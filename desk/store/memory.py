"""The store without a server: the same contract in one process, for simulation and tests."""

from desk.store.memory_audit import MemoryAudit
from desk.store.memory_candles import MemoryCandles
from desk.store.memory_documents import MemoryDocuments, MemoryEvents
from desk.store.memory_glance import MemoryGlance
from desk.store.memory_money import MemoryLeases, MemoryLedgers, MemoryOrders
from desk.store.memory_requests import MemoryRequests
from desk.store.memory_state import MemoryState
from desk.store.memory_turns import MemoryTurns
from desk.store.memory_versions import MemoryVersions


class MemoryStore(
    MemoryLeases,
    MemoryOrders,
    MemoryLedgers,
    MemoryDocuments,
    MemoryAudit,
    MemoryVersions,
    MemoryGlance,
    MemoryRequests,
    MemoryTurns,
    MemoryEvents,
    MemoryCandles,
):
    """`desk.store.port.Store` in memory; thread-safe, not durable.

    Rows pass through the same JSON as on a server, so what comes back is what a server returns.
    """

    def __init__(self) -> None:
        self._state = MemoryState()

    def ping(self) -> None:
        """Always answers."""

    def durability(self) -> dict[str, str]:
        return {
            "appendonly": "no",
            "appendfsync": "never",
            "maxmemory-policy": "noeviction",
            "role": "master",
            "version": "memory",
            "wait_aof": "no",
        }

    def close(self) -> None:
        """Nothing to close: the values live as long as the object."""
