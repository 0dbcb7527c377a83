"""The polls of each series as ingestion runs: one per wall hour, not one per poll."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from actors.ingestion_log import (
    PATIENCE_S,
    IngestionLog,
    OpenRun,
    find,
    ingestion_id,
    keep,
    run_changed,
)
from actors.store_calls import stored
from desk.clock import HOUR_MS
from desk.errors import DeskError
from desk.ids import Pair
from desk.market import ingestion
from desk.market.ingestion import IngestionKind, IngestionRun, IngestionStatus, Reading
from desk.market.interval import Interval
from desk.store import kinds
from desk.store.port import Store
from desk.wallclock import monotonic_s
from desk.wallclock import wall_ms as read_wall_ms

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Series:
    """What is polled: a kind of feed, of a pair or of all, or a channel."""

    source_type: str
    pair: Pair = ""
    interval: Interval = ""
    source_id: str = ""

    @property
    def key(self) -> str:
        """Where the run that is open is remembered."""
        return f"ingesting:{self.source_type}:{self.source_id or self.pair}:{self.interval}"


class PollSessions:
    """The open sessions of one poller. A session that an earlier life left open is closed by the next."""

    def __init__(
        self,
        store: Store,
        now_ms: Callable[[], int],
        *,
        source: str,
        kind: IngestionKind = IngestionKind.POLL,
        wall_ms: Callable[[], int] = read_wall_ms,
        now_s: Callable[[], float] = monotonic_s,
    ) -> None:
        self._store, self._now_ms, self._wall_ms = store, now_ms, wall_ms
        self._source, self._kind = source, kind
        self._log = IngestionLog(store, now_ms, now_s=now_s)
        self._open: dict[Series, tuple[int, OpenRun]] = {}

    async def answered(self, series: Series, reading: Reading, *, is_last: bool = False) -> None:
        """Count an answer. `is_last`: no other is due within the hour, so the session ends here."""
        session = await self._session(series)
        await session.add(reading, wall_ms=self._wall_ms())
        if is_last:
            del self._open[series]
            await session.end()

    async def failed(self, series: Series, why: str) -> None:
        """Count a request without an answer."""
        session = await self._session(series)
        await session.add(Reading(answers=0, errors=1, error=why))

    async def _session(self, series: Series) -> OpenRun:
        hour = self._wall_ms() // HOUR_MS
        known = self._open.get(series)
        if known is not None and known[0] == hour:
            return known[1]
        run_id = ingestion_id(
            self._source, series.source_type, series.pair, series.interval, series.source_id, hour
        )
        if known is not None:
            await known[1].end()
        else:
            await self._end_left_open(series, run_id)
        session = await self._log.begin(self._fresh(series, run_id, hour * HOUR_MS))
        self._open[series] = hour, session
        await self._remember(series, run_id)
        return session

    def _fresh(self, series: Series, run_id: str, hour_wall_ms: int) -> IngestionRun:
        now_ms = self._now_ms()
        return IngestionRun(
            run_id=run_id,
            source=self._source,
            source_type=series.source_type,
            kind=self._kind,
            pair=series.pair,
            interval=series.interval,
            source_id=series.source_id,
            started_ms=now_ms,
            updated_ms=now_ms,
            hour_wall_ms=hour_wall_ms,
        )

    async def _end_left_open(self, series: Series, run_id: str) -> None:
        """What a poller that was killed left behind ended when it last said something."""
        try:
            fact = await stored(
                lambda: self._store.get(kinds.STATE, series.key), within_s=PATIENCE_S
            )
        except DeskError as away:
            log.warning("ingestion_runs_left_open", series=series.key, error=str(away))
            return
        left_id = str(fact.value.get("run_id", "")) if fact else ""
        left = await find(self._store, left_id) if left_id not in {"", run_id} else None
        if left is not None and left.status is IngestionStatus.RUNNING:
            closed = ingestion.ended(left, now_ms=left.updated_ms)
            await keep(self._store, closed, event=run_changed(closed))

    async def _remember(self, series: Series, run_id: str) -> None:
        fact = {"run_id": run_id}
        try:
            await stored(
                lambda: self._store.put(kinds.STATE, series.key, fact, at_ms=self._now_ms()),
                within_s=PATIENCE_S,
            )
        except DeskError as away:
            log.warning("ingestion_run_not_remembered", run_id=run_id, error=str(away))
