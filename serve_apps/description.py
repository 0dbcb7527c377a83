"""The OpenAPI description made whole: every status, header and example that a client may meet.

What a route declares comes from FastAPI. What the layers around the routes do (who may ask, sizes,
repeats, the trace id) is the same for all of them and is said here, once.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from serve_apps.auth import is_open
from serve_apps.freqtrade.login import ROOT as FACADE
from serve_apps.idempotency import MAX_KEY_CHARS, is_covered
from serve_apps.schemas import Problem
from serve_apps.sessions import COOKIE
from serve_apps.tagged import is_tagged

type Json = dict[str, Any]

PROBLEM = "application/problem+json"
ABOUT = """\
Money and quantities are decimal strings, times are integer milliseconds UTC (`*_ms`). Lists answer
`{items, next_cursor}`. Errors are `application/problem+json`. Every answer carries `X-Trace-Id`."""
TAGS = {
    "agents": "Agents, their runs and decisions, and the commands of a run's life (page /rl-agent).",
    "governance": "What an agent may do: config, kill switch, gates, source policies (/rl-agent).",
    "versions": "Trained policies: promote, roll back, drift (/rl-agent, /rl-evaluations).",
    "learning": "Trainings, evaluations and learning cycles (/rl-evaluations, /rl-agent).",
    "risk": "Limit sets, guardrails and the circuit breaker (/rl-agent).",
    "trades": "Trades, their executions, and the manual ways out (/rl-agent, /insights).",
    "trading": "Trading as a whole: summary, metrics, reconciliation, kill (/rl-ops).",
    "operations": "Alerts, audit, actors, gaps, jobs, preflight (/rl-ops).",
    "ingestion": "How each source is read, and what is tried again (/ingestion).",
    "data sources": "Freshness, switches, quality, history on request (/rl-data-sources).",
    "datasets": "Frozen ranges of candles and what rests on them (/rl-data-sources).",
    "feature sets": "What a policy is shown (/rl-data-sources).",
    "market data": "Candles, funding, quotes (/insights).",
    "signals": "Alerts and messages from outside (/ingestion).",
    "freqtrade": "The desk in the words of freqtrade's REST API, for the tools that speak it. "
    "HTTP basic is taken too, the API token as the password; five wrong ones a minute are 429.",
    "live": "Health, metrics, the event stream, traces (every page).",
}
ERRORS: Mapping[str, str] = {
    "400": "The body is no text that could be read.",
    "401": "A token or a login is required.",
    "403": "Not from a page of this login; or, without an API token, not from this machine.",
    "404": "What the request names does not exist.",
    "408": "The body took too long.",
    "409": "The state does not allow it, a gate or a limit refused, or the same request still runs.",
    "412": "The row moved on since the version in `If-Match` was seen.",
    "413": "The body is too large.",
    "415": "The body is of a type that the route does not read.",
    "421": "This server does not answer for that host name.",
    "422": "The request cannot be carried out as written; `field` names what was wrong.",
    "429": "Too many wrong passwords from this address: wait a minute.",
    "500": "The desk failed; the log has more under the trace id.",
    "503": "A part of the desk did not answer: repeat it, under the same `Idempotency-Key`.",
}
_RETRIED = {"409", "429", "503"}
_KEY: Mapping[str, object] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "One effect per key and body: a repeat within 24 h gets the first answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS},
}
_MAY_WAIT = {"type": "integer", "minimum": 0}
LINKS: Mapping[str, tuple[tuple[str, str, str, str, str], ...]] = {
    "POST /agents/{agent_id}/training": (("job", "GET", "/jobs/{job_id}", "job_id", "job_id"),),
    "POST /agents/{agent_id}/evaluations": (
        ("job", "GET", "/jobs/{job_id}", "job_id", "job_id"),
        ("cancel", "POST", "/jobs/{job_id}/cancel", "job_id", "job_id"),
    ),
    "POST /data-sources/backfill": (
        ("job", "GET", "/jobs/{job_id}", "job_id", "job_id"),
        ("cancel", "POST", "/jobs/{job_id}/cancel", "job_id", "job_id"),
    ),
    "GET /trades": (
        ("trade", "GET", "/trades/{trade_id}", "trade_id", "items/0/trade_id"),
        ("explanation", "GET", "/trades/{trade_id}/explanation", "trade_id", "items/0/trade_id"),
        ("close", "POST", "/trades/{trade_id}/close", "trade_id", "items/0/trade_id"),
        ("trace", "GET", "/traces/{trace_id}", "trace_id", "items/0/trace_id"),
    ),
    "GET /agents": (("agent", "GET", "/agents/{agent_id}", "agent_id", "items/0/agent_id"),),
    "GET /ops/alerts": (
        ("acknowledge", "POST", "/ops/alerts/{alert_id}/ack", "alert_id", "items/0/alert_id"),
    ),
    "GET /datasets": (
        ("dataset", "GET", "/datasets/{dataset_id}", "dataset_id", "items/0/dataset_id"),
        ("lineage", "GET", "/datasets/{dataset_id}/lineage", "dataset_id", "items/0/dataset_id"),
    ),
    "POST /feature-sets": (
        ("set", "GET", "/feature-sets/{feature_set_id}", "feature_set_id", "feature_set_id"),
    ),
    "POST /risk-limits": (
        ("edit", "PATCH", "/risk-limits/{set_id}", "set_id", "set_id"),
        ("activate", "POST", "/risk-limits/{set_id}/activate", "set_id", "set_id"),
        ("revisions", "GET", "/risk-limits/{set_id}/revisions", "set_id", "set_id"),
    ),
}
"""By operation, to what its answer leads: name, method, path, parameter, where its value stands."""


def described(app: FastAPI) -> Json:
    """The description of an application, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=ABOUT,
            routes=app.routes,
            tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        )
        _add_components(schema["components"])
        tagged = {
            (method, route.path)
            for route in app.state.routes
            if isinstance(route, APIRoute) and is_tagged(route)
            for method in route.methods or ()
        }
        examples: Json = json.loads(files("serve_apps").joinpath("examples.json").read_text())
        for method, path, operation in operations(schema):
            _say_who_may(method, path, operation)
            _complete(method, path, operation)
            _add_headers(operation, covered=is_covered(method, path), tag=(method, path) in tagged)
            _add_example(operation, examples.get(f"{method} {path}"))
            _add_links(schema, operation, LINKS.get(f"{method} {path}", ()))
        app.openapi_schema = schema
    return app.openapi_schema


