"""Every route that an operator, a script or a dashboard may rely on is served, with its filters and fields."""

import re
from itertools import product
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.serve_apps.scene import make_scene

A = "/agents/{}"
ROUTES = f"""
GET /agents
GET {A}
POST {A}/start: mode pair risk_limit_set_id learning_enabled learning_window_minutes decision_threshold dataset_id feature_set_id
POST {A}/pause: reason
POST {A}/resume: reason
POST {A}/stop: reason
PATCH {A}/config
GET {A}/runs
GET {A}/runs/{{}}/decisions
POST {A}/training
POST {A}/evaluations: pair period_start_ms period_end_ms agent_version_id dataset_id feature_set_id decision_threshold walk_forward
GET {A}/evaluations
GET {A}/evaluations/{{}}
GET {A}/evaluations/{{}}/equity
GET {A}/evaluations/{{}}/trades
GET {A}/evaluations/compare? ids
GET {A}/versions
POST {A}/versions/{{}}/promote
POST {A}/versions/{{}}/rollback
GET {A}/drift-alerts
GET {A}/kill-switch
POST {A}/kill-switch
GET {A}/promotion-gates
PATCH {A}/promotion-gates
GET {A}/source-policies
PATCH {A}/source-policies
GET /risk-limits
POST /risk-limits
PATCH /risk-limits/{{}}
POST /risk-limits/{{}}/activate
GET /trades? status mode pair side start_ms end_ms
GET /trades/{{}}
POST /trades/{{}}/close: quantity client_order_id reason
POST /trades/{{}}/cancel: reason
GET /ops/trading/summary
GET /ops/trading/metrics
GET /ops/trading/risk
POST /ops/trading/reconcile
POST /ops/trading/kill
POST /ops/trading/circuit-breaker/reset
GET /ops/alerts
POST /ops/alerts/{{}}/ack
GET /ops/audit
GET /ops/gaps/health
GET /ops/retry-queue
POST /ops/retry-queue/{{}}/retry
POST /ops/retry-queue/{{}}/discard
GET /ops/learning/status
GET /ops/learning/history
POST /ops/learning/run
GET /ops/actors
GET /traces/{{}}
GET /jobs/{{}}
POST /jobs/{{}}/cancel
POST /jobs/{{}}/pause
POST /jobs/{{}}/resume
POST /ops/preflight
GET /ops/ingestion/status
GET /ops/ingestion/runs
GET /ops/ingestion/config
PUT /ops/ingestion/config
POST /ops/ingestion/bingx/run
POST /ops/ingestion/tradingview/run
POST /ops/ingestion/telegram/run
POST /ops/ingestion/bingx/backfill: pair interval start_ms end_ms max_batches
POST /ops/ingestion/tradingview/backfill: pair interval start_ms end_ms max_batches
POST /ops/ingestion/telegram/backfill: pair interval start_ms end_ms max_batches
POST /ops/ingestion/bingx/pause
POST /ops/ingestion/tradingview/pause
POST /ops/ingestion/telegram/pause
POST /ops/ingestion/bingx/resume
POST /ops/ingestion/tradingview/resume
POST /ops/ingestion/telegram/resume
GET /ingestion/status
POST /ingestion/tradingview/sync
POST /ingestion/telegram/ingest
POST /ingestion/bingx/backfill
POST /ingestion/bingx/refresh
GET /data-sources/status
PATCH /data-sources/config
GET /data-sources/runs
POST /data-sources/backfill
GET /data-quality/status
GET /datasets
GET /datasets/{{}}
GET /datasets/{{}}/lineage
GET /feature-sets
POST /feature-sets
GET /market-data/pairs
GET /market-data/status
GET /market-data/candles? pair interval start_ms end_ms before_ms limit
GET /market-data/funding-rates
GET /market-data/open-interest
GET /market-data/mark-index
GET /market-data/ticker
GET /market-data/orderbook
POST /webhooks/tradingview/{{}}
GET /signals/search? source start_ms end_ms q limit
GET /events
GET /healthz
GET /metrics
""".strip().splitlines()
"""Method and path, `{{}}` for an id; after `?` the filters, after `:` the fields of the body."""
JOBS = {
    *(f"POST {A}/training", f"POST {A}/evaluations", "POST /data-sources/backfill"),
    *("POST /ingestion/bingx/backfill", "POST /ops/ingestion/bingx/backfill"),
}
"""Answered 202 with a job."""

SCHEMA: dict[str, Any] = make_scene().app().openapi()


