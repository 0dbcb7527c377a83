"""What is said of sources of signals: never ok without evidence, and never while nobody polls."""

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from actors.commands import FeedScope
from actors.signal_status import new_signal_status, status_key
from desk.market import feed_readings
from desk.market.feed_readings import FeedReading, read_on
from desk.market.signals import parse, receive
from desk.runs import ActorStatus
from desk.store import kinds
from serve_apps.context import Feeds
from tests.desk.market.test_signals import alert
from tests.serve_apps.scene import HERE, Scene

SOURCE = "telegram:calls"
LOCAL = ("127.0.0.1", 40_000)
SOURCES = (("telegram", SOURCE), ("tradingview", "main"))


def status(scene: Scene, source_type: str = "telegram") -> dict[str, Any]:
    with TestClient(scene.app(signal_sources=SOURCES), base_url=HERE, client=LOCAL) as client:
        rows = client.get("/data-sources/status").json()["items"]
    [row] = [row for row in rows if row["source_type"] == source_type]
    return row


def synced(scene: Scene, age_ms: int) -> None:
    row = replace(
        new_signal_status("telegram", SOURCE), status="ok", last_success_ms=scene.wall_ms - age_ms
    )
    scene.store.put(kinds.SOURCES, status_key("telegram", SOURCE), row, at_ms=1)


def beating(scene: Scene, age_ms: int, how: str = "up", name: str = "signal_poller") -> None:
    row = ActorStatus(
        name=name,
        role=name,
        node="n",
        pid=1,
        epoch=0,
        restarts=0,
        started_wall_ms=0,
        last_heartbeat_wall_ms=scene.wall_ms - age_ms,
        rss_bytes=0,
        status=how,
    )
    scene.store.put(kinds.ACTORS, row.name, row, at_ms=1)


def test_a_source_without_a_row_is_unavailable(scene: Scene) -> None:
    beating(scene, 0)
    beating(scene, 0, name="feed_sync")
    for source_type in ("telegram", "tradingview"):
        row = status(scene, source_type)
        assert (row["status"], row["badge"], row["last_success_ms"]) == ("unavailable", "never", 0)


def test_every_configured_source_of_the_exchange_is_listed_and_none_is_ok_without_evidence(
    scene: Scene,
) -> None:
    scene.source(last_event_ms=scene.clock.now_ms())
    with TestClient(scene.app(), base_url=HERE, client=LOCAL) as client:
        rows = client.get("/data-sources/status").json()["items"]
        text = client.get("/metrics").text

    assert len(rows) == 2 * 8, "two pairs, one interval of candles and seven feeds"
    ok = [row for row in rows if row["status"] == "ok"]
    assert [(row["source_type"], row["pair"]) for row in ok] == [("bingx_candles", "BTC-USDT")]
    assert {row["badge"] for row in rows if row not in ok} == {"never"}
    assert 'desk_source_ok{interval="",pair="ETH-USDT",source="mark_price"} 0.0' in text


@pytest.mark.parametrize(
    ("sync_age_ms", "beat_age_ms", "how", "wanted"),
    [
        (1_000, 1_000, "up", "ok"),
        (3_600_000, 1_000, "up", "ok"),
        (3_601_000, 1_000, "up", "stale"),
        (1_000, 31_000, "up", "unavailable"),
        (1_000, 1_000, "quarantined", "unavailable"),
    ],
)
def test_a_source_is_ok_only_by_a_fresh_sync_of_a_living_poller(
    scene: Scene, *, sync_age_ms: int, beat_age_ms: int, how: str, wanted: str
) -> None:
    synced(scene, sync_age_ms)
    beating(scene, beat_age_ms, how)
    assert status(scene)["status"] == wanted


def test_without_a_poller_a_fresh_sync_is_not_enough(scene: Scene) -> None:
    synced(scene, 0)
    assert status(scene)["status"] == "unavailable"


def test_a_feed_is_ok_while_its_own_sync_lives(scene: Scene) -> None:
    row = replace(
        new_signal_status("tradingview", "main"), status="ok", last_success_ms=scene.wall_ms
    )
    scene.store.put(kinds.SOURCES, status_key("tradingview", "main"), row, at_ms=1)
    beating(scene, 0)
    assert status(scene, "tradingview")["status"] == "unavailable"
    beating(scene, 0, name="feed_sync")
    assert status(scene, "tradingview")["status"] == "ok"
    scene.store.put(
        kinds.SOURCES, status_key("tradingview", "main"), replace(row, enabled=False), at_ms=2
    )
    shown = status(scene, "tradingview")
    assert (shown["status"], shown["badge"], shown["enabled"]) == ("unavailable", "disabled", False)


