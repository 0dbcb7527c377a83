"""The signal poller's parts."""

from importlib import import_module
from typing import cast

from actors.parts.foundation import open_store
from actors.signal_poller import Channels, SignalParts
from actors.wiring import Wiring
from desk.clock import MINUTE_MS
from desk.errors import SettingsError
from desk.sources.changes import Hear
from desk.store.places import shared_folder
from desk.store.signal_archive import SignalArchive
from desk.wallclock import wall_ms


def signal_parts(wiring: Wiring) -> SignalParts:
    """Build in the poller's process."""

    def open_channels(hear: Hear) -> Channels:
        if wiring.telegram_api_hash is None or wiring.telegram_session is None:
            raise SettingsError("TELEGRAM_CHAT_IDS needs TELEGRAM_API_HASH and TELEGRAM_SESSION")
        # Telethon only in this process: the supervisor and the API import this file too.
        telegram = import_module("desk.sources.telegram")
        access = telegram.TelegramAccess(
            api_id=wiring.telegram_api_id,
            api_hash=wiring.telegram_api_hash,
            session=wiring.telegram_session,
        )
        return cast("Channels", telegram.TelegramChannels(access, hear))

    store = open_store(wiring)
    return SignalParts(
        store=store,
        archive=SignalArchive(shared_folder(wiring.place, "history", store)),
        open_channels=open_channels,
        channels=wiring.telegram_channels,
        now_ms=wall_ms,
        every_s=wiring.telegram_ingest_interval_min * MINUTE_MS // 1000,
        sync_limit=wiring.telegram_sync_limit,
    )
