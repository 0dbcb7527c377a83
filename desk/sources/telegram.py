"""Channels of Telegram through Telethon: what a channel holds now, and word of what changes."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import SecretStr
from telethon import TelegramClient, errors, events, utils
from telethon.sessions import StringSession
from telethon.tl.functions.messages import SendMessageRequest

from desk.errors import FeedError, FeedRefused, FeedThrottled
from desk.market.channel_messages import ChannelMessage
from desk.market.signals import MAX_TEXT_CHARS
from desk.sources.changes import Changed, Hear
from desk.sources.telegram_line import Line
from desk.wallclock import monotonic_s

# Telethon is untyped: its objects stay inside this file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false

NAME = "telegram"
CALL_TIMEOUT_S = 60.0
"""Of one call with all its pages; Telethon itself would wait for ever for a silent server."""
CONNECT_TIMEOUT_S = 20.0
YOUNG_S = 60.0
"""A connection that ends sooner is not told of."""
FLOOD_SLEEP_S = 5
"""Waits up to this are slept out inside the call; longer ones are the caller's to plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TelegramAccess:
    """The account that reads. The session is full access to it: shown nowhere, stored nowhere."""

    api_id: int
    api_hash: SecretStr
    session: SecretStr


def new_client(access: TelegramAccess) -> Any:
    """A client of Telethon that is not connected yet and does not connect again by itself."""
    return TelegramClient(
        StringSession(access.session.get_secret_value()),
        access.api_id,
        access.api_hash.get_secret_value(),
        flood_sleep_threshold=FLOOD_SLEEP_S,
        request_retries=2,
        connection_retries=2,
        retry_delay=1,
        sequential_updates=True,
        raise_last_call_error=True,
        # By itself it would do so at once and for ever, with one more task each time.
        auto_reconnect=False,
    )


