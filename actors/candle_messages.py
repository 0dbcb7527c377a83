"""What a candle poller announces and what it is asked: apart, so that who only sends or hears a
message does not load the exchange's client."""

from dataclasses import dataclass

from actors.commands import BackfillAsk
from desk.ids import Pair
from desk.market.candles import Candle
from desk.market.interval import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleClosed:
    """The newest candle of a series is stored; what fills from it has been booked."""

    pair: Pair
    interval: Interval
    open_ms: int
    trace_id: str
    candle: Candle | None = None
    """As whoever tells of it stored it; None: it did not. What is decided rests on the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartBackfill:
    """Carry out a backfill whose job is stored."""

    job_id: str
    ask: BackfillAsk


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRange:
    """Fetch open times `start_ms … end_ms`, both included, once more."""

    pair: Pair
    interval: Interval
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """How many of them were new, and whether the venue answered at all."""

    added: int
    is_answered: bool
    latest_ms: int = 0
    """The newest open time in the answer: holes before it were passed over, later ones not reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollNow:
    """Ask for these intervals of candles, or types of source, at once."""

    names: tuple[str, ...]
    pair: Pair = ""
    """Whose candles; feeds are of all pairs."""
