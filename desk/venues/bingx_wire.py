"""One call to BingX: signed by ccxt, timed by the venue's clock, under one deadline.

ccxt is used for signing, the transport and the list of endpoints, not for its parsers: given an
empty, cut or wrong body those return an empty list, which reads as "flat" or "no orders".
"""

import asyncio
import json
import math
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import certifi

from desk import meters
from desk.clock import ClockAnchor
from desk.errors import BadInput, Banned, VenueUnavailable
from desk.venues.bingx_answers import Answer, guard, http_refusal
from desk.venues.bingx_errors import Meaning, Refusal, read_error
from desk.venues.ccxt_light import bingx_class, ccxt_error
from desk.wallclock import monotonic_s, wall_ms

CLOCK_MAX_AGE_S = 60.0
LONGEST_BAN_S = 3_600.0
"""A ban that is said to last longer is tried again after this."""
BAN_READ_EVERY_S = 1.0
"""How often a process looks whether another one has met a ban."""
WRITE_BAN_KNOWN_S = 5.0
"""For so long a write trusts what `get_ready` learnt of bans: it is not held up by reading it."""
WRITE_CLOCK_AGE_S = 5 * CLOCK_MAX_AGE_S
_SECTIONS = (
    *("fund", "spot", "swap", "contract", "wallets", "user"),
    *("subAccount", "account", "copyTrading", "cswap", "api"),
)
_UNBLOCKED_AT = re.compile(r"after\D{0,12}(\d{13})")

type Parameters = Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BingxConfig:
    """Which venue and account, and how much of the address's budget this process may use.

    `market_share` is a fraction of the documented rates of public calls (each times the venue's
    market speed); the shares of all processes behind one address must not exceed 1. Market data
    needs no key. `ban_pause_s` is how long no call is made after a ban of unknown length.
    """

    base_url: str
    api_key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    recv_window_ms: int = 5000
    collateral_asset: str = "USDT"
    market_share: float = 1.0
    deadline_s: float = 10.0
    ban_pause_s: float = 600.0


