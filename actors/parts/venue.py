"""The exchange, for the processes that speak to it."""

import structlog

from actors.wiring import Wiring
from desk.errors import StoreUnavailable
from desk.store import kinds
from desk.store.port import Store
from desk.venues.bingx import BingxVenue
from desk.venues.bingx_wire import BingxConfig

log = structlog.stdlib.get_logger()

BAN_KEY = "ban"
TRADING_SHARE = 0.1
"""Of the address's market data budget, for the live account's own reads."""


class StoredBans:
    """The bans that any process of this desk has met, in the store: they outlive a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def until_wall_ms(self) -> int:
        try:
            found = self._store.get(kinds.STATE, BAN_KEY)
        except StoreUnavailable as away:
            log.warning("ban_not_read", error=str(away))
            return 0
        return int(found.value["until_wall_ms"]) if found else 0

    def note(self, until_wall_ms: int) -> None:
        fact = {"until_wall_ms": max(until_wall_ms, self.until_wall_ms())}
        try:
            self._store.put(kinds.STATE, BAN_KEY, fact, at_ms=until_wall_ms)
        except StoreUnavailable as away:
            log.warning("ban_not_stored", error=str(away))


def config(wiring: Wiring, *, share: float) -> BingxConfig:
    """The venue's address with the account's keys and this process's share of the budget."""
    return BingxConfig(
        base_url=wiring.venue_url,
        api_key=wiring.api_key.get_secret_value() if wiring.api_key else "",
        secret=wiring.secret_key.get_secret_value() if wiring.secret_key else "",
        recv_window_ms=wiring.recv_window_ms,
        collateral_asset=wiring.collateral_asset,
        market_share=share,
    )


def market_data(wiring: Wiring, store: Store) -> BingxVenue:
    """For one of the pollers: in turns with all others, while the store is away at an even share."""
    share = (1.0 - TRADING_SHARE) / len(wiring.pairs)
    return BingxVenue(config(wiring, share=share), bans=StoredBans(store), turns=store)


def trading_venue(wiring: Wiring, store: Store) -> BingxVenue:
    """For the live account's actors."""
    return BingxVenue(
        config(wiring, share=TRADING_SHARE),
        store.fills_of_order,
        bans=StoredBans(store),
        turns=store,
    )
