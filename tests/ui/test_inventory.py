"""No control without a test: what the pages show is read off them and compared with the table of tests."""

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from desk.market.candles import Candles
from desk.runs import RunStatus
from desk.store import kinds
from desk.store.port import Event, Stream
from serve_apps.ui.assets import HERE
from serve_apps.ui.pages import PAGES
from tests.serve_apps.test_contract_routes import ROUTES, SERVED
from tests.ui.conftest import NOW_MS, Served, tell_job
from tests.ui.controls import pressed_by
from tests.ui.inventory import controls, with_dialogs
from tests.ui.scene import serve_whole

SOURCES = {path: path.read_text() for path in sorted((HERE / "app").rglob("*.js"))}
OF_DIALOGS = ("Cancel", "Reload")
"""Buttons that every dialog has."""


@pytest.fixture
def served(walk: Callable[..., Candles], tmp_path: Path) -> Iterator[Served]:
    """A desk with something in every list."""
    with serve_whole(walk, tmp_path) as whole:
        yield whole


def opened(page: Page, served: Served, path: str) -> None:
    page.goto(served.url + path)
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    expect(page.locator("main .skeleton")).to_have_count(0)
    for kind in ("backfill", "training"):
        tell_job(served.store, kind)
    if path not in {"/insights", "/rl-evaluations"}:
        expect(page.get_by_role("progressbar").first).to_be_visible()


def untested(found: set[str]) -> list[str]:
    """Controls that no line of the table names; a dialog is the same on all pages."""
    known = pressed_by()

    def names(control: str) -> Iterator[str]:
        _, area, name = control.split(" | ")
        yield control
        yield f"every page | {area} | {name}"
        yield f"every page | a list | {name} of a row"
        if area.startswith("dialog") and name in OF_DIALOGS:
            yield f"every page | a dialog | {name}"

    return sorted(each for each in found if not any(name in known for name in names(each)))


@pytest.mark.browser
@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_every_control_of_a_page_and_of_its_dialogs_has_a_test(
    page: Page, served: Served, path: str
) -> None:
    opened(page, served, path)
    found = with_dialogs(page, path)
    for tab in page.get_by_role("tab").all():
        tab.click()
        expect(page.locator("main .skeleton")).to_have_count(0)
        found |= controls(page, path)

    assert len(found) > 15
    assert untested(found) == []


@pytest.mark.browser
def test_every_control_of_a_drawer_has_a_test(page: Page, served: Served) -> None:
    opened(page, served, "/rl-data-sources")
    page.get_by_role("table", name="Sources").locator("tbody tr").first.click()
    expect(page.get_by_role("complementary", name="Source")).to_contain_text("Last fetches")
    found = with_dialogs(page, "/rl-data-sources", "aside")
    opened(page, served, "/rl-ops?tab=runs")
    page.get_by_role("table", name="Run history").locator("tbody tr").first.click()
    expect(page.get_by_role("list", name="State of the run")).to_be_visible()
    found |= controls(page, "/rl-ops")
    page.get_by_role("complementary", name="Run").get_by_title("Trace").first.click()
    expect(page.get_by_role("complementary", name="Trace")).to_be_visible()
    found |= controls(page, "/rl-ops")

    assert untested(found) == []


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/rl-ops", "/rl-agent"])
def test_every_control_of_a_desk_that_is_stopped_has_a_test(
    page: Page, served: Served, path: str
) -> None:
    run = served.store.get(kinds.RUNS, "run-1")
    agent = served.store.get(kinds.AGENTS, "desk")
    assert run is not None
    assert agent is not None
    served.store.put(kinds.RUNS, "run-1", replace(run.value, status=RunStatus.PAUSED), at_ms=NOW_MS)
    killed = replace(agent.value, kill_switch=True, kill_reason="odd fills")
    served.store.put(kinds.AGENTS, "desk", killed, at_ms=NOW_MS)
    event = Event(topic="risk", key="kill", data={"on": True}, at_ms=NOW_MS, stream=Stream.RISK)
    served.store.set_kill("all", on=True, reason="odd fills", event=event)
    opened(page, served, path)
    expect(page.get_by_role("button", name="KILLED")).to_be_visible()

    assert untested(with_dialogs(page, path)) == []


def test_every_test_that_the_table_names_exists() -> None:
    for test in set(pressed_by().values()):
        module, name = test.split("::")
        found = getattr(importlib.import_module(f"tests.ui.{module}"), name, None)
        assert callable(found), f"{test} is named in the table and does not exist"


def test_every_button_in_the_source_stands_in_the_table() -> None:
    known = {control.split(" | ")[2].removesuffix(" of a row") for control in pressed_by()}
    label = re.compile(r"<button[^`]*?>([A-Z][^<$`]*)</button>")
    written = {text.strip() for source in SOURCES.values() for text in label.findall(source)}

    assert len(written) > 30
    assert sorted(written - known - {"Start a paper run …"} - {"Retry", "Show all"}) == []


# --- routes -----------------------------------------------------------------------------------

CALL = re.compile(
    r"\b(?:(?P<get>get|list)|(?P<post>post|safely)|send)\(\s*(?:'(?P<verb>[A-Z]+)', )?(?P<path>'[^']+'|`[^`]+`|EVALUATIONS)"
)
BEYOND = {
    "PATCH /ops/trading/risk",
    "GET /ops/trading/reconcile",
    "POST /ops/learning/pause",
    "POST /ops/learning/resume",
    "GET /ingestion/tradingview/sync",
}
"""Routes of the pages that the contract does not list; the description has them."""


def used(source: str) -> Iterator[str]:
    """Method and path of every call in a script; `{}` for what is filled in."""
    for call in CALL.finditer(source):
        path = call["path"].strip("'`").split("?")[0]
        path = re.sub(r"^(\$\{EVALUATIONS\}|EVALUATIONS)", "/agents/desk/evaluations", path)
        method = "GET" if call["get"] else "POST" if call["post"] else call["verb"]
        if path.startswith("/"):
            yield f"{method} " + re.sub(r"\$\{(?:[^{}]|\{[^}]*\})*\}", "{}", path)


def matching(route: str, known: set[str]) -> set[str]:
    """The known routes that a call may mean: a filled-in part may be an id or a word."""
    pattern = re.escape(route).replace(r"\{\}", r"(?:\{\}|[a-z-]+)")
    pattern = pattern.replace("/agents/desk", r"/agents/\{\}")
    return {each for each in known if re.fullmatch(pattern, each)}


def test_every_route_that_the_pages_use_is_described_and_in_the_contract() -> None:
    contract = {re.split(r"[?:]", row)[0].strip() for row in ROUTES} | BEYOND
    calls = {route for source in SOURCES.values() for route in used(source)}

    assert len(calls) > 45
    assert sorted(call for call in calls if not matching(call, set(SERVED))) == []
    assert sorted(call for call in calls if not matching(call, contract)) == []
    assert "new EventSource(" in SOURCES[HERE / "app" / "lib" / "stream.js"]
    assert not [
        path for path, text in SOURCES.items() if "fetch(" in text and path.name != "api.js"
    ]
