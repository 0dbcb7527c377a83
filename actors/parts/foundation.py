"""What every actor process opens: the store, and the market's clock."""

import os

from actors.wiring import Wiring
from desk.clock import ClockAnchor
from desk.errors import StoreUnavailable
from desk.store import kinds
from desk.store.port import Store
from desk.store.valkey import ValkeyStore
from desk.wallclock import VenueClock


def open_store(wiring: Wiring) -> Store:
    """The store of this desk; connects on first use."""
    return ValkeyStore(wiring.store_url)


def market_clock(store: Store, *, is_first: bool = False) -> VenueClock:
    """Market time from the newest stored reading.

    A process that starts before there is one must wait, or it would begin on the wall's time and
    could not go back: raises `StoreUnavailable` then, unless it `is_first` and takes the reading.
    """
    if not is_first and read_anchor(store) is None:
        raise StoreUnavailable("the venue's clock was not read yet")

    def read() -> ClockAnchor | None:
        try:
            return read_anchor(store)
        except StoreUnavailable:
            return None  # the last reading goes on

    return VenueClock(read)


def read_anchor(store: Store) -> ClockAnchor | None:
    """The newest stored reading of the venue's clock."""
    found = store.get(kinds.STATE, "clock")
    if found is None:
        return None
    value = found.value
    return ClockAnchor(
        market_ms=int(value["market_ms"]),
        wall_ms=int(value["wall_ms"]),
        speed=float(value["speed"]),
        offset_ms=int(value.get("offset_ms", 0)),
        round_trip_ms=int(value.get("round_trip_ms", 0)),
    )


def owner() -> str:
    """Who holds a lease."""
    return f"{os.uname().nodename}:{os.getpid()}"
