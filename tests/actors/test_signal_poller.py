"""The poller of channels on the real client, our own Telegram and a store."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pydantic import SecretStr

from actors import channel_book
from actors.channel_book import ChannelBook
from actors.signal_poller import SignalParts, SignalPoller
from actors.signal_status import judged_signal, status_key, wish_key
from actors.tree import signal_children
from actors.wiring import Wiring
from desk.clock import DAY_MS, HOUR_MS
from desk.errors import StoreUnavailable
from desk.market.channel_messages import TELEGRAM, ChannelMessage, read_signal, receive_message
from desk.market.signals import MAX_TEXT_CHARS, ParseStatus, Signal
from desk.runs import SourceStatus
from desk.sources.telegram import TelegramAccess, TelegramChannels
from desk.store import kinds, signals
from desk.store.memory import MemoryStore
from desk.store.signal_archive import SignalArchive
from tests.telegram_double import TelegramDouble

SOURCE = "telegram:calls"
BEGIN_MS = 1_800_000_000_000


class Desk:
    """A store, a wall clock, and one poller at a time on one Telegram."""

    def __init__(self, double: TelegramDouble, home: Path) -> None:
        self.double, self.store, self.now_ms = double, MemoryStore(), BEGIN_MS
        self.archive = SignalArchive(home)
        self.poller = self.started()

    def started(self, **changes: Any) -> SignalPoller:
        access = TelegramAccess(
            api_id=1, api_hash=SecretStr("hash"), session=SecretStr(self.double.session)
        )
        parts = SignalParts(
            store=self.store,
            archive=self.archive,
            open_channels=lambda hear: TelegramChannels(access, hear),
            channels=("calls",),
            now_ms=lambda: self.now_ms,
            every_s=3_600,
            sync_limit=50,
        )
        poller = SignalPoller(lambda: replace(parts, **changes))
        # Turned by the test alone: a loop beside it would take a connection from the other's hands.
        assert isinstance(poller._loop, asyncio.Task)
        poller._loop.cancel()
        return poller

    async def restart(self, **changes: Any) -> None:
        await self.poller.close()
        self.poller = self.started(**changes)

    async def hour(self) -> None:
        self.now_ms += HOUR_MS
        await self.poller.turn()

    def found(self, query: str = "") -> list[Signal]:
        """Oldest first."""
        page = signals.search(
            self.store, SOURCE, start_ms=0, end_ms=self.now_ms + DAY_MS, query=query, limit=1_000
        )
        return sorted(page.signals, key=lambda row: (int(row.external_id), row.rev))

    def texts(self) -> list[str]:
        return [signal.text for signal in self.found()]

    def status(self) -> SourceStatus:
        doc = self.store.get(kinds.SOURCES, status_key(TELEGRAM, SOURCE))
        assert doc is not None
        return doc.value


def play(act: Callable[[Desk], Awaitable[None]]) -> None:
    async def run() -> None:
        with TemporaryDirectory() as home:
            await within(Path(home))

    async def within(home: Path) -> None:
        async with TelegramDouble() as double:
            desk = Desk(double, home)
            try:
                await act(desk)
            finally:
                await desk.poller.close()

    asyncio.run(run())


async def told(desk: Desk, count: int) -> None:
    """Wait until Telegram's word has reached the poller."""
    async with asyncio.timeout(20):
        while len(desk.poller._events) < count:
            await asyncio.sleep(0.01)


def test_a_first_reading_takes_the_newest_and_later_ones_everything_in_between() -> None:
    async def act(desk: Desk) -> None:
        for number in range(80):
            desk.double.post(f"text {number + 1}")
        await desk.poller.turn()
        assert desk.texts() == [f"text {number}" for number in range(31, 81)]

        for number in range(80, 230):
            desk.double.post(f"text {number + 1}")
        await desk.hour()
        for _ in range(3):
            desk.now_ms += 1_000
            await desk.poller.turn()
        assert desk.texts() == [f"text {number}" for number in range(31, 231)]

    play(act)


def test_a_message_that_is_told_comes_before_its_poll_and_once() -> None:
    async def act(desk: Desk) -> None:
        desk.double.post("buy BTC/USDT")
        await desk.poller.turn()
        desk.double.post("short ETH", is_pushed=True)
        await told(desk, 1)
        await desk.poller.turn()
        await desk.hour()

        [first, second] = desk.found()
        assert (first.symbol, first.side, first.parse_status) == ("BTC-USDT", "buy", ParseStatus.OK)
        assert (second.symbol, second.side, second.rev) == ("ETH-USDT", "sell", 1)

    play(act)


