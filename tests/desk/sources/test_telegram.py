"""The unmodified Telethon client against our own Telegram."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr

from desk.errors import FeedError, FeedRefused, FeedThrottled
from desk.sources import telegram, telegram_line
from desk.sources.changes import Changed
from desk.sources.telegram import TelegramAccess, TelegramChannels, session_problem
from tests.telegram_double import TelegramDouble

type Act = Callable[[TelegramDouble, TelegramChannels], Awaitable[None]]


def access(double: TelegramDouble) -> TelegramAccess:
    return TelegramAccess(
        api_id=1, api_hash=SecretStr("canary-hash"), session=SecretStr(double.session)
    )


def play(act: Act, hear: Callable[[Changed], None] = lambda _: None) -> TelegramDouble:
    """Let `act` use a client of a fresh Telegram, then end both."""

    async def run() -> TelegramDouble:
        async with TelegramDouble() as double:
            channels = TelegramChannels(access(double), hear)
            try:
                await act(double, channels)
            finally:
                await channels.close()
            return double

    return asyncio.run(run())


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.01)


def test_history_comes_in_order_over_pages_and_each_message_once() -> None:
    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        for number in range(250):
            double.post(f"text {number + 1}")

        newest = await channels.newest("calls", 5)
        after = await channels.since("calls", 10, 220)
        none = await channels.since("calls", 250, 50)

        assert [row.message_id for row in newest] == [246, 247, 248, 249, 250]
        assert [row.message_id for row in after] == list(range(11, 231))
        assert [row.text for row in after[:2]] == ["text 11", "text 12"]
        assert none == []

    heard = play(act).heard
    assert heard.count("ResolveUsername") == 1


def test_new_edited_and_deleted_messages_are_told_at_once() -> None:
    heard: list[Changed] = []

    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        first = double.post("buy btc")
        await channels.newest("calls", 5)

        double.post("sell btc", is_pushed=True)
        await until(lambda: len(heard) == 1)
        double.edit(first, "buy eth", is_pushed=True)
        await until(lambda: len(heard) == 2)
        double.delete(first)
        await until(lambda: len(heard) == 3)

    play(act, heard.append)
    assert heard[0] == Changed(channel="calls")
    assert heard[1].message is not None
    assert (heard[1].message.message_id, heard[1].message.text) == (1, "buy eth")
    assert heard[2].deleted_ids == (1,)


def test_a_long_flood_wait_is_told_and_a_short_one_slept_out() -> None:
    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        double.post("text")
        double.failures["GetHistory"] = deque(["FLOOD_WAIT_1"])
        assert len(await channels.newest("calls", 5)) == 1

        double.failures["GetHistory"] = deque(["FLOOD_WAIT_90"])
        with pytest.raises(FeedThrottled) as told:
            await channels.newest("calls", 5)
        assert told.value.wait_s == 90

    play(act)


def test_a_connection_that_ends_inside_a_request_loses_nothing() -> None:
    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        double.post("text")
        double.failures["GetHistory"] = deque(["drop"])
        assert [row.text for row in await channels.newest("calls", 5)] == ["text"]

    assert play(act).heard.count("GetHistory") == 2


def test_an_absent_telegram_is_a_feed_error_and_the_next_call_connects_again() -> None:
    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        double.post("text")
        await channels.newest("calls", 5)
        await double.stop()
        with pytest.raises(FeedError):
            await channels.newest("calls", 5)
        await double.listen()
        assert len(await channels.newest("calls", 5)) == 1

    play(act)


def test_an_unknown_channel_and_a_revoked_session_are_told_apart() -> None:
    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        with pytest.raises(FeedError) as unknown:
            await channels.newest("nobody", 5)
        assert not isinstance(unknown.value, FeedRefused)
        await channels.close()
        double.is_known = False
        with pytest.raises(FeedRefused, match="TELEGRAM_SESSION"):
            await channels.newest("calls", 5)

    play(act)


def test_a_silent_telegram_ends_each_wait_and_leaves_no_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telegram, "CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(telegram, "CALL_TIMEOUT_S", 0.2)

    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        double.post("text")
        before = asyncio.all_tasks()
        for silent in ("GetConfig", "GetHistory"):
            double.failures[silent] = deque(["silent"])
            with pytest.raises(FeedError, match="away"):
                await channels.newest("calls", 5)
            await until(lambda: not ours(before))
            # On a busy machine the time may be over before the silent request was reached.
            double.failures.clear()
        monkeypatch.setattr(telegram, "CONNECT_TIMEOUT_S", 20.0)
        monkeypatch.setattr(telegram, "CALL_TIMEOUT_S", 20.0)
        assert len(await channels.newest("calls", 5)) == 1
        assert ours(before)
        await channels.close()
        await until(lambda: not ours(before))

    play(act)


def ours(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Tasks of the client since then: those of the double serve a connection."""
    return {
        task
        for task in asyncio.all_tasks() - before
        if "TelegramDouble" not in repr(task.get_coro())
    }


def test_a_client_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telegram_line, "CLOSE_TIMEOUT_S", 0.2)

    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        double.post("text")
        before = asyncio.all_tasks()
        await channels.newest("calls", 5)
        line = channels._line
        assert line is not None
        monkeypatch.setattr(line.client, "_disconnect_coro", asyncio.Event().wait)
        await channels.close()
        assert line.tasks() == set()
        await until(lambda: not ours(before))

    play(act)


def test_a_server_that_hangs_up_each_time_is_asked_within_a_budget() -> None:
    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        double.failures["GetConfig"] = deque(["drop"] * 100)
        before = asyncio.all_tasks()
        with pytest.raises(FeedError):
            await channels.newest("calls", 5)
        await asyncio.sleep(0.2)
        assert double.heard.count("GetConfig") <= 2
        assert not ours(before)

    play(act)


def test_callers_at_once_share_one_connection() -> None:
    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        double.post("text")
        pages = await asyncio.gather(*(channels.newest("calls", 5) for _ in range(4)))
        assert [len(page) for page in pages] == [1] * 4

    heard = play(act).heard
    assert (heard.count("GetConfig"), heard.count("ResolveUsername")) == (1, 1)


@pytest.mark.parametrize("young_s", [0.0, 60.0])
def test_a_lost_connection_has_its_channels_polled_unless_it_was_young(
    monkeypatch: pytest.MonkeyPatch, young_s: float
) -> None:
    monkeypatch.setattr(telegram, "YOUNG_S", young_s)
    heard: list[Changed] = []

    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        await channels.newest("calls", 5)
        line = channels._line
        assert line is not None
        double.drop()
        await until(lambda: not line.tasks())
        assert not line.is_open

    play(act, heard.append)
    assert heard == ([] if young_s else [Changed(channel="calls")])


@pytest.mark.catalogue("S07")
def test_S07_the_session_shows_nowhere() -> None:
    async def act(double: TelegramDouble, channels: TelegramChannels) -> None:
        shown = f"{access(double)!r} {access(double)} {vars(channels)}"
        assert double.session not in shown
        assert "canary" not in shown
        double.is_known = False
        with pytest.raises(FeedRefused) as refused:
            await channels.newest("calls", 5)
        assert double.session not in f"{refused.value!r} {refused.value.__context__!r}"
        assert session_problem(double.session) is None
        assert double.session[:-9] not in str(session_problem(double.session[:-9]))
        assert session_problem(double.session[:-9]) is not None

    play(act)
