"""The exchange, for the processes that speak to it."""

from actors.wiring import Wiring
from desk.store.port import Store
from desk.venues.bingx import BingxVenue
from desk.venues.bingx_wire import BingxConfig

TRADING_SHARE = 0.1
"""Of the address's market data budget, for the live account's own reads."""


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


def market_data(wiring: Wiring) -> BingxVenue:
    """For one of the pollers, which share the rest of the budget evenly."""
    return BingxVenue(config(wiring, share=(1.0 - TRADING_SHARE) / len(wiring.pairs)))


def trading_venue(wiring: Wiring, store: Store) -> BingxVenue:
    """For the live account's actors."""
    return BingxVenue(config(wiring, share=TRADING_SHARE), store.fills_of_order)
