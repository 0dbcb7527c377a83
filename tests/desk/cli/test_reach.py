"""Whatever an operator can do through the API or a page, a command of `desk` does as well.

Each command runs against the real routes, and what it asked of them is what it is counted for. An
operation that no command asks for, and that is in no list below, fails the test.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from desk.cli import client
from desk.cli.application import app
from desk.store import kinds
from desk.store.evaluation_files import EvaluationFiles
from desk.trading.limits import default_paper_policy
from serve_apps.context import Feeds
from tests.serve_apps.scene import HERE, OPEN_MS, PAIR, Scene, make_job, make_scene

UI = Path(__file__).parents[3] / "serve_apps" / "ui"
TRADE, TRACE = "TRADE", "TRACE"
COMMANDS: dict[str, str] = {
    "status": "GET /ops/trading/summary, GET /ops/actors, GET /data-sources/status",
    "trades": "GET /trades",
    f"trade show {TRADE}": "GET /trades/{trade_id}",
    f"trade close {TRADE} --quantity 0.004 --name mine": "POST /trades/{trade_id}/close",
    f"trade cancel {TRADE}": "POST /trades/{trade_id}/cancel",
    "pause": "POST /agents/{agent_id}/pause",
    "resume": "POST /agents/{agent_id}/resume",
    "stop": "POST /agents/{agent_id}/stop",
    "start BTC-USDT": "POST /agents/{agent_id}/start",
    "preflight BTC-USDT": "POST /ops/preflight",
    "kill": "POST /ops/trading/kill",
    "kill --agent desk": "POST /agents/{agent_id}/kill-switch",
    "reconcile": "POST /ops/trading/reconcile",
    "sides": "GET /ops/trading/reconcile",
    "backfill BTC-USDT": "POST /ops/ingestion/{source}/backfill",
    "agent list": "GET /agents",
    "agent show": (
        "GET /agents/{agent_id}, GET /agents/{agent_id}/promotion-gates, "
        "GET /agents/{agent_id}/source-policies, GET /agents/{agent_id}/kill-switch"
    ),
    "agent runs": "GET /agents/{agent_id}/runs",
    "agent decisions": "GET /agents/{agent_id}/runs/{run_id}/decisions",
    "agent drift": "GET /agents/{agent_id}/drift-alerts",
    "agent set --min-confidence 0.4 --pairs BTC-USDT": "PATCH /agents/{agent_id}/config",
    "agent gate min_trades=30 min_win_rate=0.6": "PATCH /agents/{agent_id}/promotion-gates",
    "agent policies funding=required": "PATCH /agents/{agent_id}/source-policies",
    "evaluations list": "GET /agents/{agent_id}/evaluations",
    "evaluations show none": "GET /agents/{agent_id}/evaluations/{evaluation_id}",
    "evaluations equity none": "GET /agents/{agent_id}/evaluations/{evaluation_id}/equity",
    "evaluations trades none": "GET /agents/{agent_id}/evaluations/{evaluation_id}/trades",
    "evaluations compare none other": "GET /agents/{agent_id}/evaluations/compare",
    "jobs show job-1": "GET /jobs/{job_id}",
    "jobs pause job-1": "POST /jobs/{job_id}/pause",
    "jobs resume job-1": "POST /jobs/{job_id}/resume",
    "jobs cancel job-1": "POST /jobs/{job_id}/cancel",
    "alerts list": "GET /ops/alerts",
    "alerts ack late:BTC": "POST /ops/alerts/{alert_id}/ack",
    "audit list": "GET /ops/audit",
    f"trace {TRACE}": "GET /traces/{trace_id}",
    "metrics": "GET /ops/trading/metrics",
    "gaps": "GET /ops/gaps/health",
    "limits list": "GET /risk-limits",
    "limits history default": "GET /risk-limits/{set_id}/revisions",
    "limits use": "GET /ops/trading/risk",
    "limits create small --name Small --size 500 --leverage 2 --daily-loss 100 --drawdown 0.05"
    " --positions 2": "POST /risk-limits",
    "limits edit default --size 400": "PATCH /risk-limits/{set_id}",
    "limits activate default": "POST /risk-limits/{set_id}/activate",
    "limits account paper max_drawdown=0.02": "PATCH /ops/trading/risk",
    "limits reset-breaker paper --reason looked": "POST /ops/trading/circuit-breaker/reset",
    "ingestion status": "GET /ops/ingestion/status",
    "ingestion runs": "GET /ops/ingestion/runs",
    "retries list": "GET /ops/retry-queue",
    "retries retry none": "POST /ops/retry-queue/{item_id}/retry",
    "retries discard none": "POST /ops/retry-queue/{item_id}/discard",
    "source run bingx": "POST /ops/ingestion/{source}/{wish}",
    "source set bingx_candles --pair BTC-USDT --interval 1m --threshold 200": (
        "PATCH /data-sources/config"
    ),
    "source config": "GET /ops/ingestion/config",
    "source config DATA_GAP_HEAL_ENABLED=false": "PUT /ops/ingestion/config",
    "learning status": "GET /ops/learning/status",
    "learning history": "GET /ops/learning/history",
    "learning run": "POST /ops/learning/run",
    "learning pause": "POST /ops/learning/pause",
    "learning resume": "POST /ops/learning/resume",
    "market pairs": "GET /market-data/pairs",
    "market status": "GET /market-data/status, GET /data-quality/status",
    "market candles BTC-USDT": "GET /market-data/candles",
    "market quote BTC-USDT": (
        "GET /market-data/ticker, GET /market-data/mark-index, GET /market-data/open-interest, "
        "GET /market-data/orderbook"
    ),
    "market funding BTC-USDT": "GET /market-data/funding-rates",
    "signals search telegram:desk": "GET /signals/search",
    "signals sync": "POST /ingestion/tradingview/sync",
    "signals feeds": "GET /ingestion/tradingview/sync",
}
"""A command as it is typed, and every operation that it asks for."""
BY_STORE = {
    "POST /agents/{agent_id}/training": "train",
    "POST /agents/{agent_id}/evaluations": "evaluate",
    "GET /agents/{agent_id}/versions": "versions",
    "POST /agents/{agent_id}/versions/{version_id}/promote": "promote",
    "POST /agents/{agent_id}/versions/{version_id}/rollback": "rollback",
    "GET /datasets": "dataset list",
    "GET /datasets/{dataset_id}": "dataset show",
    "GET /datasets/{dataset_id}/lineage": "dataset show",
    "GET /feature-sets": "features list",
    "GET /feature-sets/{feature_set_id}": "features show",
    "POST /feature-sets": "features create",
    "GET /trades/{trade_id}/explanation": "explain",
}
"""Done by the same code without a running desk: the command goes to the store."""
FOLLOWED = {"GET /events": "events"}
"""Without an end: tests/desk/cli/test_events.py."""
SAME_AS = {
    "POST /data-sources/backfill": "POST /ops/ingestion/{source}/backfill",
    "POST /ingestion/bingx/backfill": "POST /ops/ingestion/{source}/backfill",
    "POST /ingestion/bingx/refresh": "POST /ops/ingestion/{source}/{wish}",
    "POST /ingestion/telegram/ingest": "POST /ops/ingestion/{source}/{wish}",
    "GET /data-sources/runs": "GET /ops/ingestion/runs",
    "GET /ingestion/status": "GET /ops/ingestion/status",
}
"""Another address of the same thing (docs/api.md says so)."""
OF_MACHINES = {
    "GET /healthz": "a probe of a balancer; `desk doctor` and `desk status` look further",
    "GET /metrics": "Prometheus' form of `desk metrics`",
    "POST /webhooks/tradingview/{feed_token}": "TradingView's, with a token of its own",
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, set[str]]]:
    """What each command answered, and what it asked of the API."""
    folder = tmp_path_factory.mktemp("reach")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DESK_HOME", str(folder))
        return {line: ask(line, folder, patch) for line in COMMANDS}


def ask(line: str, folder: Path, patch: pytest.MonkeyPatch) -> tuple[Result, set[str]]:
    scene = furnished(folder)
    held = scene.fill(scene.send(scene.order()))
    ids = {TRADE: held.trade_id, TRACE: held.trace_id}
    application = scene.app(feeds=Feeds(token_hashes=(("desk", "0" * 64),)))
    operator = TestClient(application, base_url=HERE, client=("127.0.0.1", 40_000))
    seen: list[tuple[str, str]] = []
    request = operator.request

    def noted(method: str, path: str, **options: Any) -> Any:
        seen.append((method, path))
        return request(method, path, **options)

    patch.setattr(operator, "request", noted)
    patch.setattr(client.httpx2, "Client", lambda **_: operator)
    if line.startswith("backfill"):
        patch.setattr(client.Api, "get", ended_job)
    words = [ids.get(word, word) for word in line.split()]
    answer = CliRunner().invoke(app, [*words, "--json"])
    patch.undo()
    patch.setenv("DESK_HOME", str(folder))
    return answer, {operation_of(*one) for one in seen}


def furnished(folder: Path) -> Scene:
    """A scene with something behind every id that a command names."""
    scene = make_scene()
    scene.reports = EvaluationFiles(folder / "evaluations")
    scene.candles(30)
    scene.alert()
    scene.decide()
    scene.source(last_event_ms=OPEN_MS)
    scene.store.put(kinds.ACCOUNT_POLICIES, "paper", default_paper_policy(), at_ms=0)
    scene.store.put(kinds.JOBS, "job-1", make_job("job-1", OPEN_MS), at_ms=OPEN_MS)
    return scene


def ended_job(_: object, path: str, **__: object) -> dict[str, object]:
    """A job that is done, for commands that follow one."""
    assert path.startswith("/jobs/")
    return {
        "job_id": "job-new",
        "kind": "backfill",
        "status": "done",
        "done": 1,
        "total": 1,
        "detail": "",
    }


def operations() -> dict[str, re.Pattern[str]]:
    """Every operation of the description with the pattern of its path, exact paths first."""
    described = make_scene().app().openapi()["paths"]
    ordered = sorted(described, key=lambda path: path.count("{"))
    return {
        f"{method.upper()} {path}": re.compile(
            f"{method.upper()} " + re.sub(r"\\?\{\w+\\?\}", "[^/]+", path) + "$"
        )
        for path in ordered
        for method in described[path]
    }


OPERATIONS = operations()


def operation_of(method: str, path: str) -> str:
    named = f"{method} {path.partition('?')[0]}"
    return next(name for name, pattern in OPERATIONS.items() if pattern.match(named))


def of_the_facade(operation: str) -> bool:
    """freqtrade's routes stand for the desk's own (tests/serve_apps/test_freqtrade.py)."""
    return operation.split(" ")[1].startswith("/api/v1/")


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its words."""
    for name, command in typer.main.get_command(app).commands.items():  # pyright: ignore[reportAttributeAccessIssue]
        below = getattr(command, "commands", None)
        if below is None:
            yield name, command
        else:
            yield from ((f"{name} {word}", each) for word, each in below.items())


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_asks_for_exactly_what_it_is_counted_for(
    asked: dict[str, tuple[Result, set[str]]], line: str
) -> None:
    answer, seen = asked[line]

    assert set(COMMANDS[line].split(", ")) <= seen, answer.output
    assert not isinstance(answer.exception, KeyError | TypeError | AttributeError), line


