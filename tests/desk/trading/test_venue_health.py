"""When an exchange counts as away, banned, and well again; what that means for entries."""

from dataclasses import replace
from decimal import Decimal

import pytest

from desk.trading import risk
from desk.trading.breaker import Breaker
from desk.trading.limits import default_limits, default_live_policy
from desk.trading.risk import Approved, Refused, VenueView
from desk.trading.venue_health import (
    BAD_CHECKS,
    GOOD_CHECKS,
    STALE_AFTER_MS,
    Condition,
    VenueHealth,
    answered,
    failed,
    objection,
)
from tests.desk.trading.builders import NOW, an_intent, books_with

FRESH = answered(VenueHealth(account="live"), wall_ms=1_000)


def after_failures(count: int, health: VenueHealth = FRESH) -> VenueHealth:
    for number in range(count):
        health = failed(health, "HTTP 503", wall_ms=2_000 + number)
    return health


def test_one_answer_makes_a_new_desk_ready() -> None:
    assert objection(None, wall_ms=0) is not None
    assert objection(VenueHealth(account="live"), wall_ms=0) is not None
    assert objection(FRESH, wall_ms=1_000) is None


@pytest.mark.catalogue("O26")
@pytest.mark.parametrize(
    ("age_ms", "passes"), [(STALE_AFTER_MS, True), (STALE_AFTER_MS + 1, False)]
)
def test_O26_an_answer_older_than_ten_seconds_stops_entries(age_ms: int, passes: bool) -> None:
    found = objection(FRESH, wall_ms=1_000 + age_ms)

    assert (found is None) == passes
    assert found is None or found[0] == "venue_state_stale"


def test_a_single_failure_is_no_outage_and_the_third_in_a_row_is() -> None:
    assert after_failures(BAD_CHECKS - 1).condition is Condition.WELL
    assert after_failures(BAD_CHECKS).condition is Condition.AWAY
    interrupted = answered(after_failures(BAD_CHECKS - 1), wall_ms=3_000)
    assert after_failures(BAD_CHECKS - 1, interrupted).condition is Condition.WELL


@pytest.mark.catalogue("O22")
def test_O22_a_ban_counts_at_once_and_later_failures_do_not_hide_it() -> None:
    banned = failed(FRESH, "418", wall_ms=2_000, banned=True)

    assert banned.condition is Condition.BANNED
    assert after_failures(BAD_CHECKS, banned).condition is Condition.BANNED
    found = objection(replace(banned, seen_wall_ms=2_000), wall_ms=2_000)
    assert found is not None
    assert found[0] == "exchange_ban"


@pytest.mark.catalogue("O23")
def test_O23_an_exchange_is_well_again_after_good_checks_in_a_row_only() -> None:
    health = after_failures(BAD_CHECKS)
    for _ in range(GOOD_CHECKS - 1):
        health = answered(health, wall_ms=9_000)
    almost = objection(health, wall_ms=9_000)
    relapsed = failed(health, "HTTP 503", wall_ms=9_100)
    recovered = answered(health, wall_ms=9_000)

    assert almost is not None
    assert almost[0] == "exchange_maintenance"
    assert relapsed.good_checks == 0
    assert (recovered.condition, objection(recovered, wall_ms=9_000)) == (Condition.WELL, None)


@pytest.mark.parametrize("reduce_only", [True, False])
def test_only_entries_wait_for_the_exchange(reduce_only: bool) -> None:
    intent = replace(an_intent("1"), reduce_only=reduce_only)
    away = VenueView(health=after_failures(BAD_CHECKS), wall_ms=2_500)

    verdict = risk.check(
        intent,
        ledger=books_with(),
        open_orders=(),
        limits=default_limits(),
        policy=default_live_policy("live"),
        breaker=Breaker(account="live"),
        price=Decimal(100),
        leverage=Decimal(1),
        now_ms=NOW,
        venue=away,
    )

    assert isinstance(verdict, Approved) == reduce_only
    assert not isinstance(verdict, Refused) or verdict.limit == "exchange_maintenance"


@pytest.mark.catalogue("O20")
@pytest.mark.parametrize(("now_ms", "passes"), [(NOW - 1, False), (NOW, True)])
def test_O20_a_pair_takes_entries_again_at_the_end_of_its_cool_down(
    now_ms: int, passes: bool
) -> None:
    verdict = risk.check(
        an_intent("1"),
        ledger=books_with(),
        open_orders=(),
        limits=default_limits(),
        policy=default_live_policy("live"),
        breaker=Breaker(account="live"),
        price=Decimal(100),
        leverage=Decimal(1),
        now_ms=now_ms,
        pair_cooldown_until_ms=NOW,
    )

    assert isinstance(verdict, Approved) == passes
    assert passes or (isinstance(verdict, Refused) and verdict.limit == "pair_cooldown")
