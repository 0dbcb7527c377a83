"""Promoting from a report, by somebody who is logged in: shown gates, a spelled name, a token."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from desk.market.candles import Candles
from desk.store import kinds
from desk.store.evaluation_files import EvaluationFiles
from desk.store.memory import MemoryStore
from tests.actors.test_version_switch import evaluated
from tests.ui.conftest import (
    CANDLES,
    NOW_MS,
    PAIR,
    FakeDesk,
    Served,
    fill_store,
    replace_times,
    serve,
)
from tests.ui.scene import put_versions
from tests.ui.test_login_page import TOKEN, log_in
from tests.ui.test_operations_page import panel

pytestmark = [pytest.mark.browser, pytest.mark.allow_console("401")]
PASSED = "e-passed"


@pytest.fixture
def served_token(walk: Callable[..., Candles], tmp_path: Path) -> Iterator[Served]:
    """A desk behind a token whose draft passed on the pair; a run at work follows the agent."""
    store = MemoryStore()
    fill_store(store, replace_times(walk(CANDLES, seed=11)))
    put_versions(store)
    draft = store.get(kinds.VERSIONS, "ppo-1")
    assert draft is not None
    features = draft.value.feature_set_id
    evaluated(store, PASSED, "ppo-1", pair=PAIR, feature_set_id=features, created_ms=NOW_MS)
    store.put(kinds.STATE, "follows:run-1", {"agent_id": "desk"}, at_ms=NOW_MS)
    desk = FakeDesk(store)
    with serve(store, desk, EvaluationFiles(tmp_path), token=TOKEN) as url:
        yield Served(url=url, store=store, desk=desk)


def opened(page: Page, served: Served) -> Any:
    """The dialog of the promotion, opened from the report."""
    page.goto(f"{served.url}/rl-evaluations?id={PASSED}")
    log_in(page)
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    panel(page, "Report").get_by_role("button", name="Promote").click()
    return page.get_by_role("dialog")


def active(served: Served) -> str:
    found = served.store.get(kinds.AGENTS, "desk")
    assert found is not None
    return found.value.active_version_id


def test_a_version_is_promoted_from_its_report_after_every_gate(
    page: Page, served_token: Served
) -> None:
    dialog = opened(page, served_token)
    expect(dialog).to_contain_text("baseline-trend-v1 → ppo-1")
    expect(dialog.get_by_label("Pair")).to_have_value(PAIR)

    dialog.get_by_role("button", name="Check the gates").click()
    expect(dialog.get_by_role("list", name="Gates")).to_contain_text("40, needed: at least 20")
    expect(dialog).to_contain_text(f"It decides for paper run run-1 on {PAIR}")
    promote = dialog.get_by_role("button", name="Promote")
    expect(promote).to_be_disabled()
    dialog.get_by_label("to confirm").fill("ppo-2")
    expect(promote).to_be_disabled()
    assert active(served_token) == "baseline-trend-v1"
    dialog.get_by_label("to confirm").fill("ppo-1")
    promote.click()

    expect(page.get_by_text(f"ppo-1 is active, by evaluation {PASSED}")).to_be_visible()
    assert active(served_token) == "ppo-1"
    expect(panel(page, "Report").get_by_role("button", name="Promote")).to_have_count(0)


@pytest.mark.allow_console("401", "409")
def test_the_server_judges_again_what_failed_while_the_dialog_stood_open(
    page: Page, served_token: Served
) -> None:
    dialog = opened(page, served_token)
    dialog.get_by_role("button", name="Check the gates").click()
    dialog.get_by_label("to confirm").fill("ppo-1")
    found = served_token.store.get(kinds.EVALUATIONS, PASSED)
    assert found is not None
    worse = replace(found.value, evaluation_id="e-worse", trade_count=3, created_ms=NOW_MS + 1)
    served_token.store.put(kinds.EVALUATIONS, "e-worse", worse, at_ms=NOW_MS + 1)

    dialog.get_by_role("button", name="Promote").click()

    expect(dialog.get_by_role("alert")).to_contain_text("insufficient_trade_count")
    assert active(served_token) == "baseline-trend-v1"


@pytest.mark.allow_console("401", "412")
@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read by the page below"])
def test_a_pointer_that_somebody_else_moved_is_not_moved_unseen(
    page: Page, served_token: Served, *, is_read: bool
) -> None:
    dialog = opened(page, served_token)
    agent = served_token.store.get(kinds.AGENTS, "desk")
    assert agent is not None
    dialog.get_by_role("button", name="Check the gates").click()
    dialog.get_by_label("to confirm").fill("ppo-1")
    other = replace(agent.value, active_version_id="ppo-2")
    served_token.store.put(kinds.AGENTS, "desk", other, at_ms=NOW_MS)
    if is_read:
        run = served_token.store.get(kinds.RUNS, "run-1")
        assert run is not None
        with page.expect_response("**/agents/desk"):
            served_token.desk._move(run.value)

    dialog.get_by_role("button", name="Promote").click()
    expect(dialog).to_contain_text("active_version_id")
    dialog.get_by_role("button", name="Reload").click()

    expect(dialog).to_contain_text("ppo-2 → ppo-1")
    assert active(served_token) == "ppo-2"
