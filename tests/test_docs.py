"""The documentation is true: whatever an operator can meet is named in docs/, and what is named exists."""

import ast
import importlib
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import typer

from actors import names
from desk.alert_codes import CODES, AlertCode, Ends
from desk.cli import settings_page
from desk.cli.application import app as cli
from desk.drills import plan
from desk.evaluation import gates, promotion
from desk.settings import OUR_PREFIXES, setting_names
from desk.trading.limits import default_limits, default_live_policy, default_paper_policy
from desk.venues.bingx_errors import Meaning
from docs import performance, tables
from serve_apps import metrics
from serve_apps.api import ROUTERS
from serve_apps.patient_http import REFUSALS
from serve_apps.problems import _STATUS as ERRORS_BY_STATUS
from serve_apps.schemas import SampleName
from tests.serve_apps.scene import make_scene

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
PRODUCT = ("desk", "actors", "serve_apps")
TOP = re.compile(
    r"(desk|actors|serve_apps|bingx_sim|tests|docs|bench|tune_configs|notebooks)/[\w./-]*$"
)
WORD = re.compile(r"[a-z]+(_[a-z]+)*$")
TWO_WORDS = re.compile(r"[a-z]+(_[a-z]+)+$")


# --- reading the pages --------------------------------------------------------------------------


def text(page: str) -> str:
    return (DOCS / page).read_text()


def section(page: str, heading: str) -> str:
    """What stands under a heading, down to the next one that is not below it."""
    level = heading.split(" ", 1)[0]
    after = text(page).split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", after)[0]


def rows(part: str) -> list[list[str]]:
    """Cells of every table row, without heads and rules."""
    lines = [line for line in part.splitlines() if line.startswith("|")]
    ruled = {at for at, line in enumerate(lines) if set(line) <= set("|- ")}
    heads = {at - 1 for at in ruled}
    kept = [line for at, line in enumerate(lines) if at not in ruled | heads]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in kept]


def quoted(part: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", part))


def first_cells(part: str) -> list[str]:
    """The first quoted text of every table row that begins with one."""
    found = (re.match(r"`([^`]+)`", row[0]) for row in rows(part))
    return [match[1] for match in found if match]


def fences(page: Path) -> str:
    return "\n".join(re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))


def said(page: Path) -> Iterator[str]:
    """Every command-like text of a page: quoted ones and lines of code."""
    yield from quoted(re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE))
    yield from (line.split("#")[0].strip() for line in fences(page).splitlines())


def assert_same(listed: Collection[str], known: Collection[str]) -> None:
    """Each thing has one row, and each row is about a thing that exists."""
    twice = sorted({name for name in listed if list(listed).count(name) > 1})
    undocumented = sorted(set(known) - set(listed))
    gone = sorted(set(listed) - set(known))

    assert known
    assert undocumented == [], f"in the code, but in no row: {undocumented}"
    assert gone == [], f"in a row, but not in the code: {gone}"
    assert twice == [], f"in two rows: {twice}"


# --- reading the code ---------------------------------------------------------------------------


@cache
def trees() -> dict[Path, ast.Module]:
    paths = [path for name in PRODUCT for path in sorted((ROOT / name).rglob("*.py"))]
    return {path: ast.parse(path.read_text()) for path in paths}


def tree(path: str) -> ast.Module:
    return trees()[ROOT / path]


