"""Every field of every dialog, filled with a value of its own, is found where the command arrives."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from actors.backfill import MAX_ROWS_PER_S
from desk.clock import DAY_MS, MINUTE_MS
from desk.evaluation.walk_forward import FoldPlan
from desk.market.candles import Candles
from desk.runs import JobStatus, SourcePolicy
from desk.store import kinds
from desk.trading.intents import Protection
from desk.venues.bingx import CANDLES_PER_CALL
from serve_apps.routes.governance import FORBIDDABLE, REQUIRABLE
from tests.ui.conftest import NOW_MS, PAIR, Served
from tests.ui.scene import serve_whole
from tests.ui.test_operations_page import opened, panel

pytestmark = pytest.mark.browser
FORBIDDEN, REQUIRED = SourcePolicy.FORBIDDEN, SourcePolicy.REQUIRED
START, END = "2026-01-01 06:00", "2026-01-01 18:00"
LAST_MS = NOW_MS // MINUTE_MS * MINUTE_MS


@pytest.fixture
def served(walk: Callable[..., Candles], tmp_path: Path) -> Iterator[Served]:
    """A desk with something in every list."""
    with serve_whole(walk, tmp_path) as whole:
        yield whole


def typed_ms(text: str) -> int:
    at = datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    return int(at.timestamp() * 1000)


def fill(page: Page, values: Mapping[str, str]) -> None:
    """Fill the whole dialog: a field that is not named here fails."""
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("label.field")).to_have_count(len(values))
    for label, value in values.items():
        field = dialog.get_by_label(label, exact=False).first
        if field.evaluate("element => element.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def press(page: Page, name: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()


def answered(page: Page, served: Any) -> Any:
    """What the desk was told last."""
    expect(page.get_by_role("dialog")).to_have_count(0)
    return served.desk.commands[-1][1]


RUN = {
    "Pair": "ETH-USDT",
    "Policy version": "ppo-1",
    "Risk limit set": "careful",
    "Decision threshold": "0.4",
    "Stop loss": "0.05",
}


def test_a_paper_run_starts_with_all_that_was_chosen(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")

    panel(page, "Runs").get_by_role("button", name="New paper run").click()
    fill(page, RUN)
    press(page, "Start paper run")
    ask = answered(page, served)

    assert (ask.mode, ask.pair, ask.version_id) == ("paper", "ETH-USDT", "ppo-1")
    assert (ask.risk_limit_set_id, ask.decision_threshold) == ("careful", 0.4)
    assert ask.stop_loss_fraction == Decimal("0.05")


def test_the_gates_of_a_live_run_are_asked_for_all_that_was_chosen(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")

    panel(page, "Runs").get_by_role("button", name="Go live").click()
    fill(page, RUN)
    press(page, "Check the gates")
    expect(page.get_by_test_id("checked")).to_be_visible()
    (verb, ask) = served.desk.commands[-1]

    assert (verb, ask.mode, ask.pair, ask.version_id) == ("preflight", "live", "ETH-USDT", "ppo-1")
    assert (ask.risk_limit_set_id, ask.decision_threshold) == ("careful", 0.4)
    assert ask.stop_loss_fraction == Decimal("0.05")


def test_a_backfill_fetches_what_was_chosen(page: Page, served: Any) -> None:
    opened(page, served.url, "/ingestion")

    panel(page, "Coverage").get_by_role("button", name="Backfill").click()
    values = {"Pair": "ETH-USDT", "Interval": "1m", "Start, UTC": START, "End, UTC": END}
    fill(page, {**values, "Batches": "3"})
    press(page, "Start backfill")
    ask = answered(page, served)

    assert (ask.pair, ask.interval, ask.max_batches) == ("ETH-USDT", "1m", 3)
    assert (ask.start_ms, ask.end_ms) == (typed_ms(START), typed_ms(END))


def test_a_backfill_says_how_much_it_is_before_it_is_asked_for(page: Page, served: Any) -> None:
    opened(page, served.url, "/ingestion")
    panel(page, "Coverage").get_by_role("button", name="Backfill").click()
    estimate = page.get_by_test_id("estimate")

    def typed(label: str, text: str) -> None:
        page.get_by_role("dialog").get_by_label(label).fill(text)

    expect(estimate).to_contain_text("is found out first")
    typed("Batches", "7")
    candles = 7 * CANDLES_PER_CALL
    expect(estimate).to_contain_text(f"At most {candles:,} candles in 7 requests")
    expect(estimate).to_contain_text(f"takes {round(candles / MAX_ROWS_PER_S)} s or longer")
    typed("Start, UTC", "2026-01-01")
    typed("End, UTC", "2026-01-01 02:00")
    expect(estimate).to_contain_text("At most 120 candles in one request")
    typed("End, UTC", "2025-01-01")
    expect(estimate).to_contain_text("no candle from this start")
    typed("End, UTC", "tomor")
    expect(estimate).to_have_count(0)


def test_a_training_learns_as_was_chosen(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")

    panel(page, "Versions").get_by_role("button", name="Train").click()
    values = {"Pair": PAIR, "Algorithm": "dqn", "Start, UTC": START, "End, UTC": END}
    fill(page, {**values, "Steps": "20000", "Seed": "11", "Name": "second try"})
    press(page, "Train")
    ask = answered(page, served)

    assert (ask.pair, ask.training.algorithm, ask.timesteps, ask.seed) == (PAIR, "dqn", 20_000, 11)
    assert (ask.start_ms, ask.end_ms, ask.name) == (typed_ms(START), typed_ms(END), "second try")


def test_a_position_is_closed_in_part(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")
    row = panel(page, "Open trades").locator("tr", has_text="filled")

    row.get_by_role("button", name="Close").click()
    fill(page, {"Quantity": "0.01", "Reason": "half of it"})
    press(page, "Close")
    expect(page.get_by_role("dialog")).to_have_count(0)

    closed = ("close", row.get_attribute("data-key"), Decimal("0.01"), "half of it")
    assert served.desk.commands == [closed]


SET = {
    "Largest position": "900",
    "Leverage": "2",
    "Loss of a day": "150",
    "Drawdown": "0.1",
    "Open positions": "2",
}


def test_every_limit_of_a_set_is_edited(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")
    row = panel(page, "Risk limits").locator("tr[data-key=default]")

    row.get_by_role("button", name="Edit").click()
    fill(page, SET)
    press(page, "Show the change")
    press(page, "Apply")
    expect(row).to_contain_text("revision 2")

    after = served.store.get(kinds.RISK_LIMITS, "default").value
    assert (after.max_position_size, after.leverage_cap, after.max_daily_loss) == (900, 2, 150)
    assert (after.max_drawdown, after.max_open_positions) == (Decimal("0.1"), 2)


def test_a_new_set_holds_every_limit(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")

    panel(page, "Risk limits").get_by_role("button", name="New set").click()
    fill(page, {"Id": "tiny", "Name": "tiny one", **SET})
    press(page, "Store")
    expect(panel(page, "Risk limits")).to_contain_text("tiny one")

    after = served.store.get(kinds.RISK_LIMITS, "tiny").value
    assert (after.max_position_size, after.leverage_cap, after.max_daily_loss) == (900, 2, 150)
    assert (after.max_drawdown, after.max_open_positions) == (Decimal("0.1"), 2)


def test_every_guardrail_of_an_account_is_edited(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")

    panel(page, "Account guardrails").get_by_role("button", name="Edit").click()
    values = {"Exposure in total": "0.25", "Exposure in one": "0.09", "Open positions": "4"}
    values |= {"Loss of a day": "0.015", "Drawdown": "0.04", "Leverage": "2"}
    fill(page, {**values, "Loss that trips": "0.01", "Cool-down": "90"})
    press(page, "Show the change")
    press(page, "Apply")
    expect(page.get_by_role("dialog")).to_have_count(0)

    after = served.store.get(kinds.ACCOUNT_POLICIES, "paper").value
    assert (after.max_total_exposure, after.max_instrument_exposure) == (
        Decimal("0.25"),
        Decimal("0.09"),
    )
    assert (after.max_open_positions, after.max_daily_loss) == (4, Decimal("0.015"))
    assert (after.max_drawdown, after.max_leverage) == (Decimal("0.04"), 2)
    assert (after.circuit_breaker_loss, after.cooldown_minutes) == (Decimal("0.01"), 90)


def test_every_setting_of_the_agent_is_edited(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")

    panel(page, "Kill switch and settings").get_by_role("button", name="Settings").click()
    values = {"Name": "trend", "Pairs allowed": PAIR, "Decision threshold": "0.45"}
    fill(page, {**values, "Least confidence": "0.3", "After a pause": "auto"})
    press(page, "Save")
    expect(page.get_by_role("dialog")).to_have_count(0)

    after = served.store.get(kinds.AGENTS, "desk").value
    assert (after.name, after.allowed_instruments) == ("trend", (PAIR,))
    assert (after.decision_threshold, after.min_confidence) == (0.45, 0.3)
    assert after.data_pause_lift.value == "auto"


def test_every_figure_of_the_promotion_gate_is_edited(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")

    panel(page, "Promotion gate").get_by_role("button", name="Edit").click()
    values = {"Trades": "30", "Win rate": "0.58", "Net PnL": "12.5", "Drawdown": "0.2"}
    fill(page, values)
    press(page, "Save")
    expect(panel(page, "Promotion gate")).to_contain_text("12.5")

    after = served.store.get(kinds.AGENTS, "desk").value.promotion_gate
    assert (after.min_trades, after.min_win_rate) == (30, 0.58)
    assert (float(after.min_net_pnl), after.max_drawdown) == (12.5, 0.2)


def test_the_policy_of_every_source_is_edited(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")
    panel(page, "Source policies").get_by_role("button", name="Edit").click()
    labels = page.get_by_role("dialog").locator("label.field > span")
    expect(labels).to_have_count(len(FORBIDDABLE | REQUIRABLE))
    names = labels.all_inner_texts()
    wanted = {name: FORBIDDEN if name in FORBIDDABLE else REQUIRED for name in names}

    for name in names:
        page.get_by_role("dialog").locator(f"[name={name}]").select_option(wanted[name])
    press(page, "Save")
    expect(page.get_by_role("dialog")).to_have_count(0)

    after = served.store.get(kinds.AGENTS, "desk").value.source_policies
    assert {name: after[name] for name in names} == wanted


EVALUATION = {
    "Version": "ppo-1",
    "Pair": PAIR,
    "Interval": "1m",
    "Period": "typed",
    "Start, UTC": START,
    "End, UTC": END,
    "Decision threshold": "0.45",
    "Candles missing, at most": "2.5",
    "Folds": "3",
    "Bars that the first fold": "100",
    "Purge": "5",
    "Embargo": "7",
    "Stop loss": "0.02",
    "Take profit": "0.04",
    "Leverage": "5",
    "Policies tried": "12",
}


def evaluation(page: Page, served: Any, **changes: str) -> Any:
    """The dialog of an evaluation, filled and checked."""
    opened(page, served.url, "/rl-evaluations")
    panel(page, "Reports").get_by_role("button", name="Evaluate").click()
    fill(page, EVALUATION | changes)
    press(page, "Check the candles")
    return page.get_by_role("dialog")


def test_an_evaluation_judges_what_was_chosen(page: Page, served: Any) -> None:
    dialog = evaluation(page, served)
    expect(dialog).to_contain_text("720 of 720 candles stored")
    press(page, "Evaluate")
    ask = answered(page, served)

    assert (ask.version_id, ask.pair, ask.interval) == ("ppo-1", PAIR, "1m")
    assert (ask.start_ms, ask.end_ms) == (typed_ms(START), typed_ms(END))
    assert (ask.decision_threshold, ask.most_missing_fraction) == (0.45, 0.025)
    assert ask.folds == FoldPlan(folds=3, purge_bars=5, embargo_bars=7, min_train_bars=100)
    assert ask.protection == Protection(
        stop_loss_fraction=Decimal("0.02"), take_profit_fraction=Decimal("0.04")
    )
    assert (ask.leverage, ask.trials) == (5, 12)


def test_an_evaluation_shows_its_progress_and_is_cancelled(page: Page, served: Any) -> None:
    evaluation(page, served)
    press(page, "Evaluate")

    reports = panel(page, "Reports")
    expect(reports.get_by_role("progressbar")).to_be_visible()
    expect(reports).to_contain_text("250 of 1,000")
    reports.get_by_role("button", name="Cancel").click()
    expect(reports.locator("[data-job=job-e]")).to_contain_text("cancelled")

    assert served.store.get(kinds.JOBS, "job-e").value.status is JobStatus.CANCELLED


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"Start, UTC": "2025-12-31 18:00"}, "25.00 % of them missing"),
        ({"Pair": "ETH-USDT"}, "0 of 720 candles stored"),
    ],
)
def test_a_period_whose_candles_are_not_there_is_refused_with_the_way_to_them(
    page: Page, served: Any, changes: dict[str, str], told: str
) -> None:
    dialog = evaluation(page, served, **changes)

    expect(dialog).to_contain_text(told)
    expect(dialog.get_by_role("link", name="Fetch them")).to_have_attribute("href", "/ingestion")
    expect(dialog.get_by_role("button", name="Evaluate")).to_be_disabled()
    assert served.desk.commands == []


def test_some_missing_candles_are_told_and_may_be_gone_on_without(page: Page, served: Any) -> None:
    evaluation(page, served, **{"Start, UTC": "2025-12-31 18:00", "Candles missing, at most": "50"})
    expect(page.get_by_role("dialog")).to_contain_text("or go on without")
    press(page, "Evaluate")

    assert answered(page, served).most_missing_fraction == 0.5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"Start, UTC": "soon"}, "start: expected a UTC date"),
        ({"End, UTC": ""}, "start, end: type both"),
        ({"End, UTC": START}, "end: expected a candle or more"),
        ({"Period": "7"}, "period: choose"),
        ({"Folds": ""}, "folds: say how many"),
        ({"Period": "unseen", "Start, UTC": "", "End, UTC": ""}, "was not trained"),
    ],
)
def test_a_form_that_cannot_be_meant_is_refused_by_its_field_before_it_is_sent(
    page: Page, served: Any, changes: dict[str, str], told: str
) -> None:
    dialog = evaluation(page, served, **changes)

    expect(dialog.get_by_role("alert")).to_contain_text(told)
    assert served.desk.commands == []


@pytest.mark.parametrize(
    ("period", "start_ms"), [("1", LAST_MS - DAY_MS), ("unseen", typed_ms("2026-01-02 03:00"))]
)
def test_a_period_is_chosen_up_to_the_newest_candle(
    page: Page, served: Any, period: str, start_ms: int
) -> None:
    version = served.store.get(kinds.VERSIONS, "ppo-1").value
    trained = replace(version, training_end_ms=typed_ms("2026-01-02 03:00"))
    served.store.put(kinds.VERSIONS, "ppo-1", trained, at_ms=version.created_ms)
    evaluation(page, served, **{"Period": period, "Start, UTC": "", "End, UTC": ""})
    expect(page.get_by_test_id("checked")).to_be_visible()
    press(page, "Evaluate")
    ask = answered(page, served)

    assert abs(ask.end_ms - LAST_MS) <= 5 * MINUTE_MS, "the market's clock goes on"
    assert abs(ask.start_ms - start_ms) <= 5 * MINUTE_MS
    assert ask.end_ms % MINUTE_MS == 0
