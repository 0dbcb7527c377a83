"""How much the first place of a leaderboard is worth: told with every sweep, and kept with its file."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs] - pyarrow ships no types
import pytest
from rich.console import Console

from actors.sweep_book import SweepBook, SweepView
from desk.cli.tune import answer_of, sweep_tables
from desk.clock import ManualClock
from desk.evaluation.overfitting import overfitting_probability
from desk.learning.sweep_results import (
    SweepStatus,
    SweepTrial,
    TaskResult,
    TrialPoint,
    TrialRecord,
    overfitting_of,
    overfitting_of_results,
)
from desk.store.sweep_tables import results_parquet
from desk.store.sweeps import SweepJournal
from tests.sweeps.test_sweep_jobs import record

RETURNS = np.random.default_rng(2).normal(0.0, 0.01, (6, 64))
KEYS = ("trial-a", "trial-b", "trial-c")


def journaled(home: Path, trials: int, returns: np.ndarray = RETURNS) -> SweepBook:
    """A sweep of trials with two seeds each, every one of them scored."""
    journal = SweepJournal(home)
    for number, key in enumerate(KEYS[:trials]):
        of_seeds = returns[2 * number : 2 * number + 2]
        point = TrialPoint(
            steps=10,
            score=float(of_seeds.sum()),
            fold_scores=((0.1,), (0.2,)),
            sharpe=(1.0, 2.0),
            candle_sharpe=(0.1, 0.2),
            block_returns=tuple(tuple(one.tolist()) for one in of_seeds),
        )
        journal.keep_trial(
            TrialRecord(
                trial_key=key, configuration={}, seeds=(1, 2), total_steps=10, points=(point,)
            )
        )
    begun = replace(
        record(SweepStatus.RUNNING),
        trials=tuple(
            SweepTrial(trial_key=key, number=number, point={})
            for number, key in enumerate(KEYS[:trials], start=1)
        ),
    )
    return SweepBook(
        journal,
        begun,
        total_steps=10,
        expected_trials=trials,
        wall_s=60.0,
        clock=ManualClock(),
        tell=lambda view: None,
        cancelled=lambda: False,
    )


def printed(home: Path, sweep_id: str) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    for table in sweep_tables(answer_of(SweepJournal(home), sweep_id)):
        console.print(table)
    return " ".join(console.export_text().split())  # a caption is as wide as its table


def test_every_policy_that_was_tried_is_a_candidate_and_the_figure_goes_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, views = journaled(tmp_path, 3), list[SweepView]()
    monkeypatch.setattr(book, "_tell", views.append)
    expected = overfitting_probability(RETURNS.T)

    book.show("training")
    book.keep(replace(book.record, overfitting=overfitting_of(book.tried())))
    kept = SweepJournal(tmp_path).keep_leaderboard(book.record, book.rows(), book.tried())

    assert expected is not None
    assert views[0].overfitting == kept.overfitting == overfitting_of(book.tried())
    assert kept.overfitting is not None
    assert kept.overfitting.probability == expected
    assert (kept.overfitting.candidates, kept.overfitting.periods) == (6, 64)
    answer = answer_of(SweepJournal(tmp_path), kept.sweep_id)
    assert answer["overfitting"]["probability"] == expected
    metadata = pq.read_schema(answer["file"]).metadata
    assert json.loads(metadata[b"overfitting_probability"]) == expected
    assert f"(6 candidates, 64 periods): {expected:.3f}" in printed(tmp_path, kept.sweep_id)


@pytest.mark.parametrize(
    ("trials", "returns", "why"),
    [
        (0, RETURNS, "candidates were 0"),
        (1, RETURNS[:2] * 0.0, "all of them earned the same"),
        (3, RETURNS[:, :12], "periods were 12, expected at least 20"),
    ],
)
def test_a_sweep_that_says_too_little_says_why(
    tmp_path: Path, trials: int, returns: np.ndarray, why: str
) -> None:
    book = journaled(tmp_path, trials, returns)

    book.keep(replace(book.record, overfitting=overfitting_of(book.tried())))
    kept = SweepJournal(tmp_path).keep_leaderboard(book.record, book.rows(), book.tried())

    metadata = pq.read_schema(tmp_path / "sweeps/studies/small-1/leaderboard.parquet").metadata
    assert json.loads(metadata[b"overfitting_probability"]) is None
    assert metadata[b"overfitting_reason"].decode().startswith(why)
    assert f"none: {why}" in printed(tmp_path, kept.sweep_id)


def result(version_id: str, period: int, net_pnl: float) -> TaskResult:
    return TaskResult(
        task_key=f"{version_id}-{period}",
        version_id=version_id,
        decision_threshold=0.5,
        start_ms=period,
        end_ms=period + 1,
        evaluation_id="ev-1",
        verdict="fail",
        trade_count=1,
        sharpe=0.0,
        max_drawdown=0.0,
        net_pnl_after_fees=f"{net_pnl!r}",
        parity_max_abs_diff="0",
    )


def test_a_sweep_of_evaluations_chooses_among_its_cells_by_period() -> None:
    earned = RETURNS[:3, :24]
    results = [
        result(f"v{number}", period, float(earned[number, period]))
        for period in reversed(range(24))
        for number in range(3)
    ]

    found = overfitting_of_results(results)

    assert found.probability == overfitting_probability(earned.T)
    assert (found.candidates, found.periods) == (3, 24)
    cut_off = overfitting_of_results(results[:-1])  # the last one was not evaluated
    assert cut_off.candidates == 2
    short = overfitting_of_results(results[:15])
    assert (short.probability, short.reason) == (
        None,
        "periods were 5, expected at least 20, two for each block",
    )
    ended = replace(record(SweepStatus.DONE), results=tuple(results), overfitting=found)
    metadata = pq.read_schema(io.BytesIO(results_parquet(ended))).metadata
    assert json.loads(metadata[b"overfitting_probability"]) == found.probability
