"""The agent's page, used by a browser against the real API: every control's effect is seen in the store."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from actors.commands import StartGate
from desk.learning.versions import VersionStatus
from desk.runs import JobStatus, SourcePolicy
from desk.store import kinds
from tests.ui.conftest import NOW_MS, START_MS

pytestmark = pytest.mark.browser


def opened(page: Page, url: str) -> Page:
    page.goto(url + "/rl-agent")
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    return page


def panel(page: Page, title: str) -> Any:
    return page.get_by_role("region", name=title, exact=True)


def press(page: Page, title: str, button: str) -> None:
    panel(page, title).get_by_role("button", name=button).first.click()


def dialog(page: Page) -> Any:
    return page.get_by_role("dialog")


def agent_of(served: Any) -> Any:
    return served.store.get(kinds.AGENTS, "desk").value


def gate(name: str, *, passed: bool, problem: str = "") -> StartGate:
    return StartGate(
        gate=name,
        passed=passed,
        value="is",
        threshold="needed",
        problem=problem,
        field="mode",
        is_of_live=True,
    )


def test_the_page_shows_the_run_its_limits_and_what_is_left_of_them(
    page: Page, served: Any
) -> None:
    opened(page, served.url)

    expect(panel(page, "Runs")).to_contain_text("baseline-trend-v1")
    expect(panel(page, "Risk limits")).to_contain_text("1,000")
    expect(panel(page, "Risk limits").get_by_role("meter")).not_to_have_count(0)
    expect(panel(page, "Account guardrails")).to_contain_text("breaker closed")
    expect(panel(page, "Promotion gate")).to_contain_text("0.55")
    expect(panel(page, "Open trades").locator("tbody tr")).to_have_count(1)
    expect(panel(page, "Decisions").locator("tbody tr")).to_have_count(30)


def test_a_new_desk_says_what_to_do_next(page: Page, served_empty: Any) -> None:
    opened(page, served_empty.url)

    expect(panel(page, "Runs")).to_contain_text("Train or import a policy first.")
    expect(panel(page, "Runs").get_by_role("button", name="Train")).to_be_visible()
    expect(panel(page, "Risk limits")).to_contain_text("a run cannot start without a set")
    expect(panel(page, "Open trades")).to_contain_text("Flat")


def test_settings_are_stored_and_a_pair_that_is_none_is_refused_by_the_server(
    page: Page, served: Any
) -> None:
    opened(page, served.url)

    press(page, "Kill switch and settings", "Settings")
    dialog(page).get_by_label("Least confidence").fill("0.25")
    dialog(page).get_by_label("Pairs allowed").fill("BTC-USDT, ETH-USDT")
    dialog(page).get_by_label("After a pause for data").select_option("auto")
    dialog(page).get_by_role("button", name="Save").click()
    expect(dialog(page)).to_have_count(0)

    after = agent_of(served)
    assert (after.min_confidence, after.data_pause_lift.value) == (0.25, "auto")


@pytest.mark.allow_console("412")
def test_a_page_that_is_out_of_date_changes_nothing(page: Page, served: Any) -> None:
    opened(page, served.url)
    press(page, "Promotion gate", "Edit")
    dialog(page).get_by_label("Trades, at least").fill("99")
    doc = served.store.get(kinds.AGENTS, "desk")
    served.store.put(kinds.AGENTS, "desk", replace(doc.value, name="other"), at_ms=NOW_MS)

    dialog(page).get_by_role("button", name="Save").click()

    expect(dialog(page).get_by_role("alert")).to_be_visible()
    assert agent_of(served).promotion_gate.min_trades == 20


def test_the_promotion_gate_is_edited(page: Page, served: Any) -> None:
    opened(page, served.url)

    press(page, "Promotion gate", "Edit")
    dialog(page).get_by_label("Win rate").fill("0.6")
    dialog(page).get_by_role("button", name="Save").click()

    expect(panel(page, "Promotion gate")).to_contain_text("0.6")
    assert agent_of(served).promotion_gate.min_win_rate == 0.6


def test_a_source_is_required_of_the_agent(page: Page, served: Any) -> None:
    opened(page, served.url)

    press(page, "Source policies", "Edit")
    dialog(page).get_by_label("orderbook").select_option("required")
    dialog(page).get_by_role("button", name="Save").click()
    expect(dialog(page)).to_have_count(0)

    assert agent_of(served).source_policies["orderbook"] is SourcePolicy.REQUIRED


def test_the_agents_own_kill_switch_stops_and_is_lifted_with_a_reason(
    page: Page, served: Any
) -> None:
    opened(page, served.url)

    press(page, "Kill switch and settings", "Stop this agent")
    dialog(page).get_by_label("Reason").fill("odd fills")
    dialog(page).get_by_label("Positions").select_option("flatten")
    dialog(page).get_by_role("button", name="Stop the agent").click()
    expect(panel(page, "Kill switch and settings")).to_contain_text("stopped: odd fills")
    press(page, "Kill switch and settings", "Lift")
    dialog(page).get_by_label("Reason").fill("explained")
    dialog(page).get_by_role("button", name="Lift").click()
    expect(
        panel(page, "Kill switch and settings").get_by_role("button", name="Stop")
    ).to_be_visible()

    assert served.desk.commands == [
        ("kill_agent", True, "odd fills", True),
        ("kill_agent", False, "explained", False),
    ]


# --- limits -----------------------------------------------------------------------------------


def edit_limit(page: Page, label: str, value: str) -> None:
    press(page, "Risk limits", "Edit")
    dialog(page).get_by_label(label).fill(value)
    dialog(page).get_by_role("button", name="Show the change").click()


def test_a_limit_is_lowered_after_its_change_was_shown(page: Page, served: Any) -> None:
    opened(page, served.url)

    edit_limit(page, "Largest position", "800")
    expect(dialog(page).get_by_role("table", name="Changes")).to_contain_text("less")
    dialog(page).get_by_role("button", name="Apply").click()

    expect(panel(page, "Risk limits")).to_contain_text("revision 2")
    after = served.store.get(kinds.RISK_LIMITS, "default").value
    assert after.max_position_size == Decimal(800)


def test_a_limit_is_raised_only_with_the_servers_confirmation(page: Page, served: Any) -> None:
    opened(page, served.url)

    edit_limit(page, "Largest position", "2500")
    expect(dialog(page).get_by_role("table", name="Changes")).to_contain_text("more")
    expect(dialog(page)).to_contain_text("This raises risk")
    dialog(page).get_by_role("button", name="Apply").click()

    expect(panel(page, "Risk limits")).to_contain_text("2,500")
    after = served.store.get(kinds.RISK_LIMITS, "default").value
    assert after.max_position_size == Decimal(2500)


def test_an_edit_that_changes_nothing_is_not_sent(page: Page, served: Any) -> None:
    opened(page, served.url)

    press(page, "Risk limits", "Edit")
    dialog(page).get_by_role("button", name="Show the change").click()

    expect(dialog(page).get_by_role("alert")).to_contain_text("Nothing was changed")


def test_a_set_is_made_and_activated(page: Page, served: Any) -> None:
    opened(page, served.url)

    press(page, "Risk limits", "New set")
    for label, value in (
        ("Id", "careful"),
        ("Name", "careful"),
        ("Largest position", "100"),
        ("Leverage", "1"),
        ("Loss of a day", "10"),
        ("Drawdown", "0.05"),
        ("Open positions", "1"),
    ):
        dialog(page).get_by_label(label).fill(value)
    dialog(page).get_by_role("button", name="Store").click()
    row = panel(page, "Risk limits").locator("tr[data-key=careful]")
    expect(row).to_contain_text("stored")
    row.get_by_role("button", name="Activate").click()

    expect(row).to_contain_text("active")
    assert served.store.get(kinds.RISK_LIMITS, "careful").value.active


def test_guardrails_of_an_account_are_edited(page: Page, served: Any) -> None:
    opened(page, served.url)

    press(page, "Account guardrails", "Edit")
    dialog(page).get_by_label("Exposure in total").fill("0.5")
    dialog(page).get_by_role("button", name="Show the change").click()
    dialog(page).get_by_role("button", name="Apply").click()

    expect(panel(page, "Account guardrails")).to_contain_text("of 50.00 %")


# --- runs, trades, versions -------------------------------------------------------------------


def test_a_live_run_is_refused_while_a_gate_is_not_passed(page: Page, served: Any) -> None:
    served.desk.gates = (
        gate("api_token", passed=True),
        gate("promoted_version", passed=False, problem="no version is promoted: promote one"),
    )
    opened(page, served.url)

    press(page, "Runs", "Go live")
    dialog(page).get_by_role("button", name="Check the gates").click()

    expect(dialog(page)).to_contain_text("no version is promoted: promote one")
    expect(dialog(page).get_by_role("button", name="Start live run")).to_be_disabled()
    assert [command[0] for command in served.desk.commands] == ["preflight"]


def test_a_live_run_starts_after_every_gate_and_with_its_name_typed(
    page: Page, served: Any
) -> None:
    served.desk.gates = (gate("api_token", passed=True), gate("promoted_version", passed=True))
    opened(page, served.url)

    press(page, "Runs", "Go live")
    dialog(page).get_by_role("button", name="Check the gates").click()
    confirm = dialog(page).get_by_role("button", name="Start live run")
    expect(confirm).to_be_disabled()
    dialog(page).get_by_label("to confirm").fill("ETH-USDT")
    expect(confirm).to_be_disabled()
    dialog(page).get_by_label("to confirm").fill("BTC-USDT")
    confirm.click()
    expect(dialog(page)).to_have_count(0)

    (_, (verb, ask)) = served.desk.commands
    assert (verb, ask.mode, ask.confirm_token) == ("start", "live", "token-1")


def test_what_was_checked_is_asked_anew_after_a_change(page: Page, served: Any) -> None:
    served.desk.gates = (gate("api_token", passed=True),)
    opened(page, served.url)

    press(page, "Runs", "Go live")
    dialog(page).get_by_role("button", name="Check the gates").click()
    expect(dialog(page).get_by_role("button", name="Start live run")).to_be_visible()
    dialog(page).get_by_label("Decision threshold").fill("0.9")

    expect(dialog(page).get_by_role("button", name="Check the gates")).to_be_visible()


def test_an_open_trade_is_closed_reduce_only(page: Page, served: Any) -> None:
    opened(page, served.url)

    press(page, "Open trades", "Close")
    dialog(page).get_by_label("Reason").fill("over the weekend")
    dialog(page).get_by_role("button", name="Close").click()
    expect(dialog(page)).to_have_count(0)

    assert served.desk.commands[0][0] == "close"


def test_a_training_shows_its_progress_is_paused_resumed_and_cancelled(
    page: Page, served: Any
) -> None:
    opened(page, served.url)

    press(page, "Versions", "Train")
    dialog(page).get_by_label("Steps").fill("1000")
    dialog(page).get_by_role("button", name="Train").click()
    expect(panel(page, "Learning")).to_contain_text("250 of 1,000")
    work = panel(page, "Learning").locator("[data-job=job-t]")
    work.get_by_role("button", name="Pause").click()
    expect(work).to_contain_text("paused")
    assert served.store.get(kinds.JOBS, "job-t").value.status is JobStatus.PAUSED
    work.get_by_role("button", name="Resume").click()
    expect(work).to_contain_text("queued")
    work.get_by_role("button", name="Cancel").click()

    expect(panel(page, "Learning")).to_contain_text("cancelled")
    assert served.store.get(kinds.JOBS, "job-t").value.status is JobStatus.CANCELLED
    assert served.desk.commands[0][1].timesteps == 1000


def test_a_promotion_that_the_gate_refuses_says_why(page: Page, served: Any) -> None:
    baseline = served.store.get(kinds.VERSIONS, "baseline-trend-v1").value
    draft = replace(
        baseline, version_id="ppo-1", name="first try", algorithm="ppo", is_baseline=False
    )
    served.store.put(kinds.VERSIONS, "ppo-1", draft, at_ms=START_MS)
    opened(page, served.url)

    press(page, "Versions", "Promote")
    expect(dialog(page)).to_contain_text("ppo-1")
    dialog(page).get_by_role("button", name="Check the gates").click()

    expect(dialog(page)).to_contain_text("not_evaluated_on_pair: evaluate it on this pair first")
    expect(dialog(page).get_by_role("button", name="Promote")).to_be_disabled()
    assert agent_of(served).active_version_id == "baseline-trend-v1"


def test_a_version_that_was_promoted_before_is_rolled_back_to(page: Page, served: Any) -> None:
    baseline = served.store.get(kinds.VERSIONS, "baseline-trend-v1").value
    older = replace(
        baseline,
        version_id="ppo-1",
        name="older",
        algorithm="ppo",
        is_baseline=False,
        status=VersionStatus.RETIRED,
        promoted_at_ms=START_MS,
        promoted_by_evaluation_id="ev-1",
    )
    served.store.put(kinds.VERSIONS, "ppo-1", older, at_ms=START_MS)
    opened(page, served.url)

    press(page, "Versions", "Roll back")
    dialog(page).get_by_role("button", name="Roll back").click()
    expect(dialog(page)).to_have_count(0)

    assert agent_of(served).active_version_id == "ppo-1"


def test_learning_is_paused_and_resumed(page: Page, served: Any) -> None:
    opened(page, served.url)

    panel(page, "Learning").get_by_role("button", name="Pause").click()
    expect(panel(page, "Learning")).to_contain_text("paused")
    panel(page, "Learning").get_by_role("button", name="Resume").click()

    expect(panel(page, "Learning")).to_contain_text("cycles may step")


def test_a_run_is_paused_resumed_and_stopped_from_the_agents_page(page: Page, served: Any) -> None:
    opened(page, served.url)
    runs = panel(page, "Runs")

    for button, verb, state in (
        ("Pause", "Pause run", "paused"),
        ("Resume", "Resume run", "running"),
        ("Stop", "Stop run", "stopped"),
    ):
        press(page, "Runs", button)
        dialog(page).get_by_label("Reason").fill("by hand")
        dialog(page).get_by_role("button", name=verb).click()
        expect(runs).to_contain_text(state)

    said = [("pause", "by hand"), ("resume", "by hand"), ("stop", "by hand", False)]
    assert served.desk.commands == said
