"""Telling a receiver of alerts by HTTP, without being led to where the desk must not go.

The address is resolved once per call, judged, and connected to as it was judged: a name that changes
its mind in between (DNS rebinding) changes nothing. Redirects are not followed. Besides loopback, which
has to be named as such, only public addresses are called, and only over TLS.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import ssl
from collections.abc import Awaitable, Callable, Sequence

from pydantic import SecretStr

from desk.alert_queue import Notice, body_of
from desk.alert_target import is_public, parse_target
from desk.errors import FeedError
from desk.wallclock import wall_ms

CALL_TIMEOUT_S = 10.0
"""Of a whole call: resolving, connecting, TLS, sending, reading."""
MOST_ANSWER_BYTES = 8_192
"""Read of an answer; the rest is left unread."""

type Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
type Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
type Connect = Callable[[str, int, str | None], Awaitable[Line]]
"""Address, port, and the name that the TLS certificate must be of; None: without TLS."""


class AlertWebhook:
    """One receiver. `tell` raises `FeedError` unless it answered with 2xx."""

    def __init__(
        self,
        url: SecretStr,
        secret: SecretStr,
        *,
        resolve: Resolve | None = None,
        connect: Connect | None = None,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._target = parse_target(url.get_secret_value())
        self._secret = secret.get_secret_value().encode()
        self._resolve, self._connect = resolve or _resolve, connect or _connect
        self._now_ms = now_ms

    async def tell(self, notice: Notice) -> None:
        """POST one notice, signed. Nothing of the answer but its status counts."""
        body = json.dumps(body_of(notice), separators=(",", ":")).encode()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                status = await self._post(body, notice.notice_id)
        except TimeoutError:
            raise FeedError(f"the receiver did not answer in {CALL_TIMEOUT_S:g} s") from None
        except (
            OSError,
            ValueError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ) as lost:
            raise FeedError(f"the receiver is away ({type(lost).__name__}: {lost})") from None
        if not 200 <= status < 300:
            raise FeedError(
                f"the receiver answered {status}, expected 2xx; redirects are not followed"
            )

    async def close(self) -> None:
        """Nothing is kept open between calls."""

    async def _post(self, body: bytes, notice_id: str) -> int:
        target = self._target
        address = await self._address()
        name = target.host if target.scheme == "https" else None
        reader, writer = await self._connect(address, target.port, name)
        try:
            writer.write(self._head(body, notice_id) + body)
            await writer.drain()
            return _status(await _first_line(reader))
        finally:
            writer.transport.abort()  # an answer without an end must not keep us

    async def _address(self) -> str:
        """The address that is called: of several, all must be allowed."""
        target = self._target
        found = await self._resolve(target.host, target.port)
        for text in found:
            address = ipaddress.ip_address(text)
            if not (address.is_loopback if target.is_loopback else is_public(address)):
                raise FeedError("the receiver's name leads to an address that must not be called")
        if not found:
            raise FeedError("the receiver's name leads nowhere")
        return found[0]

    def _head(self, body: bytes, notice_id: str) -> bytes:
        target, stamp_s = self._target, self._now_ms() // 1000
        host = f"[{target.host}]" if ":" in target.host else target.host
        lines = (
            f"POST {target.path} HTTP/1.1",
            f"Host: {host}:{target.port}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "User-Agent: raydesk",
            "Connection: close",
            f"X-Raydesk-Delivery: {notice_id}",
            f"X-Raydesk-Signature: t={stamp_s},v1={signature(self._secret, stamp_s, body)}",
        )
        return "\r\n".join((*lines, "", "")).encode("ascii")


def signature(secret: bytes, stamp_s: int, body: bytes) -> str:
    """HMAC-SHA256 over `stamp.body`, hex: who checks it refuses stamps that are old."""
    return hmac.new(secret, f"{stamp_s}.".encode() + body, hashlib.sha256).hexdigest()


async def _resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, proto=6)
    return [str(entry[4][0]) for entry in found]


async def _connect(address: str, port: int, name: str | None) -> Line:
    if name is None:
        return await asyncio.open_connection(address, port, limit=MOST_ANSWER_BYTES)
    return await asyncio.open_connection(
        address,
        port,
        ssl=ssl.create_default_context(),
        server_hostname=name,
        limit=MOST_ANSWER_BYTES,
    )


async def _first_line(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n")


def _status(line: bytes) -> int:
    words = line.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ValueError("the answer is no HTTP")
    return int(words[1])
