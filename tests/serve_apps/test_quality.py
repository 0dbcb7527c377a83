"""The state of the candle feeds: what was delivered, what could not be read, what was refused."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from desk.clock import MINUTE_MS
from desk.market.bar_closes import BarClose, PairCloses
from desk.market.quality import Counts, IntakeTally, QualityStatus, counted, judge, recent
from desk.market.quarantine import RefusedRow, quarantined
from desk.runs import SourceStatus
from desk.store import kinds
from tests.serve_apps.scene import NOW_MS, PAIR, Scene

HOSTILE = '["<script>alert(1)</script>", null, "\u202e"]'


def put_source(scene: Scene) -> None:
    source = SourceStatus(
        source_type="bingx_candles",
        pair=PAIR,
        interval="1m",
        enabled=True,
        status="ok",
        last_event_ms=NOW_MS,
        last_success_ms=NOW_MS,
        freshness_threshold_s=120,
    )
    scene.store.put(kinds.SOURCES, f"bingx_candles:{PAIR}:1m", source, at_ms=NOW_MS)


def minutes(client: TestClient) -> dict[str, Any]:
    answer = client.get("/data-quality/status", params={"pair": PAIR})
    assert answer.status_code == 200, answer.text
    return next(item for item in answer.json()["items"] if item["interval"] == "1m")


def test_a_whole_fresh_feed_is_ok(scene: Scene, client: TestClient) -> None:
    put_source(scene)
    scene.candles(200)

    feed = minutes(client)

    assert (feed["status"], feed["coverage"], feed["reasons"]) == ("ok", 1.0, {})


def test_a_feed_shows_how_far_another_one_is_from_its_newest_candles(
    scene: Scene, client: TestClient
) -> None:
    scene.candles(200)
    assert minutes(client)["second_feed_bps"] is None
    newest = scene.store.last_candles(PAIR, "1m", 1).row(0)
    close = BarClose(
        source_id="main",
        interval="1m",
        close_ms=newest.open_ms + MINUTE_MS,
        price=newest.close * 1.01,
        received_ms=1,
    )
    row = PairCloses(pair=PAIR, closes=(close,))
    scene.store.put(kinds.BAR_CLOSES, PAIR, row, at_ms=1)
    assert minutes(client)["second_feed_bps"] == pytest.approx(100.0)


@pytest.mark.parametrize(("missing", "status"), [(6, "degraded"), (40, "failed")])
def test_holes_degrade_a_feed_and_many_fail_it(
    scene: Scene, client: TestClient, missing: int, status: str
) -> None:
    put_source(scene)
    scene.candles(200, missing=set(range(50, 50 + missing)))

    feed = minutes(client)

    assert (feed["status"], feed["present"], feed["expected"]) == (status, 200 - missing, 200)
    assert set(feed["reasons"]) == {"coverage"}


def test_refused_rows_are_shown_as_the_text_they_were(scene: Scene, client: TestClient) -> None:
    put_source(scene)
    scene.candles(200)
    row = quarantined(
        RefusedRow(raw=HOSTILE, reason="missing_field"), pair=PAIR, interval="1m", now_ms=NOW_MS
    )
    scene.store.put(kinds.quarantine(PAIR, "1m"), row.row_id, row, at_ms=NOW_MS)
    counts = Counts(received=40, rejected=1, missing_fields=1)
    tally = IntakeTally(pair=PAIR, interval="1m")
    tally = counted(tally, counts, is_misaligned=False, now_ms=NOW_MS)
    scene.store.put(kinds.INTAKE, f"{PAIR}:1m", tally, at_ms=NOW_MS)

    feed = minutes(client)

    assert feed["status"] == "degraded"
    assert (feed["rejected"], feed["missing_fields"], feed["received"]) == (1, 1, 40)
    assert [(r["raw"], r["reason"]) for r in feed["quarantine"]] == [(HOSTILE, "missing_field")]


def test_counts_of_long_ago_say_nothing_of_now() -> None:
    tally = IntakeTally(pair=PAIR, interval="1m")
    tally = counted(tally, Counts(received=9, rejected=9), is_misaligned=False, now_ms=NOW_MS)

    assert recent(tally, now_ms=NOW_MS + 14 * MINUTE_MS).rejected == 9
    assert recent(tally, now_ms=NOW_MS + 31 * MINUTE_MS).rejected == 0
    assert tally.total_rejected == 9


@pytest.mark.parametrize(
    ("source_status", "status"),
    [
        ("ok", QualityStatus.OK),
        ("stale", QualityStatus.DEGRADED),
        ("unavailable", QualityStatus.FAILED),
    ],
)
def test_a_feed_is_no_better_than_it_is_fresh(source_status: str, status: QualityStatus) -> None:
    report = judge(
        expected=10, present=10, counts=Counts(), mismatches=0, source_status=source_status
    )
    assert report.status is status


def test_a_longer_candle_that_is_not_its_minutes_degrades() -> None:
    report = judge(expected=10, present=10, counts=Counts(), mismatches=1, source_status="ok")
    assert report.status is QualityStatus.DEGRADED