def calls(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call below a node with the last word of what is called."""
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Attribute(attr=name)) | ast.Call(func=ast.Name(id=name)):
                yield name, each
            case _:
                pass


def literals(node: ast.AST) -> set[str]:
    """Texts below a node, docstrings left out."""
    documented = {id(each.value) for each in ast.walk(node) if isinstance(each, ast.Expr)}
    return {
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant)
        and isinstance(each.value, str)
        and id(each) not in documented
    }


def assigned(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names and values of every assignment to a plain name."""
    for each in ast.walk(module):
        match each:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case _:
                pass


CODE_ARGUMENTS = {"code", "limit", "reason"}
CODE_CALLS = {
    *("alert", "_alert", "_raise", "_reopened", "_pause", "pause", "_pause_pair", "judge"),
    *("Quarantined", "SendUnanswered", "LimitReached", "cancel_entries"),
}
CODE_MODULES = (
    *("desk/runs.py", "desk/trading/risk.py", "desk/trading/breaker.py"),
    "desk/trading/venue_health.py",
)
CODE_CONSTANTS = (
    *("actors/decision_loop.py", "actors/evaluation.py", "actors/venue_talk.py"),
    *("desk/learning/policy.py", "desk/market/features.py"),
)
NO_CODES = {"critical", "warning", "data", "ops", "risk"}
"""Categories and severities, given beside the codes."""


@cache
def codes() -> frozenset[str]:
    """Every word by which the desk says why it held, paused, refused, alerted or ended an order."""
    found: set[str] = set()
    for module in trees().values():
        for name, call in calls(module):
            named = [word.value for word in call.keywords if word.arg in CODE_ARGUMENTS]
            given = call.args if name in CODE_CALLS else []
            found |= {word for value in (*named, *given) for word in literals(value)}
        found |= {
            word
            for name, value in assigned(module)
            if name in {"code", "reason"} and not isinstance(value, ast.Call | ast.Await)
            for word in literals(value)
        }
        found |= {
            word
            for each in ast.walk(module)
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and "reason" in each.name
            for back in ast.walk(each)
            if isinstance(back, ast.Return) and isinstance(back.value, ast.Constant | ast.IfExp)
            for word in literals(back.value)
        }
    words = {word for word in found if WORD.match(word) and len(word) > 1} - NO_CODES
    for path in CODE_MODULES:
        exported = set(importlib.import_module(path[:-3].replace("/", ".")).__dict__)
        words |= {word for word in literals(tree(path)) if TWO_WORDS.match(word)} - exported
    words |= {word for word in literals(tree("desk/market/integrity.py")) if TWO_WORDS.match(word)}
    for path in CODE_CONSTANTS:
        words |= {
            word
            for name, value in assigned(tree(path))
            if name.isupper() and isinstance(value, ast.Constant)
            for word in literals(value)
            if TWO_WORDS.match(word)
        }
    words |= {word for module in (gates, promotion) for word in _texts_of(module)}
    return frozenset(words | {meaning.value for meaning in Meaning})


def _texts_of(module: object) -> list[str]:
    return [
        value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)
    ]


@cache
def routes() -> frozenset[str]:
    """Every route of the API and the pages, as `GET /path`."""
    application = make_scene().app()
    described = {
        f"{method.upper()} {path}"
        for path, operations in application.openapi()["paths"].items()
        for method in operations
    }
    plain = [*application.routes, *(route for router in ROUTERS for route in router.routes)]
    return frozenset(
        described
        | {
            f"{method} {route.path}"  # pyright: ignore[reportAttributeAccessIssue]
            for route in plain
            for method in getattr(route, "methods", None) or ()
            if method != "HEAD"
        }
    )


# --- commands, targets, settings ----------------------------------------------------------------


def test_every_command_is_in_the_runbook_and_nothing_else_is() -> None:
    known = set(typer.main.get_command(cli).commands)  # pyright: ignore[reportAttributeAccessIssue]

    listed = {
        name for name in first_cells(section("operations.md", "## Commands")) if "desk" in name
    }

    assert_same(listed, {f"desk {name}" for name in known})


def test_every_target_is_in_the_runbook_and_nothing_else_is() -> None:
    listed = {
        name for name in first_cells(section("operations.md", "## Commands")) if "make" in name
    }

    assert_same(listed, {f"make {name}" for name in targets() - {"help"}})


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_a_page_names_exists_with_its_options(page: Path) -> None:
    commands = typer.main.get_command(cli).commands  # pyright: ignore[reportAttributeAccessIssue]
    wrong: list[str] = []

    for line in said(page):
        words = line.split()
        if words[:1] == ["make"] and len(words) > 1 and words[1] not in targets():
            wrong.append(line)
        if words[:1] == ["desk"] and len(words) > 1 and WORD.match(words[1]):
            command = commands.get(words[1])
            if hasattr(command, "commands") and len(words) > 2 and WORD.match(words[2]):
                command = command.commands.get(words[2])
            options = [word for word in words[2:] if word.startswith("--")]
            known = (
                [name for each in command.params for name in (*each.opts, *each.secondary_opts)]
                if command
                else []
            )
            if command is None or not set(options) <= {*known, "--help"}:
                wrong.append(line)

    assert wrong == []


