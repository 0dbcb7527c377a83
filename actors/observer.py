"""The observer: holds what runs decide against what their versions were judged on, lets them learn, and
looks after alerts, service levels and the audit."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import ray

from actors.alert_delivery import AlertDelivery, Receiver
from actors.alert_life import AlertLife
from actors.audit_watch import AuditWatch
from actors.drift_watch import DriftWatch, WatchParts
from actors.event_follower import EventFollower
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.learning_cycles import CycleParts, LearningCycles
from actors.market_time import MarketClock
from actors.slo_watch import SloWatch, Thresholds
from actors.store_calls import rebuilt
from actors.trace_export import Collector, TraceExport

LOOK_S = 2.0
FOLLOW_S = 1.0
IDLE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverParts:
    """Collaborators."""

    watch: WatchParts
    cycles: CycleParts
    clock: MarketClock
    thresholds: Thresholds
    receivers: dict[str, Receiver]
    """Of alerts, by channel."""
    collector: Collector | None = None
    """Of traces; None: they stay in the store."""


class Observer:
    """Shell only: the rules are in `desk.evaluation.drift`, `desk.learning.cycles`, `desk.slo`,
    `desk.alert_codes`, `desk.alert_queue` and `desk.audit_chain`. Its state is what is stored."""

    def __init__(self, build: Callable[[], ObserverParts]) -> None:
        parts = rebuilt(build)
        store, clock = parts.watch.store, parts.clock
        self._watch = DriftWatch(parts.watch)
        self._cycles = LearningCycles(parts.cycles)
        self._audit, self._alerts = AuditWatch(store, clock), AlertLife(store, clock)
        self._levels = SloWatch(store, clock, parts.thresholds)
        self._delivery = AlertDelivery(store, clock, parts.receivers)
        self._traces = TraceExport(store, clock, parts.collector) if parts.collector else None
        listeners = [self._audit.hear, self._delivery.hear]
        if self._traces is not None:
            listeners.append(self._traces.hear)
        self._events = EventFollower(store, clock, listeners)
        self._pulse = Pulse("observer")
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))
        # Loops of their own: the way back from a drift waits neither for a cycle nor for a receiver.
        self._loops = [
            _begin("learning", self.turn_learning),
            _begin("events", self.turn_events),
            _begin("service", self.turn_service),
            _begin("traces", self.turn_traces),
            *(
                _begin(f"alerts:{channel}", lambda channel=channel: self.turn_alerts(channel))
                for channel in parts.receivers
            ),
        ]

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

    async def turn_events(self) -> float:
        """Hear what happened: rows of the audit, alerts to tell."""
        self._pulse.count("events", await self._events.turn())
        return FOLLOW_S

    async def turn_service(self) -> float:
        """Close alerts that are over, judge the service levels, check the audit, each when it is due."""
        self._pulse.count("alerts_resolved", await self._alerts.look())
        await self._levels.look()
        await self._audit.look()
        return LOOK_S

    async def turn_traces(self) -> float:
        """Export what is due, where a collector is named."""
        if self._traces is None:
            return IDLE_S
        self._pulse.count("spans", await self._traces.turn())
        return FOLLOW_S

    async def turn_alerts(self, channel: str) -> float:
        """Tell one receiver what is due."""
        self._pulse.count(f"told_{channel}", await self._delivery.deliver(channel))
        return LOOK_S


def _begin(name: str, turn: Callable[[], Coroutine[Any, Any, float]]) -> object:
    return begin(lambda: keep_turning(turn, Pulse(f"observer:{name}")))


ObserverActor = ray.remote(Observer)
