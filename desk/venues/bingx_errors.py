"""What each of BingX's answers means for an order, as a table.

Rows are found by the numeric body code and the message, never by the class that ccxt would raise:
there, "this id exists already" is a kind of "invalid order", and a wrong clock is a "bad symbol".
The meanings come from BingX's documents, not from experience with the real venue, so a write counts
as refused only where `placed` is `NO`; a finding on the demo venue changes a row, not the code.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from desk.errors import (
    Banned,
    DeskError,
    DuplicateClientId,
    LikelyRefused,
    OutcomeUnknown,
    ProtocolError,
    Throttled,
    VenueRejected,
    VenueUnavailable,
    WriteBanned,
    WriteThrottled,
)


class Placed(StrEnum):
    """Whether an order answered so may exist at the venue."""

    NO = "no"
    """A definite refusal: the allow-list."""
    LIKELY_NO = "likely_no"
    """Documented as a refusal, unproved: unknown until looked up, and not resent if never found."""
    UNKNOWN = "unknown"
    YES = "yes"


class Meaning(StrEnum):
    """What an answer says; the value is the `reason` that errors carry."""

    AUTH = "auth"
    THROTTLED = "throttled"
    BANNED = "banned"
    CLOCK_SKEW = "clock_skew"
    BAD_PARAMETERS = "bad_parameters"
    SETTING_LOCKED = "setting_locked"
    BUSY = "venue_busy"
    MARGIN = "margin"
    SIZE = "size"
    PRICE = "price"
    POST_ONLY = "post_only"
    VENUE_LIMIT = "venue_limit"
    DUPLICATE_CLIENT_ID = "duplicate_client_order_id"
    ORDER_NOT_SEEN = "order_not_seen"
    ORDER_FINAL = "order_already_final"
    NOTHING_TO_REDUCE = "nothing_to_reduce"
    SETTLEMENT = "funding_settlement"
    PAIR_CLOSED = "pair_closed"
    SYMBOL_UNKNOWN = "symbol_unknown"
    RISK_CONTROL = "venue_risk_control"
    CANCELLED_BY_VENUE = "cancelled_by_venue"
    UNREACHABLE = "unreachable"
    UNKNOWN_CODE = "unknown_code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row: which answers it covers and what they mean; `text` narrows it to some messages."""

    meaning: Meaning
    placed: Placed
    codes: frozenset[int] = frozenset()
    http: frozenset[int] = frozenset()
    text: re.Pattern[str] | None = None


def _rule(
    meaning: Meaning,
    placed: Placed,
    *codes: int,
    http: tuple[int, ...] = (),
    text: str | None = None,
) -> Rule:
    return Rule(
        meaning=meaning,
        placed=placed,
        codes=frozenset(codes),
        http=frozenset(http),
        text=re.compile(text, re.IGNORECASE) if text else None,
    )


_PARAMETER_CODES = (109400, 110400, 110426, 100400, 100404)
_CLOCK_TEXT = r"time ?stamp|recv ?window|nonce"
_LOCKED_TEXT = r"(position|order)s?\b.*\b(exist|open|pending|hold)|\b(exist|open|pending|hold)\w*\b.*\b(position|order)s?\b"
_DUPLICATE_TEXT = r"duplicat|(client ?order ?id|custom id).*(exist|used|unique|repeat)"
_SIZE_TEXT = r"amount|quantit|size|volume|minimum|precision|step|less than|greater than|stop ?loss|take ?profit|\b[ts][pl]\b"