def test_the_page_of_settings_is_current() -> None:
    assert text("settings.md") == settings_page.page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_a_page_names_exists(page: Path) -> None:
    names_of_settings = re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b(?!\.md)", page.read_text())

    ours = {name for name in names_of_settings if name.startswith(OUR_PREFIXES)}

    assert ours <= set(setting_names()) | {"DESK_HOME"}


# --- the API ------------------------------------------------------------------------------------


def test_every_route_has_its_row_and_every_row_its_route() -> None:
    listed = first_cells(section("api.md", "## Routes"))

    assert_same(listed, routes())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_route_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"\b(?:GET|POST|PATCH|PUT|DELETE) /[\w/{}.-]+", page.read_text()))
    called = re.findall(r"(?:\$API|127\.0\.0\.1:8000)(/[\w/-]+)", page.read_text())
    paths = {re.sub(r"\{\w+\}", "[^/]+", route.split(" ")[1]) + "$" for route in routes()}

    known = routes() | control_routes()

    assert [one for one in sorted(named) if not _matches(one, known)] == []
    assert [path for path in called if not any(re.match(known, path) for known in paths)] == []


def _matches(named: str, known: frozenset[str]) -> bool:
    """Ids may be written out (`/agents/desk`) or left as they are (`/agents/{agent_id}`)."""
    return any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), named) for route in known)


def control_routes() -> set[str]:
    """Routes of the simulator's control plane."""
    source = (ROOT / "bingx_sim" / "control.py").read_text()
    found = re.findall(r'\("(GET|POST|DELETE)", "([\w/]+)", self', source)
    return {f"{method} /_sim/{path}" for method, path in found}


def test_the_simulators_control_plane_is_listed() -> None:
    listed = first_cells(section("operations.md", "## Practise on the simulator"))

    assert_same(listed, control_routes())


def test_every_problem_type_is_listed_with_its_status() -> None:
    raised = {f"{slug} {status}" for _, status, slug, _ in ERRORS_BY_STATUS}
    for path, module in trees().items():
        if path.is_relative_to(ROOT / "serve_apps"):
            raised |= {
                f"{call.args[1].value} {call.args[0].value}"
                for name, call in calls(module)
                if name == "problem" and len(call.args) > 1
                if isinstance(call.args[0], ast.Constant) and isinstance(call.args[1], ast.Constant)
            }
    raised |= {"in-flight 409", "idempotency-key 422", "http-404 404"}
    raised |= {f"{slug} {status}" for status, (slug, _) in REFUSALS.items()}

    listed = [f"{row[0].strip('`')} {row[1]}" for row in rows(section("api.md", "## Problems"))]

    assert_same(listed, raised)


def test_every_event_topic_is_listed() -> None:
    emitted: set[str] = set()
    for module in trees().values():
        for name, call in calls(module):
            given = [
                word.value for word in call.keywords if word.arg == "topic" and name == "Event"
            ]
            given += call.args[:1] if name == "ops_event" else []
            emitted |= {word for value in given for word in literals(value)}

    listed = first_cells(section("api.md", "## Events"))

    assert_same(listed, emitted)


def test_every_audit_action_is_listed() -> None:
    written: set[str] = set()
    for module in trees().values():
        for name, call in calls(module):
            if name in {"note", "_note_run", "_audit", "change_agent"}:
                named = [one.value for one in call.keywords if one.arg == "action"]
                texts = [literals(value) for value in (*call.args[:3], *named)]
                flat = {word for words in texts for word in words}
                written |= {
                    word
                    for word in flat
                    if re.fullmatch(r"[a-z]+\.[a-z_]+|promote\w*|rollback", word)
                }

    by_themselves = [module for module in trees().values() if "Did" in dict(calls(module))]
    written |= {
        word
        for module in by_themselves
        for word in literals(module)
        if re.fullmatch(r"(run|gap|actor|breaker)\.[a-z_]+", word)
    }

    listed = first_cells(section("api.md", "## Audit"))

    assert_same(listed, written)


# --- codes, errors, figures ---------------------------------------------------------------------


