"""Several candle pollers in one process, for a desk of many pairs; each is asked by its pair.

A process costs a hundred times what a pair does. What one poller is stays `actors.candle_poller`'s.
"""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import ray

from actors.candle_messages import Fetched, FetchRange, PollNow, StartBackfill
from actors.candle_poller import CandlePoller, PollerParts
from actors.heartbeat import Heartbeat, Pulse
from actors.store_calls import rebuilt
from desk.errors import NotFound
from desk.ids import Pair


class CandlePollers:
    """The same methods as one poller has, each passed on to that of its pair."""

    def __init__(self, build: Callable[[], Mapping[Pair, PollerParts]]) -> None:
        parts = rebuilt(build)
        self._pulse = Pulse("candle_poller")
        self._pollers = {pair: CandlePoller(_given(each)) for pair, each in parts.items()}

    @ray.method(max_task_retries=0)
    async def backfill(self, ask: StartBackfill) -> None:
        """Take on a stored job. Raises `NotFound` for a pair of another poller."""
        await self._of(ask.ask.pair).backfill(ask)

    @ray.method(max_task_retries=0)
    async def fetch(self, ask: FetchRange) -> Fetched:
        """Fetch a range again. Raises `NotFound` for a pair of another poller."""
        return await self._of(ask.pair).fetch(ask)

    @ray.method(max_task_retries=0)
    async def poll_now(self, ask: PollNow) -> None:
        """Poll a pair's intervals at once. Raises `NotFound` for a pair of another poller."""
        await self._of(ask.pair).poll_now(ask)

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer the supervisor; as old as the pair that stands still longest, counting for all."""
        beats: list[Heartbeat] = [await poller.heartbeat() for poller in self._pollers.values()]
        counters: Counter[str] = Counter()
        for beat in beats:
            counters.update(beat.counters)
        oldest_s = max(beat.loop_age_s for beat in beats)
        return replace(self._pulse.beat(), loop_age_s=oldest_s, counters=dict(counters))

    def _of(self, pair: Pair) -> CandlePoller:
        found = self._pollers.get(pair)
        if found is None:
            raise NotFound("poller of pair", pair)
        return found


def _given(parts: PollerParts) -> Callable[[], PollerParts]:
    return lambda: parts


CandlePollersActor = ray.remote(CandlePollers)
