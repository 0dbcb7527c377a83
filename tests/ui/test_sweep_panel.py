"""Sweeps on the agent's page: the leaderboard follows the job's row, and the sweep is ended from here."""

from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from actors.job_book import JobBook
from actors.sweep_book import SweepView
from actors.sweep_job import SWEEP, SweepJob
from desk.clock import ManualClock
from desk.learning.sweep_results import LeaderboardRow, TrialStatus
from desk.runs import Job, JobStatus
from desk.store import kinds
from tests.ui.conftest import NOW_MS
from tests.ui.test_agent_page import opened, panel

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=alert(1)>"


def trial(rank: int, **changes: Any) -> LeaderboardRow:
    plain = LeaderboardRow(
        rank=rank,
        number=rank + 3,
        trial_key=f"trial-{rank}",
        status=TrialStatus.DONE,
        steps=50_000,
        score=1.5 / rank,
        fold_scores=((1.0, 2.0), (1.5, 1.5)),
        sharpe=(1.5, 1.5),
        point={"learning_rate": 0.00031622, "layers": [64, 64]},
    )
    return replace(plain, **changes)


def view(done: float, *rows: LeaderboardRow) -> SweepView:
    return SweepView(
        sweep_id="ppo-1234",
        stage=f"training {done:g}",
        rows=rows,
        overfitting=None,
        done=done,
        total=200_000.0,
        unit="steps",
        metric="sharpe",
    )


def sweep_row(served: Any) -> Job:
    return next(doc.value for doc in served.store.list(kinds.JOBS) if doc.value.kind == SWEEP)


@pytest.fixture
def sweep(served: Any) -> SweepJob:
    job = SweepJob(
        served.store,
        ManualClock(NOW_MS),
        "tune_configs/mine.yaml",
        lambda view: None,
        lambda: False,
    )
    job.tell(view(50_000.0, trial(1, point={"learning_rate": HOSTILE})))
    return job


def test_the_leaderboard_follows_the_sweep(page: Page, served: Any, sweep: SweepJob) -> None:
    opened(page, served.url)
    shown = panel(page, "Sweeps")
    rows = shown.get_by_role("table", name="Leaderboard").locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text(HOSTILE)
    expect(shown.locator("img")).to_have_count(0)
    expect(shown).to_contain_text("tune_configs/mine.yaml")

    unscored = trial(2, status=TrialStatus.RUNNING, score=None, fold_scores=(), steps=0)
    sweep.tell(replace(view(150_000.0, trial(1), unscored), stage="a new stage"))

    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("1.5000 ± 0.2041")
    expect(rows.first).to_contain_text("0.0003162")
    expect(rows.nth(1)).to_contain_text("running")
    expect(shown.get_by_role("progressbar")).to_have_attribute("value", "150000")
    expect(shown).to_contain_text("a new stage")


def test_a_sweep_is_ended_from_the_page_and_keeps_what_it_found(
    page: Page, served: Any, sweep: SweepJob
) -> None:
    opened(page, served.url)

    panel(page, "Sweeps").get_by_role("button", name="Cancel").click()

    expect(panel(page, "Sweeps").locator("[data-job]")).to_contain_text("cancelled")
    assert sweep_row(served).status is JobStatus.CANCELLED
    sweep.tell(replace(view(150_000.0), stage="one more"))
    assert sweep.cancelled()
    rows = panel(page, "Sweeps").get_by_role("table", name="Leaderboard").locator("tbody tr")
    expect(rows).to_have_count(1)


def test_an_older_sweep_can_be_looked_at_and_a_failed_one_says_why(
    page: Page, served: Any, sweep: SweepJob
) -> None:
    first = sweep_row(served)
    JobBook(served.store, first.job_id, ManualClock(NOW_MS)).fail("Ray was lost")
    newer = replace(
        first,
        job_id="job-newer",
        created_ms=NOW_MS + 1,
        status=JobStatus.DONE,
        error="",
        arguments={"sweep_id": "dqn-9"},
        result={"leaderboard": [], "metric": ""},
    )
    served.store.put(kinds.JOBS, newer.job_id, newer, at_ms=newer.created_ms)
    opened(page, served.url)
    expect(panel(page, "Sweeps")).to_contain_text("No trial has a score yet.")

    page.get_by_role("combobox", name="Sweep").select_option(first.job_id)

    expect(panel(page, "Sweeps")).to_contain_text("Ray was lost")
    expect(panel(page, "Sweeps").locator("tbody tr")).to_have_count(1)


def test_without_a_sweep_the_panel_names_the_command(page: Page, served: Any) -> None:
    opened(page, served.url)

    expect(panel(page, "Sweeps")).to_contain_text("desk tune tune_configs/smoke.yaml")