@pytest.mark.parametrize("is_pushed", [True, False])
def test_an_edit_is_a_revision_once_whether_it_was_told_or_found(is_pushed: bool) -> None:
    async def act(desk: Desk) -> None:
        number = desk.double.post("buy btc")
        await desk.poller.turn()
        desk.double.edit(number, "sell btc", is_pushed=is_pushed)
        if is_pushed:
            await told(desk, 1)
            await desk.poller.turn()
            assert len(desk.found()) == 2
        await desk.hour()
        await desk.hour()
        assert [(row.rev, row.side) for row in desk.found()] == [(1, "buy"), (2, "sell")]

    play(act)


def test_a_deletion_is_a_revision_and_what_was_said_stays() -> None:
    async def act(desk: Desk) -> None:
        number = desk.double.post("buy btc")
        await desk.poller.turn()
        desk.double.delete(number)
        await told(desk, 1)
        await desk.poller.turn()
        assert [(row.rev, row.text) for row in desk.found()] == [(1, "buy btc"), (2, "")]

    play(act)


def test_a_flood_wait_holds_over_a_restart_and_ends() -> None:
    async def act(desk: Desk) -> None:
        desk.double.post("text")
        desk.double.failures["GetHistory"] = deque(["FLOOD_WAIT_900"])
        await desk.poller.turn()
        assert (desk.status().status, desk.texts()) == ("unavailable", [])

        await desk.restart()
        desk.now_ms += 899_000
        await desk.poller.turn()
        assert desk.double.heard.count("GetHistory") == 1
        desk.now_ms += 1_000
        await desk.poller.turn()
        assert (desk.status().status, desk.texts()) == ("ok", ["text"])

    play(act)


class Dying(MemoryStore):
    """Goes away for good before the n-th change."""

    left = 10**9

    def put(self, *args: Any, **more: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailable("killed")
        return super().put(*args, **more)


def test_a_poll_moves_what_is_too_old_into_the_archive() -> None:
    async def act(desk: Desk) -> None:
        desk.double.post("one")
        await desk.poller.turn()
        desk.now_ms += signals.KEPT_MS
        desk.double.post("two")
        await desk.hour()
        assert [row.text for row in desk.found()] == ["two"]
        [(_, key, kept)] = desk.archive.read(SOURCE, 0, desk.now_ms)
        assert (key, kept.source_id) == ("1:1", SOURCE)

    play(act)


def test_an_archive_on_a_full_disk_keeps_no_message_out() -> None:
    async def act(desk: Desk) -> None:
        desk.double.post("one")
        await desk.poller.turn()
        desk.now_ms += signals.KEPT_MS
        await desk.restart(archive=SignalArchive(Path("/dev/null")))
        desk.double.post("two")
        await desk.hour()
        assert (desk.texts(), desk.status().status) == (["one", "two"], "ok")
        assert desk.poller._pulse.counters["archives_failed"] == 1

    play(act)


@pytest.mark.parametrize("at", range(12))
def test_a_crash_anywhere_in_a_page_neither_loses_nor_doubles_a_message(at: int) -> None:
    store = Dying()
    page = [
        ChannelMessage(message_id=n, sent_ms=n, edited_ms=None, author=None, text=f"text {n}")
        for n in range(1, 11)
    ]
    store.left = at
    try:
        ChannelBook(store, "calls").keep_page(page, now_ms=BEGIN_MS)
    except StoreUnavailable:
        store.left = 10**9

    store.left = 10**9
    ChannelBook(store, "calls").keep_page(page, now_ms=BEGIN_MS + 1)

    kept = store.list(kinds.signals_of(SOURCE))
    assert sorted(doc.key for doc in kept) == sorted(f"{n}:1" for n in range(1, 11))
    assert ChannelBook(store, "calls").reading().message_id == 10


def test_a_restart_after_a_lost_connection_goes_on_where_it_was() -> None:
    async def act(desk: Desk) -> None:
        desk.double.post("one")
        await desk.poller.turn()
        desk.double.drop()
        desk.double.post("two")
        await desk.restart()
        await desk.poller.turn()
        desk.double.post("three")
        await desk.restart()
        await desk.hour()
        assert desk.texts() == ["one", "two", "three"]

    play(act)


def test_a_paused_source_is_not_asked_until_it_is_resumed_and_run() -> None:
    async def act(desk: Desk) -> None:
        desk.double.post("one")
        await desk.poller.turn()
        key = status_key(TELEGRAM, SOURCE)
        desk.store.put(kinds.SOURCES, key, replace(desk.status(), enabled=False), at_ms=1)
        desk.double.post("two")
        await desk.hour()
        assert desk.texts() == ["one"]
        desk.store.put(kinds.SOURCES, key, replace(desk.status(), enabled=True), at_ms=2)
        desk.store.put(kinds.STATE, wish_key(TELEGRAM), {}, at_ms=3)
        await desk.poller.turn()
        assert desk.texts() == ["one", "two"]

    play(act)


def test_freshness_is_the_age_of_the_last_sync_and_never_ok_while_nobody_polls() -> None:
    async def act(desk: Desk) -> None:
        await desk.poller.turn()
        row = desk.status()
        assert (row.status, row.last_event_ms, row.last_success_ms) == ("ok", 0, BEGIN_MS)

        def at(age_s: int, *, is_polled: bool = True) -> str:
            now_ms = BEGIN_MS + age_s * 1_000
            return judged_signal(row, now_ms=now_ms, is_polled=is_polled).status

        assert (at(3_900), at(3_901), at(1, is_polled=False)) == ("ok", "stale", "unavailable")

    play(act)


def test_a_revoked_session_is_said_and_asked_again_only_at_the_next_poll() -> None:
    async def act(desk: Desk) -> None:
        desk.double.is_known = False
        await desk.poller.turn()
        heard = len(desk.double.heard)
        desk.now_ms += 60_000
        await desk.poller.turn()
        assert "TELEGRAM_SESSION" in desk.status().detail
        assert len(desk.double.heard) == heard

    play(act)


@pytest.mark.catalogue("S12")
def test_S12_hostile_text_is_cut_kept_as_text_and_never_read_as_more() -> None:
    async def act(desk: Desk) -> None:
        hostile = "\u202e<script>buy</script>\0 {{7*7}} " + "z" * 64_000
        desk.double.post(hostile)
        await desk.poller.turn()
        [kept] = desk.found()
        assert kept.text == hostile[:MAX_TEXT_CHARS]
        assert len(desk.store.list(kinds.signals_of(SOURCE))[0].value.raw) < 2 * 6 * MAX_TEXT_CHARS

    play(act)


def test_what_was_archived_for_its_age_does_not_come_back(tmp_path: Path) -> None:
    store = MemoryStore()
    book = ChannelBook(store, "calls")
    message = ChannelMessage(message_id=1, sent_ms=1, edited_ms=None, author=None, text="a")
    book.keep_page([message], now_ms=BEGIN_MS)
    later_ms = BEGIN_MS + signals.KEPT_MS + 1
    archive = SignalArchive(tmp_path)
    assert signals.archive_and_trim(store, archive, SOURCE, now_ms=later_ms) == 1
    assert book.keep_page([replace(message, text="b")], now_ms=later_ms) == 0
    assert store.list(kinds.signals_of(SOURCE)) == []


def test_revisions_of_one_message_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_book, "MAX_REVISIONS", 3)
    store = MemoryStore()
    book = ChannelBook(store, "calls")
    for number in range(6):
        message = ChannelMessage(
            message_id=1, sent_ms=1, edited_ms=None, author=None, text=str(number)
        )
        book.keep(message, now_ms=BEGIN_MS + number, is_new=True)
    assert len(store.list(kinds.signals_of(SOURCE))) == 3


