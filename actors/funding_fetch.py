"""Before a dataset with funding is frozen: the settlements that its range lacks are read from the venue."""

from typing import Protocol

from desk.errors import VersionConflict
from desk.ids import Pair
from desk.market.features import FeatureSet
from desk.market.funding_features import LATE_MS, holes
from desk.store import kinds
from desk.store.funding_history import stored_settlements
from desk.store.port import DocStore
from desk.venues.pager import Window
from desk.venues.port import FundingRate


class FundingSource(Protocol):
    """Where settlements are read."""

    async def funding_rates(self, pair: Pair, start_ms: int, end_ms: int) -> list[FundingRate]: ...


def funding_to_fetch(
    store: DocStore, features: FeatureSet, pair: Pair, *, start_ms: int, end_ms: int, now_ms: int
) -> Window | None:
    """The part of what rows with closes of `[start_ms, end_ms]` look at in which settlements are missing.

    None where none is, and for a set without funding. The newest hour is the pollers': they note when
    a settlement was read.
    """
    columns = features.funding
    if columns is None:
        return None
    first_ms, last_ms = start_ms - columns.horizon_ms, min(end_ms, now_ms - LATE_MS)
    if first_ms >= last_ms:
        return None
    found = stored_settlements(store, pair, first_ms, last_ms)
    return holes([one.due_ms for one in found], first_ms, last_ms, columns.max_age_min)


async def fetch_funding(store: DocStore, venue: FundingSource, pair: Pair, window: Window) -> int:
    """Keep what was settled in the window, as history; what is stored already stays as it is.

    Returns how many settlements were new. Idempotent. Raises `VenueUnavailable`.
    """
    kind, new = kinds.funding_rates(pair), 0
    for rate in await venue.funding_rates(pair, *window):
        try:
            store.put(kind, str(rate.due_ms), rate, at_ms=rate.due_ms, expected_version=0)
        except VersionConflict:
            continue
        new += 1
    return new
