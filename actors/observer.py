"""The observer: holds what runs decide against what their versions were judged on, and lets them learn."""

from collections.abc import Callable
from dataclasses import dataclass

import ray

from actors.drift_watch import DriftWatch, WatchParts
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.learning_cycles import CycleParts, LearningCycles
from actors.store_calls import rebuilt

LOOK_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverParts:
    """Collaborators."""

    watch: WatchParts
    cycles: CycleParts


class Observer:
    """Shell only: the rules are in `desk.evaluation.drift` and `desk.learning.cycles`. Its state is
    what is stored."""

    def __init__(self, build: Callable[[], ObserverParts]) -> None:
        parts = rebuilt(build)
        self._watch = DriftWatch(parts.watch)
        self._cycles = LearningCycles(parts.cycles)
        self._pulse = Pulse("observer")
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))
        # A loop of its own: the way back from a drift does not wait for a cycle.
        learning = Pulse("observer:learning")
        self._learning = begin(lambda: keep_turning(self.turn_learning, learning))

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer the supervisor."""
        return self._pulse.beat()

    async def turn(self) -> float:
        """Judge what was decided since the last turn."""
        self._pulse.count("drifts", await self._watch.look())
        return LOOK_S

    async def turn_learning(self) -> float:
        """One step of every learning cycle."""
        await self._cycles.turn()
        return LOOK_S


ObserverActor = ray.remote(Observer)
