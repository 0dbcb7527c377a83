"""`GET /metrics` as a Prometheus reads it: what it holds, what it must not hold, and what it costs."""

import re
import time
from collections import defaultdict
from pathlib import Path
from typing import override

import pytest
from fastapi.testclient import TestClient
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from actors.source_book import configured
from actors.watch import UP
from desk import meters
from desk.counting import as_document
from desk.errors import StoreUnavailable
from desk.market.interval import ALL_INTERVALS
from desk.runs import ActorStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import AuditHead
from serve_apps import metrics
from serve_apps.metric_facts import GAUGES
from tests.serve_apps.scene import HERE, Scene, make_scene

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
        began_s = time.monotonic()
        text = client.get("/metrics").text
        spent_s = time.monotonic() - began_s

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