def test_what_a_sync_found_is_shown_of_each_feed_also_of_one_that_was_never_synced(
    scene: Scene,
) -> None:
    receipts = [
        receive("main", body, received_ms=number)
        for number, body in enumerate((b"<b>buy</b>", alert(ticker="GOLD")))
    ]
    fresh = FeedReading(source_id="main", read_to_ms=0)
    reading = read_on(fresh, [parse(receipt) for receipt in receipts], to_ms=9)
    reading = feed_readings.synced(reading, now_ms=7, route_ms=3)
    scene.store.put(kinds.FEED_READINGS, "main", reading, at_ms=7)
    feeds = Feeds(token_hashes=(("other", "h1"), ("main", "h2"), ("main", "h3")))
    with TestClient(scene.app(feeds=feeds), base_url=HERE, client=LOCAL) as client:
        main, other = client.get("/ingestion/tradingview/sync").json()["items"]

    assert (main["source_id"], main["synced_ms"], main["route_ms"]) == ("main", 7, 3)
    assert (main["last"]["unparsed"], main["last"]["stale"], main["last"]["ok"]) == (1, 1, 0)
    assert [each["text"] for each in main["last"]["examples"]][-1] == "<b>buy</b>"
    assert (other["source_id"], other["synced_ms"], other["enabled"]) == ("other", 0, True)


def test_metrics_name_each_source_once(scene: Scene) -> None:
    with TestClient(scene.app(signal_sources=SOURCES), base_url=HERE, client=LOCAL) as client:
        text = client.get("/metrics").text
    assert f'desk_source_ok{{interval="",pair="{SOURCE}",source="telegram"}} 0.0' in text


@pytest.mark.parametrize(
    ("route", "wish"),
    [
        ("/ops/ingestion/telegram/run", "run"),
        ("/ops/ingestion/telegram/pause", "pause"),
        ("/ops/ingestion/telegram/resume", "resume"),
        ("/ingestion/telegram/ingest", "run"),
        ("/ops/ingestion/tradingview/run", "run"),
        ("/ops/ingestion/tradingview/pause", "pause"),
        ("/ops/ingestion/tradingview/resume", "resume"),
        ("/ingestion/tradingview/sync", "run"),
    ],
)
def test_an_operator_turns_a_source(scene: Scene, route: str, wish: str) -> None:
    source = "telegram" if "telegram" in route else "tradingview"
    headers = {"idempotency-key": "k1"}
    with TestClient(scene.app(), base_url=HERE, client=LOCAL) as client:
        answer = client.post(route, headers=headers)
    assert answer.status_code == 202, answer.text
    said = {"source": source, "wish": wish, "sources": 1, "runs": [], "dry_run": False}
    assert answer.json() == said
    [(command, said)] = scene.desk.heard
    assert (command, said["source"], said["wish"]) == ("turn_source", source, wish)


def test_an_unknown_wish_is_refused(scene: Scene) -> None:
    with TestClient(scene.app(), base_url=HERE, client=LOCAL) as client:
        answer = client.post("/ops/ingestion/telegram/stop", headers={"idempotency-key": "k1"})
    assert answer.status_code == 422
    assert scene.desk.heard == []


@pytest.mark.parametrize(
    ("route", "wish", "body", "scope"),
    [
        ("/ops/ingestion/bingx/pause", "pause", None, FeedScope()),
        ("/ops/ingestion/bingx/resume", "resume", {"pair": "BTC-USDT"}, FeedScope(pair="BTC-USDT")),
        ("/ingestion/bingx/refresh", "run", {"interval": "1m"}, FeedScope(interval="1m")),
    ],
)
def test_an_operator_turns_the_exchange_and_hears_of_the_runs_it_costs(
    scene: Scene, route: str, wish: str, body: dict[str, str] | None, scope: FeedScope
) -> None:
    with TestClient(scene.app(), base_url=HERE, client=LOCAL) as client:
        answer = client.post(route, json=body, headers={"idempotency-key": "k1"})
    assert answer.status_code == 202, answer.text
    said = answer.json()
    assert (said["source"], said["wish"], said["sources"]) == ("bingx", wish, 9)
    assert said["runs"] == (["run-1"] if wish == "pause" else [])
    [(command, heard)] = scene.desk.heard
    assert (command, heard["wish"], heard["scope"]) == ("turn_feeds", wish, scope)


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [
        ("/ops/ingestion/telegram/pause", {"pair": "BTC-USDT"}, 422),
        ("/ops/ingestion/telegram/pause", {"dry_run": True}, 422),
        ("/ops/ingestion/bingx/pause", {"pairs": "BTC-USDT"}, 422),
        ("/ops/ingestion/kraken/pause", {}, 422),
    ],
)
def test_what_a_source_cannot_be_asked_reaches_nobody(
    scene: Scene, route: str, body: dict[str, Any], status: int
) -> None:
    with TestClient(scene.app(), base_url=HERE, client=LOCAL) as client:
        answer = client.post(route, json=body, headers={"idempotency-key": "k1"})
    assert (answer.status_code, scene.desk.heard) == (status, [])