RULES: tuple[Rule, ...] = (
    _rule(Meaning.AUTH, Placed.NO, 100001, 100412, 100413, 100004, 100419, 100414),
    _rule(Meaning.BANNED, Placed.UNKNOWN, 418, http=(418,)),
    _rule(Meaning.THROTTLED, Placed.UNKNOWN, 100410, 429, http=(429,)),
    _rule(Meaning.CLOCK_SKEW, Placed.UNKNOWN, 100421),
    _rule(Meaning.CLOCK_SKEW, Placed.UNKNOWN, *_PARAMETER_CODES, text=_CLOCK_TEXT),
    _rule(Meaning.SETTING_LOCKED, Placed.LIKELY_NO, *_PARAMETER_CODES, text=_LOCKED_TEXT),
    _rule(Meaning.BAD_PARAMETERS, Placed.LIKELY_NO, *_PARAMETER_CODES),
    _rule(Meaning.BUSY, Placed.UNKNOWN, 100500, 109500, 110500, 109701, 101219, 101412),
    _rule(Meaning.MARGIN, Placed.NO, 101204, 80012, 100202, 101206, 101212, 101253, 110424),
    _rule(Meaning.DUPLICATE_CLIENT_ID, Placed.YES, 101400, text=_DUPLICATE_TEXT),
    _rule(Meaning.SIZE, Placed.NO, 101400, text=_SIZE_TEXT),
    _rule(Meaning.SIZE, Placed.NO, 110425),
    _rule(Meaning.SIZE, Placed.LIKELY_NO, 101400, 101202, 110422),
    _rule(
        Meaning.PRICE,
        Placed.LIKELY_NO,
        *(101211, 110402, 101460, 101461, 110411, 110412, 110413, 110414),
    ),
    _rule(Meaning.POST_ONLY, Placed.LIKELY_NO, 101215),
    _rule(
        Meaning.VENUE_LIMIT,
        Placed.LIKELY_NO,
        *(101209, 101222, 101414, 101429, 110287, 112414, 101419, 110206),
    ),
    _rule(Meaning.DUPLICATE_CLIENT_ID, Placed.YES, 101481, 109201),
    _rule(Meaning.ORDER_NOT_SEEN, Placed.UNKNOWN, 109421, 80016, 80017),
    _rule(Meaning.ORDER_FINAL, Placed.YES, 80018, 109422),
    _rule(Meaning.NOTHING_TO_REDUCE, Placed.NO, 101205, 101290, 109420, 110203, 101485),
    _rule(Meaning.SETTLEMENT, Placed.UNKNOWN, 101214),
    _rule(
        Meaning.PAIR_CLOSED,
        Placed.LIKELY_NO,
        *(101413, 104424, 101415, 110280, 109417, 109418, 100490),
    ),
    _rule(Meaning.SYMBOL_UNKNOWN, Placed.LIKELY_NO, 109425),
    _rule(Meaning.RISK_CONTROL, Placed.LIKELY_NO, 109403, 109429),
    _rule(Meaning.SETTING_LOCKED, Placed.LIKELY_NO, 104103, 104108, 109430),
    _rule(Meaning.CANCELLED_BY_VENUE, Placed.UNKNOWN, 102201),
    _rule(Meaning.UNREACHABLE, Placed.UNKNOWN, http=(403, 404, 500, 502, 503, 504)),
)
"""The first row that fits counts. 100421 and 101214 are documented refusals too, but of the moment,
not of the order: once it is proved absent it may be sent again, so they are plainly unknown."""

_UNKNOWN_CODE = Rule(meaning=Meaning.UNKNOWN_CODE, placed=Placed.UNKNOWN)
_UNREACHABLE = Rule(meaning=Meaning.UNREACHABLE, placed=Placed.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that is not a success: HTTP status, body code (None without one) and message."""

    call: str
    http_status: int
    code: int | None
    message: str

    @property
    def rule(self) -> Rule:
        """The row that covers it. A body behind a 5xx is a gateway's and proves nothing."""
        if self.http_status >= 500:
            return _UNREACHABLE
        for rule in RULES:
            if self.code in rule.codes and (rule.text is None or rule.text.search(self.message)):
                return rule
        for rule in RULES:
            if self.http_status in rule.http:
                return rule
        return _UNKNOWN_CODE

    @property
    def meaning(self) -> Meaning:
        return self.rule.meaning

    def __str__(self) -> str:
        number = f"HTTP {self.http_status}" if self.code is None else f"code {self.code}"
        return f"{self.meaning} ({number}): {self.message[:200]}"


def read_error(refusal: Refusal) -> DeskError:
    """Return the error of a refused read; nothing may be concluded from it."""
    match refusal.meaning:
        case Meaning.THROTTLED:
            return Throttled(refusal.call, str(refusal))
        case Meaning.BANNED:
            return Banned(refusal.call, str(refusal))
        case Meaning.UNKNOWN_CODE:
            return ProtocolError(refusal.call, str(refusal))
        case _:
            return VenueUnavailable(refusal.call, str(refusal))


def write_error(refusal: Refusal) -> DeskError:
    """Return the error of a refused order or setting: `VenueRejected` only for the allow-list."""
    match refusal.rule.placed:
        case Placed.NO:
            code = "" if refusal.code is None else str(refusal.code)
            return VenueRejected(refusal.call, code, refusal.meaning.value, refusal.message)
        case Placed.LIKELY_NO:
            return LikelyRefused(refusal.call, str(refusal))
        case Placed.YES | Placed.UNKNOWN:
            return cancel_error(refusal)


def cancel_error(refusal: Refusal) -> OutcomeUnknown:
    """Return the error of a refused cancel, which proves nothing about the order.

    Some codes that refuse an order outright (80012) also come for a cancel that failed.
    """
    match refusal.meaning:
        case Meaning.DUPLICATE_CLIENT_ID:
            return DuplicateClientId(refusal.call, str(refusal))
        case Meaning.THROTTLED:
            return WriteThrottled(refusal.call, str(refusal))
        case Meaning.BANNED:
            return WriteBanned(refusal.call, str(refusal))
        case _:
            return OutcomeUnknown(refusal.call, str(refusal))
