"""What is told of alerts: each thing once as far as we know, bounded, and given up only in the end."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.alert_codes import SEVERITIES
from desk.alert_queue import (
    IDS_KEPT,
    MOST_WAITING,
    TRIES,
    WAITS_S,
    Outbox,
    next_due,
    notice_of,
    offered,
    refused,
    taken,
    text_of,
)
from desk.runs import Alert


def make_alert(number: int = 0, **changes: object) -> Alert:
    alert = Alert(
        alert_id=f"late_fill:c{number}",
        category="ops",
        severity="warning",
        code="late_fill",
        detail="a fill came late",
        created_ms=1_000,
    )
    return replace(alert, **changes)


def told(box: Outbox, alert: Alert) -> Outbox:
    return offered(box, notice_of(alert, at_ms=2_000))


def test_a_count_is_not_told_but_worse_and_over_and_again_are() -> None:
    first = make_alert()
    box = told(told(Outbox(), first), replace(first, count=7))
    assert len(box.waiting) == 1

    box = told(box, replace(first, status="acknowledged"))
    box = told(box, replace(first, severity="critical"))
    box = told(box, replace(first, severity="critical", status="resolved"))
    box = told(box, replace(first, created_ms=9_000))
    assert [(one.notice.severity, one.notice.status) for one in box.waiting] == [
        ("warning", "open"),
        ("critical", "open"),
        ("critical", "resolved"),
        ("warning", "open"),
    ]


def test_the_end_of_what_was_never_told_is_not_told() -> None:
    assert told(Outbox(), make_alert(status="resolved")) == Outbox()


@given(st.lists(st.tuples(st.sampled_from(SEVERITIES), st.booleans()), max_size=500))
def test_a_full_queue_gives_up_the_mildest_and_counts_it(kinds: list[tuple[str, bool]]) -> None:
    box = Outbox()
    for number, (severity, ends) in enumerate(kinds):
        alert = make_alert(number, severity=severity)
        box = told(box, alert)
        if ends:
            box = told(box, replace(alert, status="resolved"))

    offers = len(kinds) + sum(ends for _, ends in kinds)
    assert len(box.waiting) == min(offers, MOST_WAITING)
    assert box.given_up == max(offers - MOST_WAITING, 0)
    assert len(box.told_ids) == min(offers, IDS_KEPT)
    kept = sum(
        one.notice.severity == "critical" for one in box.waiting if one.notice.status == "open"
    )
    assert kept == min(sum(severity == "critical" for severity, _ in kinds), MOST_WAITING)


def test_a_failed_try_waits_ever_longer_and_ends_in_the_last() -> None:
    box, wall_ms, waits = told(Outbox(), make_alert()), 0, []
    for _ in range(TRIES - 1):
        due = next_due(box, wall_ms=wall_ms)
        assert due is not None
        box = refused(box, due.notice.notice_id, "away", wall_ms=wall_ms)
        [one] = box.waiting
        assert next_due(box, wall_ms=one.not_before_wall_ms - 1) is None
        waits.append((one.not_before_wall_ms - wall_ms) / 1000)
        wall_ms = one.not_before_wall_ms

    assert waits == [*WAITS_S, *[WAITS_S[-1]] * (TRIES - 1 - len(WAITS_S))]
    assert 3 * 3600 < sum(waits) < 4 * 3600
    box = refused(box, box.waiting[0].notice.notice_id, "away", wall_ms=wall_ms)
    assert (box.waiting, box.given_up, box.failures, box.delivered) == ((), 1, TRIES, 0)


def test_what_was_taken_is_never_told_again() -> None:
    box = told(Outbox(), make_alert())
    box = taken(box, box.waiting[0].notice.notice_id)

    assert told(box, make_alert()).waiting == ()
    assert (box.delivered, box.failures) == (1, 0)
    assert taken(box, "unknown") == box


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "[warning] late_fill: a fill came late"),
        ({"status": "resolved"}, "[over] late_fill: a fill came late"),
        (
            {"metric": "lag", "value": "130", "threshold": "120"},
            "[warning] late_fill: a fill came late (lag 130, limit 120)",
        ),
    ],
)
def test_a_message_says_how_bad_what_and_why(changes: dict[str, Any], text: str) -> None:
    assert text_of(notice_of(make_alert(**changes), at_ms=0)) == text