@pytest.mark.parametrize("line", COMMANDS)
def test_with_json_every_answer_is_one_document_and_nothing_else(
    asked: dict[str, tuple[Result, set[str]]], line: str
) -> None:
    answer, _ = asked[line]

    if answer.exit_code == 0:
        assert isinstance(json.loads(answer.stdout), dict | list)
    else:
        assert answer.stdout == ""


def test_every_change_an_operator_can_make_has_a_command() -> None:
    mapped = {name for names in COMMANDS.values() for name in names.split(", ")}
    changes = {
        name for name in OPERATIONS if not name.startswith("GET ") and not of_the_facade(name)
    }

    assert len(changes) > 30
    assert changes - mapped - set(BY_STORE) - set(SAME_AS) - set(OF_MACHINES) == set()


def test_every_read_of_the_api_has_a_command_so_that_those_of_the_pages_do() -> None:
    mapped = {name for names in COMMANDS.values() for name in names.split(", ")}
    reads = {name for name in OPERATIONS if name.startswith("GET ") and not of_the_facade(name)}

    assert len(reads) > 40
    assert reads - mapped - set(BY_STORE) - set(FOLLOWED) - set(SAME_AS) - set(OF_MACHINES) == set()


def test_what_the_pages_call_is_in_the_description() -> None:
    called = {
        match
        for script in UI.rglob("*.js")
        if "node_modules" not in script.parts
        for match in re.findall(
            r"[\"'`](/(?:agents|ops|trades|jobs|traces|market-data)[^\"'`?]*)", script.read_text()
        )
    }
    paths = [re.compile(pattern.pattern.partition(" ")[2]) for pattern in OPERATIONS.values()]
    plain = {re.sub(r"\$\{[^}]+\}", "x", path) for path in called}
    verbs = {"pause", "resume", "stop"}
    unknown = {path for path in plain if not any(each.match(path) for each in paths)}

    assert len(called) > 10
    assert {path for path in unknown if not path.endswith("/x")} == set()
    assert {f"POST /agents/{{agent_id}}/{verb}" for verb in verbs} <= set(OPERATIONS)


