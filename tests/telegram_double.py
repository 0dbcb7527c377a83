"""A Telegram of our own on loopback: MTProto without the key exchange, for the unmodified client.

Client and server share the key in the session text. Telethon serialises every TL object, so that
only framing, encryption and a dozen methods are ours. Switches make it answer badly.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false

import asyncio
import base64
import inspect
import os
import struct
import time
from collections import deque
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Self
from zlib import crc32

from telethon.crypto import AES, AuthKey
from telethon.extensions import BinaryReader
from telethon.network.mtprotostate import MTProtoState
from telethon.tl import functions, types
from telethon.tl.core import GzipPacked, MessageContainer

EPOCH_S = 1_750_000_000
CHANNEL_ID = 1_234_567
RPC_RESULT, VECTOR = 0xF35C6D01, 0x1CB5C415
WRAPPERS = (
    functions.InvokeWithLayerRequest,
    functions.InitConnectionRequest,
    functions.InvokeWithoutUpdatesRequest,
)


class TelegramDouble:
    """One account that follows one channel, `calls`. Used inside a running event loop."""

    def __init__(self) -> None:
        self.secret = os.urandom(256)
        self.key_id = _key_id(self.secret)
        self.rows: dict[int, Any] = {}
        self.pts = 1
        self.heard: list[str] = []
        """Names of the requests, in their order."""
        self.failures: dict[str, deque[str]] = {}
        """Errors that the next requests of a name get: `FLOOD_WAIT_90`, `drop`: no answer and
        the connection ends, or `silent`: no answer."""
        self.written: dict[int, str] = {}
        """By random id: what the account has written."""
        self.is_known = True
        self.page_limit = 100
        self._last_id = 0
        self._writers: dict[asyncio.StreamWriter, tuple[int, int]] = {}
        self._server: asyncio.Server | None = None
        self._broken: list[Exception] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        # Its own faults look to a client like a server that hangs up: it would connect for ever.
        if self._broken:
            raise ExceptionGroup("the double of Telegram is broken", self._broken)

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        assert self._server is not None
        self._server.close()
        self.drop()
        # Not wait_closed: a client that connects again would hold it for ever.
        await asyncio.sleep(0)

    def drop(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()
        self._writers.clear()

    @property
    def session(self) -> str:
        """A session text whose key this server knows."""
        packed = struct.pack(">B4sH256s", 2, bytes([127, 0, 0, 1]), self.port, self.secret)
        return "1" + base64.urlsafe_b64encode(packed).decode()

    # --- what happens in the channel ------------------------------------------------------------

    def post(self, text: str, *, is_pushed: bool = False, message_id: int = 0, **more: Any) -> int:
        """A new message; without a push nobody is told."""
        number = message_id or max(self.rows, default=0) + 1
        self.rows[number] = types.Message(
            id=number,
            peer_id=types.PeerChannel(CHANNEL_ID),
            date=datetime.fromtimestamp(EPOCH_S + number, UTC),
            message=text,
            post=True,
            **more,
        )
        self.pts += 1
        if is_pushed:
            self._push(types.UpdateNewChannelMessage(self.rows[number], self.pts, 1))
        return number

    def edit(self, number: int, text: str, *, is_pushed: bool = False) -> None:
        self.rows[number].message = text
        self.rows[number].edit_date = datetime.fromtimestamp(EPOCH_S + 500_000, UTC)
        self.pts += 1
        if is_pushed:
            self._push(types.UpdateEditChannelMessage(self.rows[number], self.pts, 1))

    def delete(self, number: int) -> None:
        del self.rows[number]
        self.pts += 1
        self._push(types.UpdateDeleteChannelMessages(CHANNEL_ID, [number], self.pts, 1))

    def _push(self, update: Any) -> None:
        told = types.Updates([update], [], [channel()], date=now(), seq=0)
        for writer in list(self._writers):
            self._send(writer, bytes(told), is_push=True)

    # --- the wire -------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers[writer] = (0, 0)
        try:
            while True:
                length, _ = struct.unpack("<ii", await reader.readexactly(8))
                packet = await reader.readexactly(length - 8)
                if writer not in self._writers:  # dropped, with packets that came before it
                    return
                self._take(writer, packet[:-4])
        except (asyncio.IncompleteReadError, OSError):
            pass
        except Exception as broken:  # noqa: BLE001 - told when the test ends
            self._broken.append(broken)
        finally:
            self._writers.pop(writer, None)
            writer.close()

    def _take(self, writer: asyncio.StreamWriter, packet: bytes) -> None:
        assert struct.unpack("<Q", packet[:8])[0] == self.key_id
        key, iv = MTProtoState._calc_key(self.secret, packet[8:24], True)
        plain = AES.decrypt_ige(packet[24:], key, iv)
        assert sha256(self.secret[88:120] + plain).digest()[8:24] == packet[8:24]
        _, session_id, msg_id, _, length = struct.unpack("<qqqii", plain[:32])
        self._writers[writer] = (session_id, self._writers[writer][1])
        self._handle(writer, msg_id, BinaryReader(plain[32 : 32 + length]).tgread_object())

    def _handle(self, writer: asyncio.StreamWriter, msg_id: int, asked: Any) -> None:
        while isinstance(asked, (GzipPacked, *WRAPPERS)):
            is_zip = isinstance(asked, GzipPacked)
            asked = BinaryReader(asked.data).tgread_object() if is_zip else asked.query
        if isinstance(asked, MessageContainer):
            for inner in asked.messages:
                self._handle(writer, inner.msg_id, inner.obj)
        elif isinstance(asked, functions.PingRequest):
            self._send(writer, bytes(types.Pong(msg_id, asked.ping_id)))
        elif not isinstance(asked, types.MsgsAck):
            name = type(asked).__name__.removesuffix("Request")
            self.heard.append(name)
            waiting = self.failures.get(name)
            failure = waiting.popleft() if waiting else ""
            if failure == "drop":
                writer.transport.abort()
            if failure in {"drop", "silent"}:
                return
            answer = bytes(types.RpcError(420, failure)) if failure else self._answer(name, asked)
            self._send(writer, struct.pack("<Iq", RPC_RESULT, msg_id) + answer)

    def _send(self, writer: asyncio.StreamWriter, body: bytes, *, is_push: bool = False) -> None:
        session_id, count = self._writers.get(writer, (0, 0))
        if not session_id or writer.is_closing():
            return
        fresh = int(time.time() * 2**32) & ~3
        self._last_id = max(fresh, (self._last_id & ~3) + 4) | (3 if is_push else 1)
        plain = struct.pack("<qqqii", 0, session_id, self._last_id, 1, len(body)) + body
        plain += os.urandom(-(len(plain) + 12) % 16 + 12)
        msg_key = sha256(self.secret[96:128] + plain).digest()[8:24]
        key, iv = MTProtoState._calc_key(self.secret, msg_key, False)
        packet = struct.pack("<Q", self.key_id) + msg_key + AES.encrypt_ige(plain, key, iv)
        framed = struct.pack("<ii", len(packet) + 12, count) + packet
        self._writers[writer] = (session_id, count + 1)
        writer.write(framed + struct.pack("<I", crc32(framed)))

    # --- the methods ----------------------------------------------------------------------------

    def _answer(self, name: str, asked: Any) -> bytes:  # noqa: PLR0911 - one line a method
        if not self.is_known and name != "GetConfig":
            return bytes(types.RpcError(401, "AUTH_KEY_UNREGISTERED"))
        match name:
            case "GetConfig":
                return bytes(filled(types.Config))
            case "GetUsers":
                me = types.User(id=1, is_self=True, access_hash=1, first_name="desk")
                return struct.pack("<II", VECTOR, 1) + bytes(me)
            case "GetState":
                return bytes(types.updates.State(1, 1, now(), 1, 0))
            case "GetDifference":
                return bytes(types.updates.DifferenceEmpty(now(), 1))
            case "GetChannelDifference":
                return bytes(types.updates.ChannelDifferenceEmpty(self.pts, final=True, timeout=30))
            case "ResolveUsername" if asked.username == "calls":
                peer = types.PeerChannel(CHANNEL_ID)
                return bytes(types.contacts.ResolvedPeer(peer, [channel()], []))
            case "ResolveUsername":
                return bytes(types.RpcError(400, "USERNAME_NOT_OCCUPIED"))
            case "GetHistory":
                return bytes(self._history(asked))
            case "SendMessage" if asked.random_id in self.written:
                return bytes(types.RpcError(400, "RANDOM_ID_DUPLICATE"))
            case "SendMessage":
                self.written[asked.random_id] = asked.message
                return bytes(types.Updates([], [], [], date=now(), seq=0))
            case _:
                return bytes(types.RpcError(400, f"METHOD_UNKNOWN_{name}"))

    def _history(self, asked: Any) -> Any:
        ids = sorted(self.rows, reverse=True)
        first = 0
        if asked.offset_id:
            first = sum(number >= asked.offset_id for number in ids)
        begin = first + asked.add_offset
        end = begin + min(asked.limit, self.page_limit)
        rows = [self.rows[number] for number in ids[max(begin, 0) : max(end, 0)]]
        return types.messages.ChannelMessages(
            pts=self.pts, count=len(ids), messages=rows, topics=[], chats=[channel()], users=[]
        )


def _key_id(secret: bytes) -> int:
    key_id = AuthKey(secret).key_id
    assert key_id is not None
    return key_id


def channel() -> Any:
    return types.Channel(
        id=CHANNEL_ID,
        title="Calls",
        photo=types.ChatPhotoEmpty(),
        date=now(),
        access_hash=77,
        broadcast=True,
        username="calls",
    )


def now() -> datetime:
    return datetime.now(UTC)


def filled(kind: Any) -> Any:
    """An object of a TL type with something in every required field."""
    plain: dict[str, Any] = {"int": 1, "str": "x", "bool": False, "list": []}
    given: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.default is inspect.Parameter.empty:
            said = str(parameter.annotation)
            is_date = "datetime" in said
            is_list = "List" in said
            short = said.removeprefix("<class '").removesuffix("'>")
            given[name] = now() if is_date else [] if is_list else plain.get(short, 1)
    return kind(**given)
