"""Writes the answers that `/openapi.json` shows as examples: `python -m tests.serve_apps.record_examples`.

They are answers of the real routes over a desk in memory on which a little of everything happened.
"""

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from actors import retry_queue
from desk.clock import DAY_MS
from desk.market.gaps import GapStatus
from desk.store import kinds
from desk.store.evaluation_files import EvaluationFiles
from desk.trading.breaker import Breaker
from serve_apps.context import Feeds
from tests.desk.market.test_signals import alert, iso
from tests.serve_apps import (
    test_datasets,
    test_learning,
    test_operations,
    test_quotes,
    test_retries,
)
from tests.serve_apps.scene import (
    HERE,
    NOW_MS,
    OPEN_MS,
    PAIR,
    WALL_MS,
    Scene,
    make_ingestion_run,
    make_job,
    make_scene,
    make_version,
)
from tests.serve_apps.test_operations import gap

FILE = Path(__file__).parents[2] / "serve_apps" / "examples.json"
FEED_TOKEN = "f" * 32
SOURCE = "main"
PROMOTED = {
    "agent_id": "desk",
    "active_version_id": "ppo-20261126-1",
    "previous_version_id": "baseline-trend-v1",
    "evaluation_id": "evaluation-7f3a",
}
WRITTEN = dict.fromkeys(
    (
        "POST /agents/{agent_id}/versions/{version_id}/promote",
        "POST /agents/{agent_id}/versions/{version_id}/rollback",
    ),
    PROMOTED,
)
"""Answers of what nothing in this desk has earned."""
LONGEST = 3
"""Items of a list, points of a curve: enough to see its shape."""


def busy_scene(home: Path) -> Scene:
    """A desk that traded once, with a little of everything that the routes show."""
    scene = make_scene()
    scene.home, scene.reports = home, EvaluationFiles(home / "evaluations")
    scene.candles(700)
    decision = scene.decide()
    order = scene.order(decision.decision_id, trace_id=decision.trace_id)
    scene.fill(scene.send(order))
    scene.beat()
    scene.source(last_event_ms=OPEN_MS)
    scene.alert()
    for alert_id in ("model_drift:run-1:baseline-trend-v1",):
        scene.alert(alert_id, category="drift", code="model_drift", created_ms=NOW_MS - 1)
    store = scene.store
    promoted = replace(make_version(), promoted_at_ms=NOW_MS)
    store.put(kinds.VERSIONS, promoted.version_id, promoted, at_ms=1)
    store.put(kinds.BREAKERS, "paper", Breaker(account="paper"), at_ms=NOW_MS)
    store.put(kinds.JOBS, "job-1", make_job("job-1", NOW_MS), at_ms=NOW_MS)
    store.put(kinds.JOBS, "job-2", make_job("job-2", NOW_MS), at_ms=NOW_MS)
    hole = gap(1, GapStatus.OPEN)
    store.put(kinds.GAPS, hole.gap_id, hole, at_ms=hole.detected_ms)
    run = make_ingestion_run("ing-1")
    store.put(kinds.INGESTION, run.run_id, run, at_ms=run.started_ms)
    for number in (1, 2):
        item = replace(test_retries.DEAD, item_id=f"rty{number}")
        retry_queue.put(store, item, expected_version=0)
    test_datasets.keep(scene, test_datasets.MADE, test_datasets.CHILD)
    report = test_learning.weighed(scene)
    test_learning.keep(scene, report, replace(report, evaluation_id="e2", created_ms=2))
    test_operations.put_sides(scene)
    test_quotes.put_quotes(scene)
    test_quotes.settle(scene, 2)
    return scene