@pytest.mark.parametrize(
    ("text", "symbol", "side", "status"),
    [
        ("LONG #BTC now", "BTC-USDT", "buy", "ok"),
        ("sell eth-usdt", "ETH-USDT", "sell", "ok"),
        ("buy BTC or sell ETH", None, None, "unparsed"),
        ("buy it", None, "buy", "partial"),
        ("good morning", None, None, "unparsed"),
    ],
)
def test_one_pair_and_one_side_are_read(
    text: str, symbol: str | None, side: str | None, status: str
) -> None:
    message = ChannelMessage(message_id=1, sent_ms=1, edited_ms=None, author="me", text=text)
    signal = read_signal(receive_message(SOURCE, message, rev=1, received_ms=2))
    assert (signal.symbol, signal.side, signal.parse_status.value) == (symbol, side, status)


def test_the_tree_has_a_poller_of_channels_exactly_where_there_are_some(tmp_path: Path) -> None:
    wiring = Wiring(
        store_url="redis://127.0.0.1:1",
        home=tmp_path,
        venue_url="http://127.0.0.1:1",
        pairs=("BTC-USDT",),
        intervals=("1m",),
    )
    with_channels = replace(
        wiring,
        telegram_channels=("calls",),
        telegram_api_id=1,
        telegram_api_hash=SecretStr("leaky-hash"),
        telegram_session=SecretStr("leaky-session"),
    )

    assert signal_children(wiring) == []
    [spec] = signal_children(with_channels)
    parts = spec.build()
    assert isinstance(parts, SignalParts)
    assert (parts.channels, parts.every_s, parts.sync_limit) == (("calls",), 3_600, 50)
    assert isinstance(parts.open_channels(lambda _: None), TelegramChannels)
    assert "leaky" not in f"{with_channels!r} {spec!r}"
