"""The circuit breaker: trips at a mark, stays for its cool-down, does not flap."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.clock import DAY_MS, MINUTE_MS
from desk.trading import ledger as books
from desk.trading.breaker import Breaker, BreakerState, is_cooling, observe, reset
from desk.trading.ledger import Ledger
from desk.trading.limits import AccountPolicy
from tests.desk.trading.builders import NOW, PAIR, a_position, books_with

POLICY = AccountPolicy(
    account="paper",
    max_daily_loss=Decimal(1),
    max_drawdown=Decimal(1),
    circuit_breaker_loss=Decimal("0.02"),
    cooldown_minutes=60,
)
COOL = 60 * MINUTE_MS
FRESH = Breaker(account="paper")
HOLDING = books_with(a_position("10"))


def at(equity: int, now_ms: int = NOW) -> Ledger:
    """Books of 10 coins bought at 100, marked so that equity is this."""
    price = Decimal(100) + (Decimal(equity) - 10_000) / 10
    return books.mark(HOLDING, {PAIR: price}, now_ms)


def watch(breaker: Breaker, *equities: int, start_ms: int = NOW, step_ms: int = 1) -> Breaker:
    for number, equity in enumerate(equities):
        now_ms = start_ms + number * step_ms
        breaker = observe(breaker, ledger=at(equity, now_ms), policy=POLICY, now_ms=now_ms)
    return breaker


def test_regression_15_a_mark_alone_trips_the_breaker_without_any_order() -> None:
    breaker = watch(FRESH, 10_000, 9_801, 9_800)

    assert breaker.state is BreakerState.COOLDOWN
    assert breaker.trigger_reason == "circuit_breaker_loss"
    assert breaker.cooldown_until_ms == NOW + 2 + COOL
    assert is_cooling(breaker, NOW + 2 + COOL - 1)
    assert not is_cooling(breaker, NOW + 2 + COOL)


def test_a_loss_below_the_limit_does_not_trip_it() -> None:
    assert watch(FRESH, 10_000, 9_801).state is BreakerState.OK


def test_the_loss_is_measured_from_the_highest_equity() -> None:
    assert watch(FRESH, 10_000, 10_500, 10_291).state is BreakerState.OK
    assert watch(FRESH, 10_000, 10_500, 10_290).state is BreakerState.COOLDOWN


def test_nothing_new_gives_the_same_object_back() -> None:
    seen = watch(FRESH, 10_000)

    assert observe(seen, ledger=at(9_900), policy=POLICY, now_ms=NOW + 5) is seen


@pytest.mark.catalogue("R04")
def test_R04_a_tripped_breaker_stays_so_however_the_equity_recovers() -> None:
    tripped = watch(FRESH, 10_000, 9_700)

    recovered = watch(tripped, 9_900, 10_400, 9_750, start_ms=NOW + MINUTE_MS)

    assert recovered is tripped


@pytest.mark.catalogue("R04")
def test_R04_after_its_cool_down_only_a_new_loss_trips_it() -> None:
    tripped = watch(FRESH, 10_000, 9_700)
    after_ms = tripped.cooldown_until_ms

    closed = watch(tripped, 9_700, 9_650, 9_720, 9_660, start_ms=after_ms)
    again = watch(closed, 9_525, start_ms=after_ms + 10)

    assert closed.state is BreakerState.OK
    assert closed.reference_equity == Decimal(9_720)
    assert again.state is BreakerState.COOLDOWN


@pytest.mark.catalogue("R04")
@given(st.lists(st.integers(9_760, 9_840), min_size=1, max_size=60))
def test_R04_equity_around_the_threshold_trips_at_most_once_in_a_cool_down(
    equities: list[int],
) -> None:
    breaker, trips = watch(FRESH, 10_000), 0
    for minute, equity in enumerate(equities):
        after = watch(breaker, equity, start_ms=NOW + minute * MINUTE_MS)
        trips += after.tripped_ms != breaker.tripped_ms
        breaker = after

    assert trips <= 1


def test_a_further_loss_in_the_cool_down_begins_it_anew() -> None:
    tripped = watch(FRESH, 10_000, 9_800)

    held = watch(tripped, 9_605, start_ms=NOW + MINUTE_MS)
    deeper = watch(tripped, 9_604, start_ms=NOW + MINUTE_MS)

    assert held is tripped
    assert deeper.cooldown_until_ms == NOW + MINUTE_MS + COOL


def test_daily_loss_and_drawdown_of_the_account_trip_it_by_their_names() -> None:
    seen = watch(FRESH, 10_000)
    daily = replace(POLICY, max_daily_loss=Decimal("0.01"))
    falling = replace(POLICY, max_drawdown=Decimal("0.01"))

    by_day = observe(seen, ledger=at(9_900), policy=daily, now_ms=NOW)
    by_peak = observe(seen, ledger=at(9_900), policy=falling, now_ms=NOW)

    assert by_day.trigger_reason == "max_daily_loss"
    assert by_peak.trigger_reason == "max_drawdown"


def test_a_loss_over_midnight_trips_it() -> None:
    seen = watch(FRESH, 10_000)
    overnight = books.mark(at(10_000), {PAIR: Decimal(80)}, NOW + DAY_MS)

    breaker = observe(seen, ledger=overnight, policy=POLICY, now_ms=NOW + DAY_MS)

    assert breaker.state is BreakerState.COOLDOWN


def test_a_slow_loss_over_days_is_left_to_the_drawdown_limit() -> None:
    seen = watch(FRESH, 10_000)
    tomorrow = replace(at(9_850), day="2099-01-01", day_start_equity=Decimal(9_850))

    breaker = observe(seen, ledger=tomorrow, policy=POLICY, now_ms=NOW + DAY_MS)

    assert (breaker.state, breaker.reference_equity) == (BreakerState.OK, Decimal(9_850))


def test_an_operator_closes_it_at_the_present_equity() -> None:
    tripped = watch(FRESH, 10_000, 9_700)

    closed = reset(tripped, ledger=at(9_700))

    assert not is_cooling(closed, NOW + 10)
    assert watch(closed, 9_600, start_ms=NOW + 10).state is BreakerState.OK


def test_an_account_without_money_trips_nothing() -> None:
    empty = books.open_ledger("paper", Decimal(0), now_ms=NOW)

    breaker = observe(FRESH, ledger=empty, policy=POLICY, now_ms=NOW)

    assert breaker.state is BreakerState.OK