def served() -> dict[str, dict[str, Any]]:
    """Every operation by method and path; a path with a choice of words is one for each word."""
    found: dict[str, dict[str, Any]] = {}
    for path, methods in SCHEMA["paths"].items():
        for method, operation in methods.items():
            choices = {
                one["name"]: one["schema"].get("enum", [""])
                for one in operation.get("parameters", [])
                if one["in"] == "path"
            }
            for words in product(*choices.values()):
                given = dict(zip(choices, words, strict=True))
                where = re.sub(r"\{(\w+)\}", lambda name, by=given: by[name[1]] or "{}", path)
                found[f"{method.upper()} {where}"] = operation
    return found


SERVED = served()


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema or "anyOf" in schema:
        schema = schema["anyOf"][0] if "anyOf" in schema else schema
        if "$ref" in schema:
            schema = SCHEMA["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def answer_of(operation: dict[str, Any]) -> dict[str, Any]:
    success = next(text for text in operation["responses"] if text.startswith("2"))
    content = operation["responses"][success].get("content", {})
    return resolved(content.get("application/json", {}).get("schema", {}))


@pytest.mark.parametrize("line", ROUTES)
def test_a_route_is_served_with_its_filters_and_fields(line: str) -> None:
    parts = re.fullmatch(r"(\w+ [^?:]+)([?:] .*)?", line)
    assert parts
    operation, extra = SERVED[parts[1]], parts[2] or ""
    wanted = set(extra[1:].split())

    if extra.startswith("?"):
        known = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
    else:
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        known = set(resolved(body.get("schema", {})).get("properties", {}))
    assert wanted <= known


@pytest.mark.parametrize("name", sorted(JOBS))
def test_long_work_is_answered_202_with_a_job(name: str) -> None:
    assert "202" in SERVED[name]["responses"]
    assert answer_of(SERVED[name])["title"] == "JobView"


def test_every_list_has_items_and_a_cursor_and_takes_one() -> None:
    lists = {
        name: operation
        for name, operation in SERVED.items()
        if "items" in answer_of(operation).get("properties", {}) and name.startswith("GET")
    }
    assert len(lists) > 25
    without = {
        name for name, one in lists.items() if "next_cursor" not in answer_of(one)["properties"]
    }
    assert without <= {"GET /ops/ingestion/config", "GET /market-data/status"} | {
        "GET /agents/{}/evaluations/compare"
    }
    for name in (
        "GET /trades",
        "GET /agents",
        "GET /ops/audit",
        "GET /datasets",
        "GET /risk-limits",
    ):
        names = {one["name"] for one in lists[name]["parameters"]}
        assert {"cursor", "limit"} <= names, name


def test_reconcile_answers_what_it_did() -> None:
    fields = answer_of(SERVED["POST /ops/trading/reconcile"])["properties"]

    assert set(fields) == {"checked", "updated", "errors", "reconciled_at_ms"}


def test_an_error_is_a_problem_with_its_five_fields(client: TestClient) -> None:
    answer = client.get("/jobs/nothing")

    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "detail", "trace_id"}
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]


def money_and_times() -> list[tuple[str, str, dict[str, Any]]]:
    """Fields of every schema with their own."""
    return [
        (name, field, spec)
        for name, schema in SCHEMA["components"]["schemas"].items()
        for field, spec in schema.get("properties", {}).items()
    ]


def types_of(spec: dict[str, Any]) -> set[str]:
    return {resolved(one).get("type", "") for one in spec.get("anyOf", [spec])}


def test_times_are_integers_of_milliseconds() -> None:
    for name, field, spec in money_and_times():
        kinds = types_of(spec) - {"null"}
        if re.search(r"_ms$", field) and "latency" not in field and "route" not in field:
            assert kinds <= {"integer", "array"}, f"{name}.{field}"


MONEY = re.compile(
    r"(^|_)(price|quantity|notional|equity|cash|fees?|funding|pnl|exposure|reserved)(_|$)"
)
NO_MONEY = {
    ("SignalView", "price"),  # what a sender claims: a feature, never booked
    ("PromotionGateView", "min_net_pnl"),  # a threshold, compared with the engine's float
    ("PromotionGatesView", "min_net_pnl"),
    ("EvaluationView", "exposure"),  # a share of candles
    ("TogetherView", "exposure"),
}


def test_money_and_quantities_are_decimal_text() -> None:
    judged = 0
    for name, field, spec in money_and_times():
        if not name.endswith("View") or not MONEY.search(field) or (name, field) in NO_MONEY:
            continue
        kinds = types_of(spec)
        assert "number" not in kinds, f"{name}.{field}"
        judged += "string" in kinds
    assert judged > 40
