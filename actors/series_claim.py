"""From when on a series should be complete: said by whoever fetches it, read by the gap monitor."""

from actors.store_calls import stored
from desk.ids import Pair
from desk.market.interval import Interval
from desk.store import kinds
from desk.store.port import DocStore


def claimed_from(store: DocStore, pair: Pair, interval: Interval) -> int | None:
    """Open time from which the desk means to have every candle; None before the first claim."""
    found = store.get(kinds.STATE, _key(pair, interval))
    return int(found.value["from_ms"]) if found else None


async def claim_from(
    store: DocStore, pair: Pair, interval: Interval, from_ms: int, *, at_ms: int
) -> None:
    """Claim a series from an open time on. A claim only grows: a later time changes nothing.

    What is claimed and missing is a gap, so that a head that was lost, or never came because its
    backfill died, is found. Idempotent.
    """
    known = await stored(lambda: claimed_from(store, pair, interval))
    if known is None or from_ms < known:
        claim = {"from_ms": from_ms}
        await stored(lambda: store.put(kinds.STATE, _key(pair, interval), claim, at_ms=at_ms))


def _key(pair: Pair, interval: Interval) -> str:
    return f"series:{pair}:{interval}"
