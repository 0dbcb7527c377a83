"""`GET /metrics` as a Prometheus reads it: what it holds, what it must not hold, and what it costs."""

import asyncio
import re
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import override

import pytest
from fastapi.testclient import TestClient
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from actors.market_time import clock_fact
from actors.source_book import configured
from actors.watch import UP
from desk import alert_queue, meters
from desk.alert_queue import Outbox
from desk.clock import ClockAnchor
from desk.counting import as_document, counted, since
from desk.errors import StoreUnavailable
from desk.market import retries
from desk.market.interval import ALL_INTERVALS
from desk.runs import ActorStatus, Job, JobStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import AuditHead, Event
from desk.trading import ledger as books
from desk.trading.breaker import Breaker, BreakerState
from desk.trading.venue_health import Condition, VenueHealth
from serve_apps import metrics
from serve_apps.events import EventHub
from serve_apps.metric_facts import GAUGES, local_facts, stored_facts
from serve_apps.sse import stream
from tests.desk.learning.test_cycles import make_cycle
from tests.serve_apps.scene import HERE, PAIR, Scene, make_scene
from tests.serve_apps.test_events import EVERYTHING, FAST

pytestmark = pytest.mark.usefixtures("fresh_counts")

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
SUFFIX_OF = {
    "USDT": "_usdt",
    "fraction": "_ratio",
    "s": "_seconds",
    "bytes": "_bytes",
    "bps": "_bps",
    "1/s": "_per_second",
    "rows": "_rows",
}
IDS = re.compile(r"tr[a-z2-7]{22}|t1[a-z2-7]{24}|run-?\w*\d{6,}|[0-9a-f]{16,}")


def families(text: str) -> dict[str, Metric]:
    """By the name that the page has: the parser takes `_total` away."""
    found = list(text_string_to_metric_families(text))
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in found
    }


