"""Moving old receipts of signals out of the store, in nobody's way."""

from functools import partial

import structlog

from actors.heartbeat import Pulse
from actors.store_calls import stored
from desk.store import signals
from desk.store.port import Store

log = structlog.stdlib.get_logger()


async def archive_old(
    store: Store, archive: signals.Archive, source_id: str, pulse: Pulse, *, now_ms: int
) -> None:
    """Move what is too old; a full disk keeps it in the store and the source goes on."""
    move = partial(signals.archive_and_trim, store, archive, source_id, now_ms=now_ms)
    try:
        await stored(move)
    except OSError as failed:
        pulse.count("archives_failed")
        log.error("signals_not_archived", source=source_id, error=str(failed))
