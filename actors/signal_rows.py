"""What a poller of signals shares with the store: its sources' status rows and what operators ask of it."""

from collections.abc import Callable

from actors.signal_status import change_status, new_signal_status, status_key, wish_key
from actors.store_calls import retried, stored
from desk.runs import SourceStatus
from desk.store import kinds
from desk.store.port import DocStore


class SignalRows:
    """The rows of one type of source. `every_s` is the wall time between two syncs of one."""

    def __init__(
        self, store: DocStore, source_type: str, *, every_s: int, now_ms: Callable[[], int]
    ) -> None:
        self._store, self._type = store, source_type
        self._every_s, self._now_ms = every_s, now_ms
        self._wish_version = -1

    async def change(self, source_id: str, change: Callable[[SourceStatus], SourceStatus]) -> None:
        """Change a row, created where it is absent, again where others were quicker."""
        fresh = new_signal_status(self._type, source_id, every_s=self._every_s)
        now_ms = self._now_ms()

        async def attempt() -> None:
            await stored(lambda: change_status(self._store, fresh, change, now_ms=now_ms))

        await retried(attempt)

    async def is_enabled(self, source_id: str) -> bool:
        """Whether no operator has paused it."""
        key = status_key(self._type, source_id)
        found = await stored(lambda: self._store.get(kinds.SOURCES, key))
        return found is None or found.value.enabled

    async def was_asked(self) -> bool:
        """Whether an operator said `run` or `resume` since the last call; true at the first one."""
        found = await stored(lambda: self._store.get(kinds.STATE, wish_key(self._type)))
        version, before = found.version if found else 0, self._wish_version
        self._wish_version = version
        return version != before