def operations(schema: Json) -> Iterator[tuple[str, str, Json]]:
    """Method, path and description of every operation."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _add_components(components: Json) -> None:
    schemas: Json = components["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema()
    components["responses"] = {f"Error{status}": _problem(status) for status in ERRORS}
    components["headers"] = {
        "TraceId": {
            "required": True,
            "description": "Under which the desk's log and `/traces/{trace_id}` tell of it.",
            "schema": {"type": "string", "minLength": 1},
        },
        "ETag": {
            "required": True,
            "description": "The row's version, for `If-Match`.",
            "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
        },
        "Replay": {
            "description": "`true` on an answer that was given before under the same key.",
            "schema": {"type": "string", "enum": ["true"]},
        },
        "RetryAfter": {"description": "Seconds to wait.", "schema": _MAY_WAIT},
        "Challenge": {"schema": {"type": "string", "enum": ["Bearer"]}},
    }
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "`API_TOKEN`."},
        "login": {"type": "apiKey", "in": "cookie", "name": COOKIE},
        "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
    }


def _problem(status: str) -> Json:
    headers: Json = {"X-Trace-Id": _header("TraceId")}
    if status in _RETRIED:
        headers["Retry-After"] = _header("RetryAfter")
    if status == "401":
        headers["WWW-Authenticate"] = _header("Challenge")
    return {
        "description": ERRORS[status],
        "headers": headers,
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}


def _say_who_may(method: str, path: str, operation: Json) -> None:
    if is_open(path):
        operation["security"] = []
    elif method == "GET":
        operation["security"] = [{"token": []}, {"login": []}]
    else:
        operation["security"] = [{"token": []}, {"login": [], "csrf": []}]


def _complete(method: str, path: str, operation: Json) -> None:
    """Name every error that may be answered, those of the route and those of the layers around it."""
    responses: Json = operation["responses"]
    parameters: list[Json] = operation.get("parameters", [])
    statuses = {status for status in responses if status[0] in "45" and status in ERRORS}
    statuses |= {"421", "500", "503"}
    if not is_open(path):
        statuses |= {"401", "403"}
    if path.startswith(f"{FACADE}/"):
        statuses |= {"429"}
    if method != "GET":
        statuses |= {"408", "409", "413", "415", "422"}
    if path.startswith("/webhooks/"):
        statuses -= {"409", "415"}
    if "requestBody" in operation and "415" in statuses:
        statuses |= {"400"}
    if parameters:
        statuses |= {"422"}
    if "{" in path:
        statuses |= {"404"}
    if any(one.get("name", "").lower() == "if-match" for one in parameters):
        statuses |= {"412"}
    for status in sorted(statuses):
        if "$ref" in str(responses.get(status, {})) and status == "503":
            continue  # health says more than a problem when it is down
        responses[status] = {"$ref": f"#/components/responses/Error{status}"}


def _add_headers(operation: Json, *, covered: bool, tag: bool) -> None:
    if covered:
        operation.setdefault("parameters", []).append(_KEY)
    for response in operation["responses"].values():
        if "$ref" in response:
            continue
        headers = response.setdefault("headers", {})
        headers["X-Trace-Id"] = _header("TraceId")
        if covered:
            headers["Idempotent-Replay"] = _header("Replay")
        if tag:
            headers["ETag"] = _header("ETag")


def _add_example(operation: Json, example: object) -> None:
    if example is None:
        return
    for status, response in operation["responses"].items():
        content = response.get("content", {}).get("application/json")
        if status.startswith("2") and content is not None:
            content["example"] = example


def _add_links(schema: Json, operation: Json, links: tuple[tuple[str, ...], ...]) -> None:
    success = next(text for text in operation["responses"] if text.startswith("2"))
    for name, method, path, parameter, pointer in links:
        operation["responses"][success].setdefault("links", {})[name] = {
            "operationId": schema["paths"][path][method.lower()]["operationId"],
            "parameters": {parameter: f"$response.body#/{pointer}"},
        }
