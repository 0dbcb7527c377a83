"""What counts as noticed, stopped and over, and that the bounds are those of the parts they wait for."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from actors import backfill, market_time, reconciler, supervisor
from desk.drills import incidents, plan
from desk.drills.incidents import INCIDENTS, Incident
from desk.drills.look import Look, remember
from desk.trading.limits import default_live_policy, default_paper_policy
from desk.trading.orders import CLOCK_SKEW_MS
from desk.trading.venue_health import BAD_CHECKS
from tests.desk.drills.desk_double import SUBJECT, DeskDouble

BY_NAME = {incident.name: incident for incident in INCIDENTS}
SERIES = {"pair": "ETH-USDT", "interval": "1d"}


def answered(open_ms: int) -> dict[str, object]:
    return {
        "open_ms": open_ms,
        "confidence": 0.7,
        "hold_reason": "",
        "client_order_ids": [],
        "trace_id": "tr1",
    }


def held(desk: DeskDouble, code: str) -> None:
    row = {**answered(desk.decided_ms + 60_000), "confidence": None, "hold_reason": code}
    desk.decisions.insert(0, row)


def refuse_model(desk: DeskDouble) -> None:
    desk.alert("policy_unavailable:run1")
    desk.findings.append({"code": "replay_artifact_unavailable"})


def lose_ledger(desk: DeskDouble) -> None:
    desk.actors["risk_ledger:paper"] = (8, "up")


def go_stale(desk: DeskDouble) -> None:
    desk.source = "stale"


def fail_backfill(desk: DeskDouble) -> None:
    row = {"item_id": "r1", "job_type": "backfill", "payload": SERIES, "status": "waiting"}
    desk.retries.append(row)


def go_away(desk: DeskDouble) -> None:
    desk.is_away = True


SHOWS: dict[str, Callable[[DeskDouble], object]] = {
    "stale-data": go_stale,
    "performance-degradation": lambda desk: desk.alert("policy_unavailable:run1"),
    "exchange-maintenance": lambda desk: desk.alert("exchange_maintenance:live"),
    "failed-ingestion-job": fail_backfill,
    "lost-actor": lose_ledger,
    "clock-skew": lambda desk: desk.offsets.append((10, 30_012.0)),
    "rate-limit-ban": lambda desk: desk.alert("exchange_ban:live"),
    "position-drift": lambda desk: desk.alert("position_drift:live:ETH-USDT"),
    "circuit-breaker": lambda desk: desk.alert("circuit_breaker:live"),
    "corrupted-model": refuse_model,
    "disk-nearly-full": lambda desk: desk.alert("disk_low:store"),
}


def desk_at_rest() -> DeskDouble:
    desk = DeskDouble(decided_ms=120_000, decisions=[answered(120_000)])
    desk.actors["risk_ledger:paper"] = (7, "up")
    desk.offsets.append((0, 3.0))
    return desk


@pytest.mark.parametrize("name", SHOWS)
def test_an_incident_is_noticed_when_it_shows_and_not_before(name: str) -> None:
    desk, judge = desk_at_rest(), BY_NAME[name].detected
    before = remember(Look(desk.get), SUBJECT)
    at_rest = judge(before, Look(desk.get), SUBJECT)

    SHOWS[name](desk)

    assert at_rest is None
    assert judge(before, Look(desk.get), SUBJECT)


def test_every_incident_has_an_example_above_or_shows_by_silence() -> None:
    assert set(BY_NAME) == set(SHOWS) | {"lost-store"}
    assert BY_NAME["lost-store"].silence_counts


@pytest.mark.parametrize("name", SHOWS)
def test_what_showed_before_the_incident_began_is_not_taken_for_it(name: str) -> None:
    desk, judge = desk_at_rest(), BY_NAME[name].detected
    SHOWS[name](desk)
    desk.source = "ok"

    before = replace(remember(Look(desk.get), SUBJECT), market_ms=10)

    assert judge(before, Look(desk.get), SUBJECT) is None


def test_a_decision_that_still_sent_something_is_not_held() -> None:
    desk = desk_at_rest()
    before = remember(Look(desk.get), SUBJECT)
    judge = incidents.held_with("policy_unavailable")
    held(desk, "policy_unavailable")
    is_held = judge(before, Look(desk.get), SUBJECT)

    desk.decisions[0]["client_order_ids"] = ["t1a"]

    assert is_held
    assert judge(before, Look(desk.get), SUBJECT) is None


def test_a_run_paused_for_another_reason_is_not_paused_by_the_incident() -> None:
    desk, judge = desk_at_rest(), incidents.paused_with("disk_low")
    before = remember(Look(desk.get), SUBJECT)

    desk.pause("lunch")
    other = judge(before, Look(desk.get), SUBJECT)
    desk.pause("disk_low")

    assert other is None
    assert judge(before, Look(desk.get), SUBJECT)


@pytest.mark.parametrize("speed", [1.0, 30.0, 60.0])
@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda each: each.name)
def test_every_bound_is_of_minutes_at_most_but_for_a_cool_down(
    incident: Incident, speed: float
) -> None:
    bounds = incident.bounds(replace(SUBJECT, speed=speed))

    assert 0 < bounds.detect_s <= 130
    assert (bounds.pause_s is None) == (incident.paused is None)
    assert 0 < bounds.recover_s <= (3_700 if incident.name == "circuit-breaker" else 400)


def test_bounds_leave_room_for_what_they_wait_for() -> None:
    bounds = {name: incident.bounds(SUBJECT) for name, incident in BY_NAME.items()}

    grace_ms = market_time.acceleration_grace_ms(SUBJECT.speed)
    assert SUBJECT.grace_s == pytest.approx(grace_ms / 1000 / SUBJECT.speed)
    assert bounds["exchange-maintenance"].detect_s > BAD_CHECKS * reconciler.EXCHANGE_EVERY_S
    assert bounds["failed-ingestion-job"].detect_s > sum(backfill.RETRY_WAITS_S)
    assert bounds["disk-nearly-full"].detect_s > supervisor.HOUSEKEEPING_EVERY_S
    for policy in (default_live_policy(), default_paper_policy()):
        cooldown_s = policy.cooldown_minutes * 60 / SUBJECT.speed
        assert bounds["circuit-breaker"].recover_s > cooldown_s
    assert incidents.STEADY_MS == CLOCK_SKEW_MS


def test_the_shock_trips_the_breaker_and_closes_nothing() -> None:
    policy = default_live_policy()

    loss = Decimal(str(incidents.BREAKER_FRACTION)) * (1 - Decimal(str(incidents.SHOCK)))

    assert policy.circuit_breaker_loss * Decimal("1.2") < loss
    assert loss * Decimal("1.2") < policy.max_drawdown


def test_every_incident_has_its_plan() -> None:
    assert len(set(plan.names())) == len(INCIDENTS) == 12
