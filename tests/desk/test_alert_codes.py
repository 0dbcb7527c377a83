"""How alerts end: each by the one rule of its code, never while its cause lasts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.alert_codes import (
    CATEGORIES,
    CODES,
    SEVERITIES,
    Ends,
    about_of,
    has_lapsed,
    is_over_for_run,
    is_worse,
)
from desk.clock import DAY_MS, HOUR_MS
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
