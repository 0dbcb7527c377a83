"""Turns at the venue, in memory."""

from desk.store.memory_state import MemoryState
from desk.wallclock import wall_ms

GRACE_MS = 2_000.0
HORIZON_MS = 60_000.0
CATCH_UP = 0.05


class MemoryTurns:
    """The twins of `turn_ask`, `turn_leave` and `turn_hinder`."""

    _state: MemoryState

    def ask_turn(
        self,
        address: str,
        lane: str,
        taker: str,
        *,
        priority: int,
        spacing_ms: float,
        now_ms: float | None = None,
    ) -> float:
        now = _now(now_ms)
        with self._state.lock:
            queue = self._state.turns[lane]
            for name, place in list(queue.waiting.items()):
                if place.back_ms + GRACE_MS < now:
                    del queue.waiting[name]
            slow_ms, hold_ms = self._state.hindered.get(address, (0.0, 0.0))
            spacing = spacing_ms * (2.0 if _not_beyond(slow_ms, now) > now else 1.0)
            free_ms = max(_not_beyond(queue.free_ms, now), _not_beyond(hold_ms, now))
            place = queue.join(taker, priority, now)
            rank = queue.rank(taker)
            wait_ms = max(free_ms - now, 0.0) + rank * spacing
            if wait_ms <= 0.0:
                del queue.waiting[taker]
                late = now - free_ms
                begun = now - min(late, CATCH_UP * spacing) if late < spacing else now
                queue.free_ms = begun + spacing
            else:
                place.back_ms = now + wait_ms
            return round(wait_ms, 3)

    def leave_turns(self, lane: str, taker: str) -> None:
        with self._state.lock:
            self._state.turns[lane].waiting.pop(taker, None)

    def hinder_turns(
        self,
        address: str,
        *,
        slow_ms: float = 0.0,
        hold_ms: float = 0.0,
        now_ms: float | None = None,
    ) -> None:
        now = _now(now_ms)
        with self._state.lock:
            known = self._state.hindered.get(address, (0.0, 0.0))
            slow, hold = (
                max(_not_beyond(before, now), now + min(span, HORIZON_MS))
                for before, span in zip(known, (slow_ms, hold_ms), strict=True)
            )
            self._state.hindered[address] = (slow, hold)


def _now(given: float | None) -> float:
    return float(wall_ms()) if given is None else given


def _not_beyond(at_ms: float, now_ms: float) -> float:
    return now_ms if at_ms > now_ms + HORIZON_MS else at_ms