class TelegramChannels:
    """Connects on first use and again after a loss. Every method raises `FeedError`:
    `FeedThrottled` with the wait that Telegram asked for, `FeedRefused` for a dead session."""

    def __init__(self, access: TelegramAccess, hear: Hear = lambda _: None) -> None:
        self._access, self._hear = access, hear
        self._line: Line | None = None
        self._since_s = 0.0
        self._turn = asyncio.Lock()
        self._peers: dict[str, Any] = {}
        self._names: dict[int, str] = {}

    async def newest(self, channel: str, limit: int) -> list[ChannelMessage]:
        """The newest messages, oldest first."""

        async def read(client: Any) -> list[ChannelMessage]:
            peer = await self._peer(client, channel)
            return [_message(row) async for row in client.iter_messages(peer, limit=limit)][::-1]

        return await self._call(read)

    async def since(self, channel: str, after_id: int, limit: int) -> list[ChannelMessage]:
        """Messages with ids above `after_id`, oldest first, at most `limit`."""

        async def read(client: Any) -> list[ChannelMessage]:
            peer = await self._peer(client, channel)
            rows = client.iter_messages(peer, limit=limit, min_id=after_id, reverse=True)
            return [_message(row) async for row in rows]

        return await self._call(read)

    async def send(self, chat: str, text: str, *, random_id: int) -> None:
        """Write to a chat as the account. The same `random_id` is taken by Telegram once, so that a
        repeat after a lost answer writes nothing twice."""

        async def write(client: Any) -> None:
            peer = await self._peer(client, chat)
            try:
                await client(SendMessageRequest(peer, text, random_id=random_id, no_webpage=True))
            except errors.RandomIdDuplicateError:
                return

        await self._call(write)

    async def close(self) -> None:
        """Leave; the next call connects again."""
        async with self._turn:
            await self._leave()

    async def _call[R](self, work: Callable[[Any], Coroutine[Any, Any, R]]) -> R:
        # One call at a time: two would each connect, with one session.
        async with self._turn:
            try:
                return await self._read(work)
            except errors.FloodWaitError as flood:
                raise FeedThrottled(NAME, int(flood.seconds)) from None
            except (errors.UnauthorizedError, errors.AuthKeyError) as refused:
                await self._leave()
                raise FeedRefused(
                    f"Telegram refuses the session ({type(refused).__name__}): run `desk telegram login` and"
                    " set TELEGRAM_SESSION"
                ) from None
            except (errors.RPCError, ValueError, TypeError) as wrong:
                # Telethon says with ValueError that a name does not exist, or that its retries are over.
                raise FeedError(
                    f"Telegram did not deliver ({type(wrong).__name__}: {wrong})"
                ) from None
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as lost:
                await self._leave()
                raise FeedError(f"Telegram is away ({type(lost).__name__}: {lost})") from None
            except (FeedRefused, asyncio.CancelledError):
                await self._leave()
                raise

    async def _read[R](self, work: Callable[[Any], Coroutine[Any, Any, R]]) -> R:
        line = await self._connected()
        try:
            return await line.run(work(line.client), CALL_TIMEOUT_S)
        except TimeoutError:
            raise
        except (OSError, asyncio.IncompleteReadError):
            # It had stood, perhaps for hours, and ended: reading again once costs nothing.
            line = await self._connected()
            return await line.run(work(line.client), CALL_TIMEOUT_S)

    async def _connected(self) -> Line:
        if self._line is not None and self._line.is_open:
            return self._line
        await self._leave()
        client = new_client(self._access)
        client.add_event_handler(self._on_new, events.NewMessage())
        client.add_event_handler(self._on_edit, events.MessageEdited())
        client.add_event_handler(self._on_delete, events.MessageDeleted())
        line = self._line = Line(client, self._on_lost)
        await line.run(_connect(client), CONNECT_TIMEOUT_S)
        self._since_s = monotonic_s()
        line.watch()
        return line

    async def _leave(self) -> None:
        line, self._line = self._line, None
        self._peers.clear()
        if line is not None:
            await line.leave()

    def _on_lost(self, line: Line) -> None:
        """Have the channels polled, which connects again. Not for one that ended young: a server
        that hangs up each time is left to the cadence of polls."""
        if line is self._line and monotonic_s() - self._since_s >= YOUNG_S:
            for channel in self._names.values():
                self._hear(Changed(channel=channel))

    async def _peer(self, client: Any, channel: str) -> Any:
        if channel not in self._peers:
            wanted = int(channel) if channel.lstrip("-").isdigit() else channel
            try:
                peer = await client.get_input_entity(wanted)
            except ValueError:
                if isinstance(wanted, str):
                    raise
                # A string session knows no ids: the list of dialogs brings those we may read.
                await client.get_dialogs()
                peer = await client.get_input_entity(wanted)
            self._peers[channel] = peer
            self._names[utils.get_peer_id(peer)] = channel
        return self._peers[channel]

    async def _on_new(self, event: Any) -> None:
        channel = self._names.get(event.chat_id)
        if channel is not None:
            self._hear(Changed(channel=channel))

    async def _on_edit(self, event: Any) -> None:
        channel = self._names.get(event.chat_id)
        if channel is not None:
            self._hear(Changed(channel=channel, message=_message(event.message)))

    async def _on_delete(self, event: Any) -> None:
        channel = self._names.get(event.chat_id)
        if channel is not None:
            self._hear(Changed(channel=channel, deleted_ids=tuple(event.deleted_ids)))


def session_problem(session: str) -> str | None:
    """What is wrong with a session text, without showing it; None for a sound one."""
    try:
        has_key = StringSession(session).auth_key is not None
    except Exception:  # noqa: BLE001 - Telethon raises whatever base64, struct or ipaddress do
        has_key = False
    return (
        None if has_key else "is no session of Telethon: make a new one with `desk telegram login`"
    )


async def _connect(client: Any) -> None:
    await client.connect()
    if not await client.is_user_authorized():
        raise FeedRefused("Telegram does not know the session: log in, set TELEGRAM_SESSION")


def _message(row: Any) -> ChannelMessage:
    return ChannelMessage(
        message_id=int(row.id),
        sent_ms=_ms(row.date) or 0,
        edited_ms=_ms(getattr(row, "edit_date", None)),
        author=getattr(row, "post_author", None),
        text=str(getattr(row, "message", None) or "")[:MAX_TEXT_CHARS],
        media=type(row.media).__name__ if getattr(row, "media", None) is not None else None,
    )


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)
