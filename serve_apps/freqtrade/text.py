"""Times, shares and words as freqtrade writes them."""

from datetime import UTC, datetime
from decimal import Decimal

from desk.market.interval import Interval, interval_ms


def moment(at_ms: int | None) -> str:
    """`2026-01-31 12:00:00`; empty for none."""
    return f"{utc(at_ms):%Y-%m-%d %H:%M:%S}" if at_ms else ""


def moment_or_none(at_ms: int | None) -> str | None:
    """The same; None for none."""
    return moment(at_ms) or None


def ago(at_ms: int | None, now_ms: int) -> str:
    """`3 hours ago`, in the largest whole unit; empty for none."""
    if not at_ms:
        return ""
    seconds = max(now_ms - at_ms, 0) // 1_000
    for unit, length_s in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if count := seconds // length_s:
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "just now"


def minutes_of(interval: Interval) -> int:
    """Whole minutes of an interval."""
    return interval_ms(interval) // 60_000


def ratio_of(net: Decimal, stake: Decimal) -> float | None:
    """A profit as a fraction of its stake; None without one."""
    return float(net / stake) if stake else None


def percent(ratio: float) -> float:
    """A hundred times a fraction, to two digits."""
    return round(ratio * 100, 2)


def utc(at_ms: int) -> datetime:
    """The moment of ms UTC."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC)


def stamp(at_ms: int) -> str:
    """`2026-01-31T12:00:00Z`."""
    return f"{utc(at_ms):%Y-%m-%dT%H:%M:%SZ}"