def requests(scene: Scene) -> dict[str, tuple[str, Any]]:
    """Operations whose path or body differs from what their schemas show; by operation."""
    trade_id = scene.store.trade_ids(limit=1)[0]
    trace_id = scene.store.orders_of_trade(trade_id)[0].trace_id
    report = f"/agents/desk/evaluations/{test_learning.WEIGHED}"
    period = {"pair": PAIR, "period_start_ms": OPEN_MS - 60_000_0, "period_end_ms": OPEN_MS}
    day = f"start_ms={WALL_MS - DAY_MS}&end_ms={WALL_MS + DAY_MS}"
    pair = f"pair={PAIR}"
    return {
        "GET /agents/{agent_id}/evaluations/compare": (
            f"/agents/desk/evaluations/compare?ids={test_learning.WEIGHED},e2",
            None,
        ),
        "GET /agents/{agent_id}/evaluations/{evaluation_id}": (report, None),
        "GET /agents/{agent_id}/evaluations/{evaluation_id}/equity": (
            f"{report}/equity?points=3",
            None,
        ),
        "GET /agents/{agent_id}/evaluations/{evaluation_id}/trades": (f"{report}/trades", None),
        "POST /agents/{agent_id}/evaluations": ("/agents/desk/evaluations", period),
        "GET /agents/{agent_id}/runs/{run_id}/decisions": (
            "/agents/desk/runs/run-1/decisions",
            None,
        ),
        "GET /datasets/{dataset_id}": ("/datasets/ds-child", None),
        "GET /datasets/{dataset_id}/lineage": ("/datasets/ds-child/lineage", None),
        "POST /api/v1/forceexit": ("/api/v1/forceexit", {"tradeid": "all"}),
        "GET /api/v1/pair_candles": (
            "/api/v1/pair_candles?pair=BTC/USDT:USDT&timeframe=1m&limit=2",
            None,
        ),
        "GET /jobs/{job_id}": ("/jobs/job-1", None),
        "POST /jobs/{job_id}/pause": ("/jobs/job-1/pause", None),
        "POST /jobs/{job_id}/resume": ("/jobs/job-1/resume", None),
        "POST /jobs/{job_id}/cancel": ("/jobs/job-2/cancel", None),
        "GET /market-data/candles": (f"/market-data/candles?{pair}&interval=1m&limit=2", None),
        "GET /market-data/funding-rates": (f"/market-data/funding-rates?{pair}", None),
        "GET /market-data/orderbook": (f"/market-data/orderbook?{pair}", None),
        "GET /ops/trading/metrics": ("/ops/trading/metrics?name=decision_latency_ms", None),
        "POST /ops/retry-queue/{item_id}/retry": ("/ops/retry-queue/rty1/retry", None),
        "POST /ops/retry-queue/{item_id}/discard": ("/ops/retry-queue/rty2/discard", None),
        "POST /ops/ingestion/{source}/backfill": (
            "/ops/ingestion/bingx/backfill",
            {"pair": PAIR, "interval": "1m"},
        ),
        "POST /ops/ingestion/{source}/{wish}": ("/ops/ingestion/bingx/run", {"pair": PAIR}),
        "POST /risk-limits/{set_id}/activate": ("/risk-limits/careful/activate", {"version": 2}),
        "PATCH /risk-limits/{set_id}": ("/risk-limits/careful", {"max_daily_loss": "90"}),
        "GET /risk-limits/{set_id}/revisions": ("/risk-limits/careful/revisions", None),
        "GET /signals/search": (f"/signals/search?source={SOURCE}&{day}", None),
        "GET /traces/{trace_id}": (f"/traces/{trace_id}", None),
        "GET /trades/{trade_id}": (f"/trades/{trade_id}", None),
        "GET /trades/{trade_id}/explanation": (f"/trades/{trade_id}/explanation", None),
        "POST /trades/{trade_id}/close": (f"/trades/{trade_id}/close", {"quantity": "0.001"}),
        "POST /trades/{trade_id}/cancel": (f"/trades/{trade_id}/cancel", None),
    }


def shortened(value: Any) -> Any:
    """The same with at most so many of anything."""
    if isinstance(value, list):
        return [shortened(one) for one in value[:LONGEST]]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {name: shortened(one) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return value


def recorded() -> dict[str, Any]:
    """An answer of every operation that answers JSON; writes first, so that lists are not empty."""
    with tempfile.TemporaryDirectory() as home:
        scene = busy_scene(Path(home))
        token_hash = hashlib.sha256(FEED_TOKEN.encode()).hexdigest()
        feeds = Feeds(token_hashes=((SOURCE, token_hash),))
        app = scene.app(feeds=feeds, signal_sources=(("tradingview", SOURCE),))
        with TestClient(app, base_url=HERE, client=("127.0.0.1", 1)) as client:
            text = alert(timenow=iso(WALL_MS))
            client.post(f"/webhooks/tradingview/{FEED_TOKEN}", content=text)
            return dict(sorted(_answers(client, scene, app.openapi()).items()))


def _answers(client: TestClient, scene: Scene, schema: dict[str, Any]) -> dict[str, Any]:
    differing, found = requests(scene), dict[str, Any]()
    told = [
        (method.upper(), path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    told.sort(key=lambda one: (one[0] == "GET", "activate" in one[1], one[0] == "PATCH"))
    for method, path, operation in told:
        name = f"{method} {path}"
        if not answers_json(operation):
            continue
        if name in WRITTEN:
            found[name] = WRITTEN[name]
            continue
        where, body = differing.get(name, (path_of(path, operation), body_of(schema, operation)))
        key = {} if method == "GET" else {"Idempotency-Key": f"example {name}"}
        answer = client.request(method, where, json=body, headers=key)
        assert answer.is_success, f"{name}: {answer.status_code} {answer.text}"
        found[name] = shortened(answer.json())
    return found


def answers_json(operation: dict[str, Any]) -> bool:
    """Whether its success is JSON."""
    success = next(one for status, one in operation["responses"].items() if status[0] == "2")
    return "application/json" in success.get("content", {})


def path_of(path: str, operation: dict[str, Any]) -> str:
    """The path with the examples of its parameters."""
    for one in operation.get("parameters", []):
        if one["in"] == "path":
            example = (one["schema"].get("examples") or one["schema"]["enum"])[0]
            path = path.replace("{" + one["name"] + "}", example)
    return path


def body_of(schema: dict[str, Any], operation: dict[str, Any]) -> Any:
    """The example of the body, None where there is none."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    while content and "examples" not in content:
        given = content.get("schema", content)
        given = (given.get("anyOf") or given.get("oneOf") or [given])[0]
        name = given.get("$ref", "").rsplit("/", 1)[-1]
        shown = schema["components"]["schemas"].get(name, given)
        assert shown is not content, f"the body of {operation['operationId']} has no example"
        content = shown
    return content["examples"][0] if content else None


if __name__ == "__main__":
    FILE.write_text(json.dumps(recorded(), indent=1) + "\n")