class BanBook(Protocol):
    """Where every process behind one address learns of a ban that one of them met."""

    def until_wall_ms(self) -> int:
        """Until when no call may be made, wall ms; 0 without a ban."""
        ...

    def note(self, until_wall_ms: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RateBudget:
    """What the headers of an answer say about the address: requests left, ms until they are renewed."""

    remain: int
    renewed_in_ms: float


class _HttpStatus(Exception):
    """An HTTP status other than 2xx, with its body."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


_signed_wall_ms: ContextVar[int | None] = ContextVar("_signed_wall_ms", default=None)
_budget: ContextVar[RateBudget | None] = ContextVar("_budget", default=None)


class BingxWire:
    """The connections of one process to the venue; opened in the event loop of the first call."""

    def __init__(self, config: BingxConfig, bans: BanBook | None = None) -> None:
        self.config = config
        self._bans = bans
        self._bans_read_at_s = float("-inf")
        self._exchange_class = bingx_class()  # here, as it would hold up the event loop for 0.3 s
        self._exchange: Any = None
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._offset_ms = 0
        self._anchor: ClockAnchor | None = None
        self._synced_at_s = float("-inf")
        self._banned_until_ms = 0

    async def read(self, endpoint: str, parameters: Parameters, *, private: bool = False) -> Answer:
        """Ask, and ask once more with a fresh clock if the venue refused ours.

        Raises `VenueUnavailable` without a clear answer and `ProtocolError` for an unreadable one.
        """
        async with self._deadline(endpoint):
            if private:
                await self._sync(CLOCK_MAX_AGE_S)
            answer = await self._call(endpoint, parameters, private=private)
            if isinstance(answer, Refusal) and answer.meaning is Meaning.CLOCK_SKEW:
                await self._sync(0.0)
                answer = await self._call(endpoint, parameters, private=private)
            return answer

    async def write(
        self, endpoint: str, parameters: Parameters, *, signed_wall_ms: int | None = None
    ) -> Answer:
        """Send once, never again; signed with our wall time of `signed_wall_ms` (default: now).

        Raises as `read` does: whoever asked must then treat the outcome as unknown. A clock that
        the venue refuses is read afresh before the next private call.
        """
        window = {"recvWindow": self.config.recv_window_ms}
        async with self._deadline(endpoint):
            await self._sync(WRITE_CLOCK_AGE_S)
            token = _signed_wall_ms.set(signed_wall_ms)
            try:
                answer = await self._call(
                    endpoint, {**parameters, **window}, private=True, bans_known_s=WRITE_BAN_KNOWN_S
                )
            finally:
                _signed_wall_ms.reset(token)
        if isinstance(answer, Refusal) and answer.meaning is Meaning.CLOCK_SKEW:
            self._synced_at_s = float("-inf")
        return answer

    async def get_ready(self) -> None:
        """Read what a write would otherwise wait for: bans that others met, and a clock that is old."""
        await self._learn_of_bans(BAN_READ_EVERY_S)
        if self._ban_left_ms() <= 0:  # then nothing may be asked
            await self._sync(WRITE_CLOCK_AGE_S / 2)

    async def server_clock(self) -> ClockAnchor:
        """Read the venue's two clocks: its wall for signatures, its market time for all the rest.

        The answer is taken to be as old as half the round trip. `marketTime` and `marketSpeed` come
        from the simulator; a venue without them lives on its wall clock, at speed 1.
        """
        endpoint = "swapV2PublicGetServerTime"
        async with self._deadline(endpoint):
            asked_ms = wall_ms()
            answer = await self._call(endpoint, {}, private=False)
            answered_ms = wall_ms()
        middle_ms = (asked_ms + answered_ms) // 2
        if isinstance(answer, Refusal):
            raise read_error(answer)
        row = answer.row()
        server_ms = row.integer("serverTime")
        speed = float(row.decimal("marketSpeed")) if row.has("marketSpeed") else 1.0
        if not 0 < speed < 1e6:
            raise row.wrong("marketSpeed", "a number above 0")
        self._offset_ms = server_ms - middle_ms
        self._anchor = ClockAnchor(
            market_ms=row.integer("marketTime", server_ms),
            wall_ms=middle_ms,
            speed=speed,
            offset_ms=self._offset_ms,
            round_trip_ms=answered_ms - asked_ms,
        )
        self._synced_at_s = monotonic_s()
        return self._anchor

    def budget(self) -> RateBudget | None:
        """What the headers of the last answer in this task said; None where they said nothing."""
        return _budget.get()

    async def anchor(self) -> ClockAnchor:
        """The last clock reading, or a first one."""
        return await self._sync(float("inf"))

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        session, exchange = self._session, self._exchange
        self._session = self._exchange = None
        if exchange is not None:
            exchange.session = None
        if session is not None:
            await session.close()

    async def _sync(self, max_age_s: float) -> ClockAnchor:
        if self._anchor is None or monotonic_s() - self._synced_at_s > max_age_s:
            return await self.server_clock()
        return self._anchor

    @asynccontextmanager
    async def _deadline(self, endpoint: str) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(self.config.deadline_s):
                yield
        except TimeoutError as late:
            reason = f"no answer within {self.config.deadline_s:g} s"
            raise VenueUnavailable(endpoint, reason) from late

    async def _call(
        self,
        endpoint: str,
        parameters: Parameters,
        *,
        private: bool,
        bans_known_s: float = BAN_READ_EVERY_S,
    ) -> Answer:
        began_s, outcome = monotonic_s(), "unclear"
        try:
            await self._refuse_while_banned(endpoint, bans_known_s)
            answer = await self._ask(endpoint, parameters, private=private)
            outcome = answer.meaning.value if isinstance(answer, Refusal) else "answered"
        except Banned:
            outcome = "not_sent"
            raise
        finally:
            meters.VENUE_CALLS.count(endpoint, outcome)
            meters.VENUE_CALL.observe(monotonic_s() - began_s, "private" if private else "public")
        return answer

    async def _ask(self, endpoint: str, parameters: Parameters, *, private: bool) -> Answer:
        if private and not (self.config.api_key and self.config.secret):
            raise BadInput("BINGX_API_KEY", f"was not set: {endpoint} needs a key and its secret")
        method = getattr(self._open(), endpoint)
        _budget.set(None)
        try:
            body: object = await method(dict(parameters))
        except _HttpStatus as wrong:
            answer = http_refusal(endpoint, wrong.status, wrong.body)
        except (ccxt_error(), OSError, ValueError) as failed:
            # without its cause: a printed chain would show the signed URL
            raise VenueUnavailable(endpoint, f"no answer: {_cause(failed)}") from None
        else:
            answer = guard(endpoint, body)
        if isinstance(answer, Refusal) and answer.meaning is Meaning.BANNED:
            await self._note_ban(answer.message)
        return answer

    async def _learn_of_bans(self, known_s: float) -> None:
        began_s = monotonic_s()
        if self._bans is not None and began_s - self._bans_read_at_s > known_s:
            known_ms = await asyncio.to_thread(self._bans.until_wall_ms)
            self._banned_until_ms = max(self._banned_until_ms, known_ms)
            self._bans_read_at_s = began_s  # only now: a call beside this one must not go on before

    async def _refuse_while_banned(self, endpoint: str, known_s: float) -> None:
        await self._learn_of_bans(known_s)
        left_ms = self._ban_left_ms()
        if left_ms > 0:
            reason = f"banned by the venue: no call for another {left_ms / 1000:.0f} s"
            raise Banned(endpoint, reason)

    def _ban_left_ms(self) -> int:
        return self._banned_until_ms - wall_ms()

    async def _note_ban(self, message: str) -> None:
        self._banned_until_ms = wall_ms() + round(self._ban_s(message) * 1000)
        if self._bans is not None:
            await asyncio.to_thread(self._bans.note, self._banned_until_ms)

    def _ban_s(self, message: str) -> float:
        ends = _UNBLOCKED_AT.search(message)
        if ends is None:
            return self.config.ban_pause_s
        return min(max((int(ends[1]) - self._nonce()) / 1000.0, 1.0), LONGEST_BAN_S)

    def _nonce(self) -> int:
        signed_ms = _signed_wall_ms.get()
        return (wall_ms() if signed_ms is None else signed_ms) + self._offset_ms

    def _open(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._exchange is None or self._loop is not loop:
            is_tls = self.config.base_url.startswith("https")
            tls = ssl.create_default_context(cafile=certifi.where()) if is_tls else False
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0, ssl=tls)
            self._session = aiohttp.ClientSession(connector=connector)
            self._exchange = self._new_exchange(loop, self._session)
            self._loop = loop
        return self._exchange

    def _new_exchange(self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> Any:
        exchange = self._exchange_class(
            {
                "apiKey": self.config.api_key,
                "secret": self.config.secret,
                "enableRateLimit": False,
                "timeout": round(self.config.deadline_s * 1000),
                "options": {"defaultType": "swap"},
                "asyncio_loop": loop,
                "session": session,
            }
        )
        urls = dict.fromkeys(_SECTIONS, f"{self.config.base_url.rstrip('/')}/openApi")
        exchange.urls = {**exchange.urls, "api": urls}
        exchange.ssl_context = False  # our session checks certificates; ccxt would load them again
        exchange.number = str
        # ccxt signs with the local clock and ignores its own time-difference option for BingX
        exchange.nonce = self._nonce
        # answers are classified by our table: ccxt's classes mix refusals with unknown outcomes
        exchange.handle_errors = _leave_to_the_guard
        exchange.handle_http_status_code = _keep_http_status
        exchange.on_json_response = _exact_json
        exchange.on_rest_response = _note_budget
        return exchange


def _note_budget(
    _code: int,
    _reason: str,
    _url: str,
    _method: str,
    headers: Mapping[str, str],
    body: str,
    *_: object,
) -> str:
    """ccxt's hook on every answer, in the task that asked."""
    _budget.set(rate_budget(headers, wall_ms()))
    return body


def rate_budget(headers: Mapping[str, str], now_ms: int) -> RateBudget | None:
    """Read `x-ratelimit-requests-remain` and `-expire`; None where they are absent or unreadable.

    No document says what `expire` counts: an epoch in ms or s, or seconds from now, are told apart
    by their size. The wait is 0 to 60 s whatever it says.
    """
    named = {name.lower(): value for name, value in headers.items()}
    try:
        remain = int(named["x-ratelimit-requests-remain"])
        expire = float(named["x-ratelimit-requests-expire"])
    except (KeyError, ValueError):
        return None
    if expire > 1e11:
        wait_ms = expire - now_ms
    elif expire > 1e8:
        wait_ms = expire * 1000 - now_ms
    else:
        wait_ms = expire * 1000
    if not math.isfinite(wait_ms):
        return None
    return RateBudget(remain=remain, renewed_in_ms=min(max(wait_ms, 0.0), 60_000.0))


def _leave_to_the_guard(*_: object) -> None:
    return None


def _keep_http_status(status: int, _reason: str, _url: str, _method: str, body: str) -> None:
    if not 200 <= status < 300:
        raise _HttpStatus(status, body)


def _exact_json(text: str) -> object:
    """Numbers with a point stay the text they were; `NaN` becomes a text, refused where it is read."""
    return json.loads(text, parse_float=str, parse_constant=str)


def _cause(failed: BaseException) -> str:
    """Name what went wrong below ccxt, without the signed URL that some texts repeat."""
    below = failed.__cause__
    if below is None:
        return type(failed).__name__
    said = below.message if isinstance(below, aiohttp.ClientResponseError) else str(below)
    return " ".join(f"{type(below).__name__} {said}".split())[:160]