def test_what_is_done_by_the_store_or_followed_has_its_command() -> None:
    known = dict(commands())

    assert {*BY_STORE.values(), *FOLLOWED.values()} <= set(known)
    assert set(SAME_AS.values()) <= set(OPERATIONS)
    assert {*BY_STORE, *FOLLOWED, *SAME_AS, *OF_MACHINES} <= set(OPERATIONS)


WITHOUT_JSON = {"up", "down", "sim", "telegram login", "cluster env"}
"""They stay, end, talk with a person, or print a file: there is no answer to print."""


def test_every_command_that_answers_takes_json() -> None:
    lacking = {
        words
        for words, command in commands()
        if "--json" not in {name for option in command.params for name in option.opts}
    }

    assert lacking == WITHOUT_JSON


def test_every_command_says_in_one_line_what_it_does() -> None:
    untold = [words for words, command in commands() if not (command.help or "").strip()]

    assert untold == []


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    """Runs a command without --json, against a furnished scene."""
    scene = furnished(tmp_path)
    held = scene.fill(scene.send(scene.order()))
    operator = TestClient(scene.app(), base_url=HERE, client=("127.0.0.1", 40_000))
    monkeypatch.setattr(client.httpx2, "Client", lambda **_: operator)
    ids = {TRADE: held.trade_id, TRACE: held.trace_id}
    return lambda line: CliRunner().invoke(app, [ids.get(word, word) for word in line.split()])


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"trade show {TRADE}", "filled"),
        (f"trade close {TRADE}", "ordered"),
        ("agent show", "baseline-trend-v1"),
        ("agent runs", "run-1"),
        ("agent decisions", "trade"),
        ("agent gate min_trades=30", "30"),
        ("agent policies funding=required", "required"),
        ("alerts list", "late:BTC"),
        ("alerts ack late:BTC", "acknowledged"),
        ("jobs show job-1", "running"),
        (f"trace {TRACE}", "hops"),
        ("market pairs", PAIR),
        ("market candles BTC-USDT --limit 3", "129"),
        ("market status", "1m"),
        ("gaps", "last scan"),
        ("trades", "trace"),
        ("metrics", "series"),
        ("audit list", "audit"),
        ("evaluations list", "evaluations"),
    ],
)
def test_people_are_shown_tables_without_colours_in_a_pipe(
    people: Callable[[str], Result], line: str, shown: str
) -> None:
    answer = people(line)

    assert answer.exit_code == 0, (answer.output, answer.exception)
    assert shown in answer.stdout
    assert "\x1b" not in answer.stdout
