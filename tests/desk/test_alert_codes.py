"""How alerts end: each by the one rule of its code, never while its cause lasts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.alert_codes import (
    AFTERMATH_MS,
    CATEGORIES,
    CODES,
    EXPLAINS,
    SEVERITIES,
    Ends,
    about_of,
    explained_by,
    has_lapsed,
    is_over_for_run,
    is_worse,
)
from desk.clock import DAY_MS, HOUR_MS
from desk.drills.incidents import INCIDENTS, Incident
from desk.runs import Alert, Mode, Run, RunStatus

RAISED_MS = 1_700_000_000_000


def make_alert(code: str, about: str = "run1", status: str = "open") -> Alert:
    return Alert(
        alert_id=f"{code}:{about}",
        category="ops",
        severity="warning",
        code=code,
        detail="",
        created_ms=RAISED_MS,
        status=status,
    )


def make_run(status: RunStatus, reason: str = "") -> Run:
    return Run(
        run_id="run1",
        agent_id="desk",
        account="paper",
        mode=Mode.PAPER,
        pair="BTC-USDT",
        interval="1m",
        version_id="v2",
        risk_limit_set_id="default",
        decision_threshold=0.35,
        status=status,
        started_ms=0,
        pause_reason=reason,
    )


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.code)
def test_every_code_names_a_category_severities_and_one_end(code) -> None:
    assert code.category in CATEGORIES
    assert set(code.severities) <= set(SEVERITIES)
    assert (code.lapse_ms > 0) == (code.ends in {Ends.LAPSE, Ends.ACKNOWLEDGED})


@given(code=st.sampled_from(sorted(CODES)), age_ms=st.integers(0, 10 * DAY_MS))
def test_only_what_happened_lapses_and_only_in_its_time(code: str, age_ms: int) -> None:
    row = CODES[code]
    open_one = has_lapsed(make_alert(code), raised_ms=RAISED_MS, now_ms=RAISED_MS + age_ms)
    seen = make_alert(code, status="acknowledged")
    seen_one = has_lapsed(seen, raised_ms=RAISED_MS, now_ms=RAISED_MS + age_ms)

    is_late = bool(row.lapse_ms) and age_ms >= row.lapse_ms
    assert open_one == (is_late and row.ends is Ends.LAPSE)
    assert seen_one == is_late


def test_a_code_that_the_table_lacks_lapses_within_a_day() -> None:
    strange = make_alert("never_heard_of", "something")

    assert not has_lapsed(strange, raised_ms=0, now_ms=DAY_MS - 1)
    assert has_lapsed(strange, raised_ms=0, now_ms=DAY_MS)


@pytest.mark.parametrize("code", ["max_daily_loss", "data_source_unavailable", "disk_low", "x:y"])
def test_a_pause_is_over_once_the_run_goes_on_or_ended(code: str) -> None:
    alert = make_alert(code)

    assert about_of(alert) == "run1"
    assert not is_over_for_run(alert, make_run(RunStatus.PAUSED, code))
    assert is_over_for_run(alert, make_run(RunStatus.PAUSED, "operator"))
    assert is_over_for_run(alert, make_run(RunStatus.RUNNING))
    assert is_over_for_run(alert, make_run(RunStatus.STOPPED, code))
    assert not is_over_for_run(alert, make_run(RunStatus.FAILED, code))


def test_what_its_raiser_watches_outlives_no_run_and_ends_with_nothing_less() -> None:
    alert = make_alert("policy_unavailable")

    assert not is_over_for_run(alert, make_run(RunStatus.RUNNING))
    assert is_over_for_run(alert, make_run(RunStatus.STOPPED))


def test_a_drift_that_led_back_stays_until_somebody_has_seen_it() -> None:
    of_v1, of_v2 = (make_alert("model_drift", f"run1:{version}") for version in ("v1", "v2"))
    run = make_run(RunStatus.RUNNING)

    assert not is_over_for_run(of_v1, run)
    assert is_over_for_run(replace(of_v1, status="acknowledged"), run)
    assert not is_over_for_run(replace(of_v2, status="acknowledged"), run)


def test_severities_are_ordered() -> None:
    assert is_worse("critical", "warning")
    assert not is_worse("warning", "warning")
    assert not is_worse("info", "critical")
    assert CODES["retry_queue_full"].lapse_ms == HOUR_MS


# --- one incident, one alert --------------------------------------------------------------------

RAISED_IN: dict[str, tuple[str, ...]] = {
    "stale-data": ("data_source_unavailable:run1", "slo_ingestion_lag:desk", "candle_gap:P:1m"),
    "performance-degradation": ("policy_unavailable:run1", "slo_decision_latency:desk"),
    "exchange-maintenance": (
        "exchange_maintenance:live",
        "exchange_maintenance:run2",
        "data_source_unavailable:run1",
        "slo_ingestion_lag:desk",
        "ingestion_job_failed:rty1",
        "dead_man_timer_off:live",
        "candle_gap:P:1m",
    ),
    "failed-ingestion-job": ("ingestion_job_failed:rty1", "candle_gap:P:1d"),
    "lost-actor": ("actor_restarted:risk_ledger:paper",),
    "lost-store": ("store_restarted:store", "actor_restarted:observer", "store_slow:paper"),
    "clock-skew": ("clock_skew:venue", "unresolved_client_order:t1"),
    "rate-limit-ban": (
        "exchange_ban:live",
        "exchange_ban:run2",
        "data_source_unavailable:run1",
        "slo_ingestion_lag:desk",
    ),
    "position-drift": ("position_drift:live:P", "position_drift:run2"),
    "circuit-breaker": ("circuit_breaker:live", "circuit_breaker:run2"),
    "corrupted-model": ("policy_unavailable:run1",),
    "disk-nearly-full": ("disk_low:store", "disk_low:run1", "disk_low:run2"),
}
"""All that may be open at once while an incident lasts."""


def alerts_of(ids: tuple[str, ...]) -> list[Alert]:
    return [make_alert(*each.split(":", 1)) for each in ids]


def roots(alerts: list[Alert]) -> list[str]:
    return [alert.alert_id for alert in alerts if explained_by(alert, alerts) is None]


def test_every_incident_is_judged_here() -> None:
    assert set(RAISED_IN) == {incident.name for incident in INCIDENTS}


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.name)
def test_an_incident_is_one_alert_of_its_code_in_whatever_order_the_others_come(
    incident: Incident,
) -> None:
    found = RAISED_IN[incident.name]

    for order in (found, found[::-1]):
        [root] = roots(alerts_of(order))
        assert root.split(":")[0] in incident.told_by

    without = alerts_of(found[1:])
    assert len(without) == len(found) - 1
    assert bool(roots(without)) == bool(without), "what is left is somebody's to look at"


def test_what_explains_goes_in_no_circle_and_knows_its_words() -> None:
    def reached(code: str, seen: frozenset[str]) -> None:
        assert code not in seen, f"{code} explains itself"
        for following in EXPLAINS.get(code, ()):
            reached(following, seen | {code})

    for code, following in EXPLAINS.items():
        assert code in CODES or code in {"data_source_unavailable"}
        assert following <= {
            *CODES,
            "data_source_unavailable",
            "data_integrity_block",
            "quarantined",
        }
        reached(code, frozenset())


@given(st.lists(st.sampled_from([each for ids in RAISED_IN.values() for each in ids]), unique=True))
def test_of_any_open_alerts_at_least_one_is_to_be_looked_at_and_each_other_names_one_that_is_open(
    ids: list[str],
) -> None:
    alerts = alerts_of(tuple(ids))

    assert bool(roots(alerts)) == bool(alerts)
    for alert in alerts:
        cause = explained_by(alert, alerts)
        assert cause is None or (cause in alerts and cause.alert_id != alert.alert_id)


@given(
    happened=st.integers(1_000, 2 * AFTERMATH_MS),
    acknowledged=st.integers(0, 4 * AFTERMATH_MS),
    died=st.integers(1_000, 4 * AFTERMATH_MS),
)
def test_what_happened_explains_its_aftermath_until_somebody_has_seen_it(
    happened: int, acknowledged: int, died: int
) -> None:
    actor = replace(make_alert("actor_restarted", "risk_ledger:paper"), raised_wall_ms=died)
    store = replace(
        make_alert("store_restarted", "store", "acknowledged" if acknowledged else "open"),
        raised_wall_ms=happened,
        acknowledged_wall_ms=acknowledged,
    )

    is_explained = explained_by(actor, [actor, store]) is store

    is_seen = acknowledged >= happened  # one that happened again since is news
    assert is_explained == (
        died <= happened + AFTERMATH_MS and (not is_seen or died <= acknowledged)
    )


def test_what_lasts_explains_for_as_long_as_it_lasts() -> None:
    late = replace(make_alert("slo_ingestion_lag", "desk"), raised_wall_ms=9 * AFTERMATH_MS)
    cause = make_alert("exchange_ban", "live", "acknowledged")
    cause = replace(cause, raised_wall_ms=1_000, acknowledged_wall_ms=2_000)

    assert explained_by(late, [late, cause]) is cause


def test_what_is_resolved_explains_nothing_and_what_is_acknowledged_still_does() -> None:
    run, wide = make_alert("disk_low"), make_alert("disk_low", "store")

    assert explained_by(run, [replace(wide, status="resolved")]) is None
    assert explained_by(run, [replace(wide, status="acknowledged")]) is not None
    assert explained_by(wide, [run]) is None
    assert explained_by(run, [make_alert("disk_low", "run2")]) is None
