"""What axe-core says of every page, drawer and dialog, in both themes."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from desk.errors import SettingsError
from desk.market.candles import Candles
from desk.store.memory import MemoryStore
from serve_apps.ui import vendor
from serve_apps.ui.pages import PAGES
from tests.ui.conftest import FakeDesk, Served, serve, tell_job
from tests.ui.scene import serve_whole

pytestmark = pytest.mark.browser
BAD = ("serious", "critical")
THEMES: tuple[tuple[Literal["light", "dark"], list[str] | None], ...] = (
    ("light", None),
    ("dark", ["color-contrast", "link-in-text-block"]),
)
"""And which rules of axe-core are asked; None: every one."""
RUN = """async ([within, rules]) => {
  const found = await axe.run(within ?? document, { resultTypes: ['violations'], ...(rules ? { runOnly: rules } : {}) });
  return found.violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map((node) => node.target.join(' ') + ': ' + node.failureSummary) }));
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core, as it was installed and not changed since."""
    named = os.environ.get("DESK_UI_VENDOR")
    folder = vendor.tests_folder(Path(named) if named else None)
    try:
        files = vendor.check(folder, vendor.TESTED)
    except SettingsError as missing:
        pytest.fail(str(missing))
    [script] = [file for file in files if file.path.endswith("axe.min.js")]
    return (folder / script.path).read_text()


@pytest.fixture(scope="module")
def whole(
    walk: Callable[..., Candles], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A desk with something in every list."""
    with serve_whole(walk, tmp_path_factory.mktemp("reports")) as served:
        yield served


def judged(page: Page, axe: str, where: str, within: str | None = None) -> list[str]:
    """What axe-core holds against the page as it stands, of the impacts that bar somebody from using it.

    Everything in the light theme; in the dark one what a theme can change, which is colour.
    """
    page.evaluate(axe)
    wrong: list[str] = []
    for theme, rules in THEMES:
        page.emulate_media(color_scheme=theme)
        found: list[dict[str, Any]] = page.evaluate(RUN, [within, rules])
        wrong += [
            f"{where} {theme}: {one['impact']} {one['id']} {one['nodes'][:3]}"
            for one in found
            if one["impact"] in BAD
        ]
    return wrong


def opened(page: Page, served: Served, path: str) -> None:
    page.goto(served.url + path)
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    expect(page.locator("main .skeleton")).to_have_count(0)
    for kind in ("backfill", "training"):
        tell_job(served.store, kind)


@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_no_page_and_no_dialog_of_it_bars_anybody(
    page: Page, whole: Served, axe: str, path: str
) -> None:
    opened(page, whole, path)
    wrong = judged(page, axe, path)
    openers = page.locator("button:visible", has_text="…")
    names = openers.all_inner_texts()
    tried: set[str] = set()
    for at, name in enumerate(names):
        if name in tried:
            continue
        tried.add(name)
        openers.nth(at).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        wrong += judged(page, axe, f"{path} {name}", "dialog")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)

    assert wrong == []


def test_no_drawer_tab_or_list_of_keys_bars_anybody(page: Page, whole: Served, axe: str) -> None:
    opened(page, whole, "/rl-ops")
    wrong: list[str] = []
    for tab in page.get_by_role("tab").all():
        tab.click()
        expect(page.locator("main .skeleton")).to_have_count(0)
        wrong += judged(page, axe, tab.inner_text(), "main")
    page.get_by_role("tab", name="Run history").click()
    page.get_by_role("table", name="Run history").locator("tbody tr").first.click()
    expect(page.get_by_role("list", name="State of the run")).to_be_visible()
    wrong += judged(page, axe, "run drawer")
    page.keyboard.press("Escape")
    page.get_by_role("table", name="Trades").get_by_title("Trace").first.click()
    expect(page.locator("[data-hop=ledger]")).to_be_visible()
    wrong += judged(page, axe, "trace drawer")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    wrong += judged(page, axe, "keys", "dialog")
    opened(page, whole, "/rl-data-sources")
    page.get_by_role("table", name="Sources").locator("tbody tr").first.click()
    expect(page.get_by_role("complementary", name="Source")).to_contain_text("Last fetches")
    wrong += judged(page, axe, "source drawer")

    assert wrong == []


def test_the_answers_of_a_dialog_bar_nobody(page: Page, whole: Served, axe: str) -> None:
    opened(page, whole, "/rl-agent")
    page.get_by_role("button", name="Go live").click()
    page.get_by_role("dialog").get_by_role("button", name="Check the gates").click()
    expect(page.get_by_test_id("checked")).to_be_visible()
    wrong = judged(page, axe, "gates", "dialog")
    page.keyboard.press("Escape")
    page.get_by_role("region", name="Risk limits").get_by_role("button", name="Edit").first.click()
    page.get_by_role("dialog").get_by_label("Largest position").fill("2500")
    page.get_by_role("dialog").get_by_role("button", name="Show the change").click()
    expect(page.get_by_role("table", name="Changes")).to_be_visible()
    wrong += judged(page, axe, "changes", "dialog")
    opened(page, whole, "/rl-evaluations")
    page.get_by_role("button", name="Promote").click()
    page.get_by_role("dialog").get_by_role("button", name="Check the gates").click()
    expect(page.get_by_test_id("checked")).to_be_visible()
    wrong += judged(page, axe, "promotion", "dialog")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Evaluate").click()
    page.get_by_role("dialog").get_by_label("Start, UTC").fill("2025-12-31 18:00")
    page.get_by_role("dialog").get_by_label("End, UTC").fill("2026-01-01 18:00")
    page.get_by_role("dialog").get_by_role("button", name="Check the candles").click()
    expect(page.get_by_test_id("checked")).to_be_visible()
    wrong += judged(page, axe, "candles of an evaluation", "dialog")

    assert wrong == []


def test_the_login_bars_nobody(page: Page, axe: str) -> None:
    store = MemoryStore()
    with serve(store, FakeDesk(store), token="a-token-of-24-characters-or-more") as url:
        page.goto(f"{url}/login?next=/insights")
        assert judged(page, axe, "/login") == []
