"""How an actor calls the store: in a thread, patiently, and under ids that make a repeat harmless."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

import structlog

from actors.heartbeat import leave
from desk import ids, meters
from desk.errors import DeskError, StoreUnavailable, VersionConflict
from desk.store.port import EventStore, Sample
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()

PATIENCE_S = 10.0
REBUILD_PATIENCE_S = 60.0
PAUSE_S = 0.1
METRIC_PATIENCE_S = 2.0
CONFLICT_TRIES = 30


async def stored[R](call: Callable[[], R], *, within_s: float = PATIENCE_S) -> R:
    """Run a store call in a thread and repeat it while the store is away.

    Only for reads, and for changes that carry a request id or may simply happen twice.
    Raises `StoreUnavailable` when `within_s` is over: the outcome of a change is then unknown.
    """
    until_s = monotonic_s() + within_s
    while True:
        began_s = monotonic_s()
        try:
            done = await asyncio.to_thread(call)
        except StoreUnavailable:
            meters.STORE_REPEATS.count()
            if monotonic_s() + PAUSE_S > until_s:
                raise
            await asyncio.sleep(PAUSE_S)
        else:
            meters.STORE_CALL.observe(monotonic_s() - began_s)
            return done


async def measured(store: EventStore, samples: list[Sample]) -> None:
    """Record samples if the store takes them soon: a lost figure keeps nobody from trading."""
    try:
        await stored(lambda: store.record(samples), within_s=METRIC_PATIENCE_S)
    except DeskError as lost:
        meters.SAMPLES_LOST.count(by=len(samples))
        log.warning("samples_lost", name=samples[0].name if samples else "", error=str(lost))


def rebuilt[R](call: Callable[[], R], *, within_s: float = REBUILD_PATIENCE_S) -> R:
    """Read state in `__init__`, waiting for the store; past the deadline the process ends.

    An exception out of `__init__` would kill the actor for good, an exit makes Ray try again.
    """
    until_s = monotonic_s() + within_s
    while True:
        try:
            return call()
        except StoreUnavailable as away:
            if monotonic_s() > until_s:
                leave(f"the store was away for {within_s:g} s: {away}")
            log.warning("store_away", error=str(away))
            time.sleep(PAUSE_S)


async def retried[R](attempt: Callable[[], Awaitable[R]]) -> R:
    """Repeat a read-decide-commit while other writers of the same rows come first."""
    for _ in range(CONFLICT_TRIES - 1):
        try:
            return await attempt()
        except VersionConflict:
            continue
    return await attempt()


class RequestIds:
    """Ids of store calls, one per logical call of this incarnation of a role.

    Two calls never share one: the store would answer the second with the first one's result.
    """

    def __init__(self, role: str, epoch: int) -> None:
        self._owner = f"{role}:{epoch}"
        self._numbers = itertools.count(1)

    def fresh(self, what: str) -> str:
        """A new id; keep it for repeats of the same call."""
        return ids.request_id(self._owner, what, next(self._numbers))