def test_every_code_is_listed() -> None:
    listed = {word.removesuffix(":") for word in quoted(section("api.md", "## Codes"))}

    assert len(codes()) > 90
    missing = sorted(codes() - listed)
    assert missing == [], f"not under Codes in docs/api.md: {missing}"


def test_every_alert_is_listed_with_its_category_severity_and_end() -> None:
    found = {row[0].strip("`"): row[1:4] for row in rows(section("api.md", "### Alerts"))}

    assert set(found) - set(CODES) == {"quarantined:` and the actor", "model_error"}
    for code in CODES.values():
        category, severity, end = found[code.code]
        assert (category, end) == (code.category, ending(code)), code.code
        assert all(each in severity for each in code.severities), code.code


def ending(code: AlertCode) -> str:
    minutes = code.lapse_ms // 60_000
    lapse = f"{minutes} min" if minutes < 60 else f"{minutes / 60:g} h"
    return {
        Ends.RAISER: "when its cause is gone, as who raised it sees",
        Ends.ROW: "when what it is about is well again",
        Ends.LAPSE: f"{lapse} after it was raised last",
        Ends.ACKNOWLEDGED: f"once acknowledged, {lapse} after it was raised last",
    }[code.ends]


def test_every_alert_that_is_raised_is_in_the_table_of_codes() -> None:
    raised: set[str] = set()
    for path, module in trees().items():
        if path.is_relative_to(ROOT / "desk"):
            continue
        for name, call in calls(module):
            named = [word.value for word in call.keywords if word.arg == "code"]
            first = call.args[:1] if name in {"alert", "_alert", "_raise", "_warn"} else []
            given = named if name == "Cause" else first
            raised |= {word for value in given for word in literals(value)}

    assert len(raised) > 15
    assert sorted(raised - set(CODES)) == []


def test_every_code_that_is_listed_is_somewhere_in_the_code() -> None:
    everything = {word for module in trees().values() for word in literals(module)}
    everything |= {word.split(":")[0] for word in everything}
    fields = {name for limits in all_limits().values() for name in limits}

    listed = first_cells(section("api.md", "## Codes"))

    assert [word for word in listed if word.removesuffix(":") not in everything | fields] == []


def test_every_limit_is_listed_with_its_default() -> None:
    wanted = all_limits()

    found = {row[0].strip("`"): row[1:] for row in rows(section("api.md", "### Limits"))}

    assert set(found) == {name for limits in wanted.values() for name in limits}
    for name, cells in found.items():
        assert cells == [limits.get(name, "") for limits in wanted.values()], name


def all_limits() -> dict[str, dict[str, str]]:
    """Every cap and its default: of a run, of the live account, of the paper account."""
    made = {"run": default_limits(), "live": default_live_policy(), "paper": default_paper_policy()}
    no_caps = {"set_id", "name", "account", "effective_from_ms", "active"}
    return {
        owner: {
            name: str(getattr(limits, name)) for name in limits.__slots__ if name not in no_caps
        }
        for owner, limits in made.items()
    }


def test_every_error_class_is_listed() -> None:
    bases: dict[str, set[str]] = {}
    for module in trees().values():
        for each in ast.walk(module):
            if isinstance(each, ast.ClassDef):
                bases[each.name] = {base.id for base in each.bases if isinstance(base, ast.Name)}

    def is_ours(name: str) -> bool:
        return any(base == "DeskError" or is_ours(base) for base in bases.get(name, ()))

    listed = first_cells(section("api.md", "## Errors"))

    assert_same(listed, {name for name in bases if is_ours(name)})


def test_every_metric_is_listed() -> None:
    rendered = metrics.render(make_scene().app().state.context).decode()
    served = set(re.findall(r"^# HELP (\w+)", rendered, re.MULTILINE))

    listed = first_cells(section("metrics.md", "## Prometheus"))

    assert_same(listed, served)


def test_every_sample_is_listed_with_its_unit() -> None:
    recorded: set[str] = set()
    for module in trees().values():
        for name, call in calls(module):
            given = {word.arg: word.value for word in call.keywords}
            if name == "Sample" and isinstance(given.get("name"), ast.Constant):
                (sample,), (unit,) = literals(given["name"]), literals(given["unit"])
                recorded.add(f"{sample} {unit}")

    listed = [f"{row[0].strip('`')} {row[2]}" for row in rows(section("metrics.md", "## Samples"))]

    assert_same(listed, recorded)
    assert_same([each.split()[0] for each in listed], get_args(SampleName.__value__))