def documented() -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Type, labels and unit of each row of the page."""
    part = PAGE.read_text().split("\n## Prometheus\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*) \| ([^|]+) \|", part, re.MULTILINE)
    return {
        name: (kind, tuple(labels.split(", ")) if labels.strip() else (), unit.strip())
        for name, kind, labels, unit in rows
    }


def test_the_page_is_the_exposition(scene: Scene, client: TestClient) -> None:
    scene.beat()
    scene.fill(scene.send(scene.order()))
    served = families(client.get("/metrics").text)

    listed = documented()

    assert len(listed) >= 40
    assert set(listed) == set(served)
    for name, family in served.items():
        kind, labels, unit = listed[name]
        assert family.type == kind, name
        declared = GAUGES[name][1] if name in GAUGES else meters.METERS[name].labels
        assert labels == declared, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(labels), name
        base = name.removesuffix("_total")
        if unit in SUFFIX_OF:
            assert base.endswith(SUFFIX_OF[unit]), f"{name} is in {unit}"
        else:
            assert unit in {"count", "0 or 1"}, f"{name} has the unit {unit}"


def test_counts_of_actors_and_of_this_process_add_up_to_a_histogram(
    scene: Scene, client: TestClient
) -> None:
    name, buckets = meters.RECONCILE.name, len(meters.RECONCILE.buckets)
    kept = {name: {("test-account",): (*([1.0] * buckets), 2.0, 7.5)}}
    scene.store.put(kinds.TALLIES, "reconciler", as_document(kept), at_ms=1)
    meters.RECONCILE.observe(0.0005, "test-account")

    family = families(client.get("/metrics").text)[name]

    rows = [row for row in family.samples if row.labels["account"] == "test-account"]
    counts = [row.value for row in rows if row.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert counts[0] == 2
    assert counts[-1] == buckets + 3
    assert next(row.value for row in rows if row.name.endswith("_count")) == buckets + 3
    assert next(row.value for row in rows if row.name.endswith("_sum")) == pytest.approx(7.5005)


class Gone(MemoryStore):
    """A store that went away."""

    is_gone = False

    @override
    def audit_head(self) -> AuditHead:
        if self.is_gone:
            raise StoreUnavailable("gone")
        return super().audit_head()


def test_a_store_that_is_away_is_said_and_no_gauge_is_made_up() -> None:
    scene = make_scene()
    scene.store = Gone()
    with TestClient(scene.app(), base_url=HERE, client=("127.0.0.1", 1)) as client:
        scene.store.is_gone = True
        gone = families(client.get("/metrics").text)
        scene.store.is_gone = False
        back = families(client.get("/metrics").text)

    assert gone["desk_store_up"].samples[0].value == 0
    assert back["desk_store_up"].samples[0].value == 1
    assert gone["desk_runs"].samples == gone["desk_alerts_open"].samples == []
    assert set(gone) == set(back)


def test_every_gauge_is_a_fact_of_the_store(tmp_path: Path) -> None:
    scene = make_scene()
    store, now_ms = scene.store, scene.clock.now_ms()
    scene.fill(scene.send(scene.order("d1")))
    scene.move(scene.move(scene.order("d2"), "sending"), "unknown")
    scene.beat(age_ms=2_000)
    scene.alert("disk_low:store", code="disk_low", severity="critical")
    scene.source(last_event_ms=now_ms - 5_000)
    store.set_kill("paper", on=True, reason="x", event=Event(topic="t", key="k", data={}, at_ms=1))
    cooling = Breaker(
        account="paper", state=BreakerState.COOLDOWN, cooldown_until_ms=now_ms + 1_000
    )
    store.put(kinds.BREAKERS, "paper", cooling, at_ms=now_ms)
    health = VenueHealth(
        account="live", condition=Condition.BANNED, seen_wall_ms=scene.wall_ms - 3_000
    )
    store.put(kinds.VENUES, "live", health, at_ms=now_ms)
    store.put(kinds.STATE, "reconciled:paper", {}, at_ms=now_ms - 4_000)
    level = {"code": "slo_slippage", "value": 75.0, "threshold": 50.0, "missed": True}
    store.put(kinds.STATE, "service_levels", {"levels": [level]}, at_ms=now_ms)
    scan = {"at_ms": now_ms - 6_000, "open": 2, "absent_at_venue": 1}
    store.put(kinds.STATE, "gap_scan", scan, at_ms=now_ms)
    clock = ClockAnchor(market_ms=now_ms, wall_ms=scene.wall_ms - 7_000, offset_ms=1_500)
    store.put(kinds.STATE, "clock", clock_fact(clock), at_ms=now_ms)
    for number, done in enumerate((30.0, 60.0)):
        job = Job(
            job_id=f"j{number}",
            kind="training",
            status=JobStatus.RUNNING,
            created_ms=now_ms - 8_000,
            updated_ms=now_ms - 1_000 * (number + 1),
            done=done,
            total=100.0,
            rate_per_s=10.0,
        )
        store.put(kinds.JOBS, job.job_id, job, at_ms=now_ms)
    notice = alert_queue.notice_of(scene.alert("late:x"), at_ms=now_ms)
    box = alert_queue.offered(Outbox(), notice)
    store.put(kinds.ALERT_OUTBOXES, "webhook", box, at_ms=now_ms)
    store.put(kinds.LEARNING_CYCLES, "c1", make_cycle(), at_ms=now_ms)
    retry = retries.entered(
        None,
        item_id="r1",
        job_type="backfill",
        payload={},
        dedupe_key="x",
        error="away",
        now_ms=now_ms,
        jitter=0.5,
    )
    store.put(kinds.RETRIES, retry.item_id, retry, at_ms=now_ms)

    scene.home = tmp_path
    context = scene.app().state.context
    found = {**stored_facts(context), **local_facts(context)}

    ledger = scene.ledger()
    paper = ("paper",)
    expected: dict[str, dict[tuple[str, ...], float]] = {
        "desk_equity_usdt": {paper: float(books.equity(ledger))},
        "desk_cash_usdt": {paper: float(ledger.cash)},
        "desk_exposure_usdt": {paper: float(books.exposure(ledger))},
        "desk_fees_usdt": {paper: float(ledger.fees)},
        "desk_daily_loss_usdt": {paper: float(books.daily_loss(ledger))},
        "desk_drawdown_ratio": {paper: float(books.drawdown_fraction(ledger))},
        "desk_positions": {paper: 1},
        "desk_open_orders": {paper: 1},
        "desk_unresolved_orders": {paper: 1},
        "desk_kill_switch": {paper: 1},
        "desk_breaker_cooldown": {paper: 1},
        "desk_reconciled_age_seconds": {paper: 4},
        "desk_venue_condition": {
            ("live", "exchange_ban"): 1,
            ("live", "exchange_maintenance"): 0,
            ("live", "well"): 0,
        },
        "desk_venue_answer_age_seconds": {("live",): 3},
        "desk_runs": {("paper", "running"): 1},
        "desk_alert_notices_waiting": {("webhook",): 1},
        "desk_service_level_missed": {("slo_slippage",): 1},
        "desk_service_level_ratio": {("slo_slippage",): 1.5},
        "desk_actors": {("supervisor", "up"): 1},
        "desk_actor_heartbeat_age_seconds": {("supervisor",): 2},
        "desk_actor_restarts": {("supervisor",): 0},
        "desk_actor_resident_bytes": {("supervisor",): 100_000_000},
        "desk_gaps": {("open",): 2, ("absent_at_venue",): 1},
        "desk_gap_scan_age_seconds": {(): 6},
        "desk_retry_queue_items": {("waiting",): 1, ("in_flight",): 0, ("dead",): 0},
        "desk_market_time_seconds": {(): now_ms / 1000},
        "desk_venue_clock_offset_seconds": {(): 1.5},
        "desk_venue_clock_age_seconds": {(): 7},
        "desk_jobs": {("training", "running"): 2},
        "desk_job_progress_ratio": {("training",): 0.3},
        "desk_job_age_seconds": {("training",): 8},
        "desk_job_silent_seconds": {("training",): 2},
        "desk_job_units_per_second": {("training",): 20},
        "desk_learning_cycles": {(make_cycle().status.value,): 1},
        "desk_event_streams": {(): 0},
        "desk_audit_rows": {(): 0},
    }
    for name, series in expected.items():
        assert found[name] == pytest.approx(series), name
    assert found["desk_reserved_usdt"][paper] > 0
    assert found["desk_alerts_open"]["disk_low", "critical"] == 1
    assert found["desk_alerts_open"]["late_fill", "warning"] == 0
    assert found["desk_source_ok"]["bingx_candles", PAIR, "1m"] == 1
    assert found["desk_source_age_seconds"]["bingx_candles", PAIR, "1m"] == 5
    assert found["desk_disk_free_bytes"][()] > 0
    assert list(found["desk_build_info"].values()) == [1]
    assert sum(found["desk_versions"].values()) >= 1
    assert found["desk_unrealized_pnl_usdt"][paper] == pytest.approx(
        float(books.unrealized(ledger))
    )
    assert found["desk_realized_pnl_usdt"][paper] == float(ledger.realized_pnl)
    assert found["desk_funding_usdt"][paper] == float(ledger.funding)
    assert set(found) | {"desk_store_up"} == set(GAUGES)


def test_streams_count_what_they_send_and_why_a_page_must_read_again(scene: Scene) -> None:
    before = counted()
    hub = EventHub(scene.store)
    listener = replace(EVERYTHING, last_event_id="no place")

    async def first_two() -> None:
        messages = stream(hub, listener, FAST)
        for _ in range(3):
            await anext(messages)
        await messages.aclose()

    asyncio.run(first_two())

    moved = since(counted(), before)
    assert moved["desk_stream_resyncs_total"] == {("unknown_id",): (1.0,)}
    assert moved["desk_stream_messages_total"] == {("hello",): (1.0,), ("resync",): (1.0,)}


def test_requests_are_counted_by_route_and_never_by_path(scene: Scene, client: TestClient) -> None:
    scene.fill(scene.send(scene.order()))
    for path in (
        "/agents/desk",
        "/agents/no-such-agent",
        "/trades/t1",
        "/nowhere/4711",
        "/ui/x.js",
    ):
        client.get(path)
    client.request("BREW", "/agents")

    family = families(client.get("/metrics").text)["desk_http_requests_total"]

    rows = {
        (row.labels["method"], row.labels["route"], row.labels["status_class"])
        for row in family.samples
        if row.name.endswith("_total")
    }
    assert ("GET", "/agents/{agent_id}", "2xx") in rows
    assert ("GET", "/agents/{agent_id}", "4xx") in rows
    assert ("GET", "unmatched", "4xx") in rows
    assert ("GET", "/ui", "4xx") in rows
    assert {method for method, _, _ in rows} <= {"GET", "POST", "PATCH", "PUT", "DELETE", "other"}
    assert not [route for _, route, _ in rows if "4711" in route or "no-such" in route]


def test_fifty_pairs_on_every_interval_are_a_bounded_number_of_series_without_an_id() -> None:
    scene = make_scene()
    pairs = tuple(f"C{number}-USDT" for number in range(50))
    for row in configured(pairs, ALL_INTERVALS):
        key = f"{row.source_type}:{row.pair}:{row.interval}"
        scene.store.put(kinds.SOURCES, key, row, at_ms=1)
    for number in range(300):
        role = f"role{number % 12}"
        scene.store.put(kinds.ACTORS, f"{role}:{number}", actor(f"{role}:{number}", role), at_ms=1)
        scene.alert(f"late:{number}", code="late_fill")
        scene.order(f"d{number}")
    with TestClient(scene.app(), base_url=HERE, client=("127.0.0.1", 1)) as client:
        client.get("/metrics")
        began_s = time.process_time()
        text = client.get("/metrics").text
        spent_s = time.process_time() - began_s

    rows = [row for family in families(text).values() for row in family.samples]
    per_family: dict[str, int] = defaultdict(int)
    for row in rows:
        per_family[row.name] += not row.name.startswith("desk_source_")
    assert len(rows) < 5_000
    assert max(per_family.values()) < 500, max(per_family, key=per_family.__getitem__)
    values = {value for row in rows for value in row.labels.values()}
    assert [value for value in values if IDS.search(value)] == []
    assert spent_s < 2.0


def actor(name: str, role: str) -> ActorStatus:
    return ActorStatus(
        name=name,
        role=role,
        node="n",
        pid=1,
        epoch=1,
        restarts=1,
        started_wall_ms=1,
        last_heartbeat_wall_ms=1,
        rss_bytes=1,
        status=UP,
    )


def test_a_scrape_changes_nothing(scene: Scene) -> None:
    context = scene.app().state.context
    before = scene.store.last_event_ids()

    first, second = metrics.render(context), metrics.render(context)

    assert scene.store.last_event_ids() == before
    assert first == second
