"""The gap monitor's parts."""

from actors.doors import PollerDoor
from actors.gap_monitor import GapParts
from actors.parts.foundation import market_clock, open_store
from actors.wiring import Wiring


def gap_parts(wiring: Wiring) -> GapParts:
    """Build in the gap monitor's process."""
    store = open_store(wiring)
    return GapParts(
        store=store,
        clock=market_clock(store),
        fetcher=PollerDoor(wiring),
        pairs=wiring.pairs,
        intervals=wiring.intervals,
        every_min=wiring.gap_monitor_interval_min,
        lookback_days=wiring.gap_lookback_days,
        heal_enabled=wiring.gap_heal_enabled,
        cooldown_min=wiring.gap_heal_cooldown_min,
        max_gaps_per_run=wiring.gap_heal_max_gaps_per_run,
        max_attempts=wiring.gap_heal_max_attempts,
        retry_every_s=wiring.retry_queue_interval_s,
    )
