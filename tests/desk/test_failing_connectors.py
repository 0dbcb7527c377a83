"""Every connector fails with canaries for keys: what it raises and logs shows none of them."""

import asyncio
import io
import logging
import traceback
from collections.abc import Awaitable, Callable

import pytest
import structlog

from actors.parts.venue import trading_venue
from actors.wiring import Wiring
from desk.errors import DeskError
from desk.logs import configure_logs
from desk.settings import Settings, load_settings
from desk.sources.alert_webhook import AlertWebhook
from desk.sources.telegram import TelegramAccess, TelegramChannels
from desk.sources.tradingview import FeedRoute
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.valkey import ValkeyStore
from desk.venues.connect import bingx_config
from desk.wallclock import monotonic_s
from tests.canary import as_environment, core, planted, search, shown
from tests.conftest import SimulatorProcess
from tests.desk.sources.test_alert_webhook import NOTICE

pytestmark = pytest.mark.catalogue("S07")

NOWHERE = "http://127.0.0.1:9"


async def ask_telegram(settings: Settings, _: Wiring) -> None:
    assert settings.telegram_api_id is not None
    assert settings.telegram_api_hash is not None
    assert settings.telegram_session is not None
    access = TelegramAccess(
        api_id=settings.telegram_api_id,
        api_hash=settings.telegram_api_hash,
        session=settings.telegram_session,
    )
    channels = TelegramChannels(access)
    try:
        await channels.newest("calls", 5)
    finally:
        await channels.close()


async def tell_the_webhook(settings: Settings, _: Wiring) -> None:
    assert settings.alert_webhook_url is not None
    assert settings.alert_webhook_secret is not None
    await AlertWebhook(settings.alert_webhook_url, settings.alert_webhook_secret).tell(NOTICE)


async def knock_at_the_feed(settings: Settings, _: Wiring) -> None:
    assert settings.tradingview_feed_tokens is not None
    route = FeedRoute(NOWHERE, settings.tradingview_secret, monotonic_s=monotonic_s)
    await route.test(core("TRADINGVIEW_FEED_TOKENS"))


async def ask_the_store(_: Settings, wiring: Wiring) -> None:
    ValkeyStore(wiring.store_url).get(kinds.STATE, "clock")


async def ask_the_venue(_: Settings, wiring: Wiring) -> None:
    venue = trading_venue(wiring, MemoryStore())
    try:
        await venue.open_orders()
    finally:
        await venue.close()


CONNECTORS = (ask_telegram, tell_the_webhook, knock_at_the_feed, ask_the_store, ask_the_venue)


@pytest.mark.parametrize("connector", CONNECTORS)
def test_S07_a_connector_that_reaches_nobody_names_no_secret(
    connector: Callable[[Settings, Wiring], Awaitable[None]],
) -> None:
    said = failure_of(connector, NOWHERE)

    found = search([("error or log", said)])
    assert not found, shown(found)


def test_S07_a_venue_that_refuses_the_keys_does_not_show_them(simulator: SimulatorProcess) -> None:
    said = failure_of(ask_the_venue, simulator.url)

    found = search([("error or log", said)])
    assert not found, shown(found)


def failure_of(connector: Callable[[Settings, Wiring], Awaitable[None]], venue_url: str) -> bytes:
    """All that is raised and logged by a connector that must fail, with the chain of its causes."""
    settings = load_settings(as_environment(planted()))
    assert settings.redis_url is not None
    venue = bingx_config(settings, venue_url)
    wiring = Wiring.of(settings, store_url=settings.redis_url.get_secret_value(), venue=venue)
    stream = io.StringIO()
    library = logging.StreamHandler(stream)
    logging.getLogger().addHandler(library)
    configure_logs(logging.DEBUG, stream)
    try:
        asyncio.run(_outcome(connector(settings, wiring)))
    except DeskError as failed:
        structlog.get_logger().exception("connector_failed", error=repr(failed))
        told = "".join(traceback.format_exception(failed))
        return f"{failed!r} {vars(failed)} {told} {stream.getvalue()}".encode()
    finally:
        logging.getLogger().removeHandler(library)
        structlog.reset_defaults()
    raise AssertionError("it did not fail")


async def _outcome(work: Awaitable[None]) -> None:
    async with asyncio.timeout(60):
        await work
