"""Whether an account's exchange answers, and how long it has to before entries and runs go on."""

from dataclasses import dataclass, replace
from enum import StrEnum

STALE_AFTER_MS = 10_000
"""Wall ms without a full answer of the exchange after which entries are refused."""
BAD_CHECKS = 3
"""Failed comparisons in a row after which the exchange counts as away, and its runs pause."""
GOOD_CHECKS = 3
"""Comparisons in a row that must succeed before an exchange that was away counts as well again."""


class Condition(StrEnum):
    """How an exchange does; the value is the code of pauses, refusals and alerts."""

    WELL = "well"
    AWAY = "exchange_maintenance"
    """Maintenance, an outage, or no way to it: from here they look the same."""
    BANNED = "exchange_ban"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueHealth:
    """What the reconciler of an account learnt from its comparisons. Times are wall ms."""

    account: str
    condition: Condition = Condition.WELL
    seen_wall_ms: int = 0
    """When the exchange last answered a whole comparison; 0: never yet."""
    since_wall_ms: int = 0
    """When the condition began."""
    good_checks: int = 0
    bad_checks: int = 0
    detail: str = ""
    is_acted_on: bool = False
    """Whether the runs were paused and the operator told of this condition; a crash may come before."""


def answered(before: VenueHealth, *, wall_ms: int) -> VenueHealth:
    """Note a comparison that the exchange answered in full."""
    good = before.good_checks + 1
    is_well = before.condition is Condition.WELL or good >= GOOD_CHECKS
    after = replace(before, seen_wall_ms=wall_ms, good_checks=good, bad_checks=0)
    return _turned(after, Condition.WELL, "", wall_ms) if is_well else after


def failed(before: VenueHealth, detail: str, *, wall_ms: int, banned: bool = False) -> VenueHealth:
    """Note a comparison that failed; a ban counts at once, anything else from `BAD_CHECKS` on."""
    after = replace(before, good_checks=0, bad_checks=before.bad_checks + 1, detail=detail)
    if banned:
        return _turned(after, Condition.BANNED, detail, wall_ms)
    if after.bad_checks >= BAD_CHECKS and before.condition is Condition.WELL:
        return _turned(after, Condition.AWAY, detail, wall_ms)
    return after


def objection(health: VenueHealth | None, *, wall_ms: int) -> tuple[str, str, str] | None:
    """Why no entry may go to the exchange now: code, what is, what is needed; None when it may."""
    if health is None or not health.seen_wall_ms:
        return "venue_state_stale", "never compared", "one comparison with the exchange"
    age_ms = wall_ms - health.seen_wall_ms
    if age_ms > STALE_AFTER_MS:
        return "venue_state_stale", f"{age_ms} ms", f"{STALE_AFTER_MS} ms"
    if health.condition is not Condition.WELL:
        good = f"{health.good_checks} good checks"
        return health.condition.value, good, f"{GOOD_CHECKS} good checks"
    return None


def _turned(health: VenueHealth, condition: Condition, detail: str, wall_ms: int) -> VenueHealth:
    if health.condition is condition:
        return health
    return replace(
        health, condition=condition, since_wall_ms=wall_ms, detail=detail, is_acted_on=False
    )


def acted_on(health: VenueHealth, condition: Condition) -> VenueHealth:
    """Note that what follows from a condition was done; nothing where another one has begun since."""
    return replace(health, is_acted_on=True) if health.condition is condition else health