def test_every_drill_is_in_the_runbook_with_all_that_an_operator_needs() -> None:
    drilled = rows(section("operations.md", "### Drilled incidents"))

    assert_same([row[0].strip("`").removeprefix("desk drill ") for row in drilled], plan.names())
    assert [row[0] for row in drilled if not all(row)] == []


def test_every_actor_is_listed() -> None:
    roles = {role.name for role in vars(names).values() if isinstance(role, names.Role)}

    listed = first_cells(section("operations.md", "## What runs"))

    assert_same(listed, roles)


# --- reliability --------------------------------------------------------------------------------


def test_the_page_of_performance_is_what_the_kept_results_give() -> None:
    stale = "stale: run `python -m docs.performance`"
    assert text("performance.md") == performance.current(), stale


def test_every_bench_is_behind_a_goal_or_told_of_in_the_page() -> None:
    benches = importlib.import_module("bench.__main__").BENCHES
    page = text("performance.md")

    assert {goal.bench for goal in performance.GOALS} <= set(benches)
    assert {name for name in benches if f"`{name}`" not in page} == set()


def test_the_tables_of_reliability_are_current() -> None:
    page = text("reliability.md")

    assert page == tables.current(page), "stale: run `python -m docs.tables`"


def test_every_mark_is_of_a_row_and_the_catalogue_is_whole() -> None:
    listed = tables.catalogue(text("reliability.md"))

    assert len(listed) == len(set(listed)) == 100
    assert sorted(set(tables.marks()) - set(listed)) == []


def test_each_known_fault_has_a_test_of_its_number() -> None:
    listed = [row[0] for row in rows(section("reliability.md", "## Known faults"))]
    named = {
        found[1]
        for path in (ROOT / "tests").rglob("test_*.py")
        for found in re.finditer(r"def test_regression_(\d+)_\w", path.read_text())
    }

    assert listed == [str(number) for number in range(1, 16)]
    assert_same(named, set(listed))


def test_every_bound_has_the_value_of_the_code() -> None:
    bounds = rows(section("reliability.md", "## Bounds"))

    assert len(bounds) > 20
    for name, value, _ in bounds:
        module, constant = name.strip("`").rsplit(".", 1)
        assert str(getattr(importlib.import_module(module), constant)) == value, name


# --- names, paths, links ------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_every_test_a_page_names_exists(page: Path) -> None:
    wrong: list[str] = []

    for word in quoted(page.read_text()):
        path, _, test = word.partition("::")
        if TOP.match(path):
            target = ROOT / path
            if not target.exists() or (test and f"def {test}(" not in target.read_text()):
                wrong.append(word)

    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_in_the_code_that_a_page_names_exists(page: Path) -> None:
    dotted = [
        word
        for word in quoted(page.read_text())
        if re.fullmatch(r"(desk|actors|serve_apps)(\.\w+)+", word)
    ]

    assert [word for word in dotted if not _is_defined(word)] == []


def _is_defined(dotted: str) -> bool:
    path = ROOT.joinpath(*dotted.split("."))
    if path.with_suffix(".py").exists() or path.is_dir():
        return True
    module, name = path.parent.with_suffix(".py"), path.name
    defined = rf"^(class|(async )?def|type) {name}\b|^[\w, ]*\b{name}\b.*="
    return module.exists() and bool(re.search(defined, module.read_text(), re.MULTILINE))


def test_every_home_in_the_glossary_is_a_name_in_the_code() -> None:
    homes = [row[2] for row in rows(text("glossary.md"))]

    assert len(homes) > 50
    assert [home for home in homes if not _is_defined(home.strip("`"))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())

    assert [link for link in links if not _leads(page, link)] == []


def _leads(page: Path, link: str) -> bool:
    if link.startswith(("http://", "https://")):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path) if path else page
    return target.exists() and (not anchor or anchor in _anchors(target.read_text()))


def _anchors(page: str) -> set[str]:
    """Anchors of headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
