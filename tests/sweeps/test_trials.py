"""A trial and its journal: what a lost process costs, and what is never done twice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from desk.engines.trials import POINT, Trial, TrialTask, check_configuration, policy_file
from desk.errors import ArtifactRefused, BadInput
from desk.learning.sweep_results import TrialPoint
from desk.market.candles import Candles
from desk.store.sweeps import KEPT_CHECKPOINTS, SweepJournal, TrainedStretch
from tests.sweeps.tasks import task_on
from tests.sweeps.trainers import learnt_at, quick_train

KEY = "trial-1"
SLOW = {"learning_rate": 1e-4}


@pytest.fixture(scope="module")
def candles(walk: Callable[..., Candles]) -> Candles:
    return walk(2_000, seed=5)


@pytest.fixture
def task(candles: Candles, tmp_path: Path) -> TrialTask:
    return task_on(candles, tmp_path)


def told(trial: Trial) -> list[TrialPoint]:
    points: list[TrialPoint] = []
    while not trial.is_over:
        points.append(trial.advance())
    return points


def trained(task: TrialTask) -> list[TrainedStretch]:
    return SweepJournal(task.home).trainings(task.sweep_id)


def test_a_trial_is_scored_and_journaled_at_every_checkpoint(task: TrialTask) -> None:
    points = told(Trial(task, KEY, SLOW))

    record = SweepJournal(task.home).trial(KEY)
    assert record is not None
    assert [point.steps for point in points] == [1_000, 2_000, 3_000]
    assert record.points == tuple(points)
    assert record.is_whole
    assert len(points[0].fold_scores) == 2
    assert all(len(of_seed) == 2 for of_seed in points[0].fold_scores)
    flat = [score for of_seed in points[-1].fold_scores for score in of_seed]
    assert points[-1].score == pytest.approx(sum(flat) / 4)
    assert points[0].score != points[-1].score
    assert set(record.policies) == {policy_file(0, 0), policy_file(1, 0)}
    assert SweepJournal(task.home).policy(record, policy_file(1, 0))["layers.0.bias"][2] > 0


def test_a_trial_that_is_whole_is_told_again_and_not_trained(task: TrialTask) -> None:
    first = told(Trial(task, KEY, SLOW))
    before = trained(task)

    again = told(Trial(task, KEY, SLOW))

    assert again == first
    assert trained(task) == before
    assert len(before) == 3


class Lost(Exception):
    """The process is gone."""


@pytest.mark.parametrize("lost_at", [1, 2, 3, 4, 5, 6])
def test_a_process_lost_anywhere_costs_at_most_one_interval(
    candles: Candles, tmp_path: Path, lost_at: int
) -> None:
    """Two policies and three checkpoints make six trainings; the process is lost in any of them."""
    calls: list[int] = []

    def mortal(*args: Any, until_steps: int, **named: Any) -> Any:
        calls.append(until_steps)
        if len(calls) == lost_at:
            raise Lost
        return quick_train(*args, until_steps=until_steps, **named)

    doomed = task_on(candles, tmp_path / "lost", train=mortal)
    with pytest.raises(Lost):
        told(Trial(doomed, KEY, SLOW))
    kept = Trial(task_on(candles, tmp_path / "lost"), KEY, SLOW)
    safe = kept.record.steps
    points = told(kept)

    assert safe == (lost_at - 1) // 2 * 1_000
    assert points == told(Trial(task_on(candles, tmp_path / "whole"), KEY, SLOW))
    stretches = trained(doomed)
    assert sum(one.to_steps - one.from_steps for one in stretches) == 3_000
    assert [
        path.name for path in (tmp_path / "lost" / "sweeps" / "trials" / KEY).glob(".draft*")
    ] == []


def test_a_checkpoint_whose_point_was_not_journaled_is_made_anew(task: TrialTask) -> None:
    """A kill between the checkpoint and its point leaves a folder that nobody speaks of."""
    trial = Trial(task, KEY, SLOW)
    trial.advance()
    orphan = SweepJournal(task.home).checkpoint(KEY, 2_000)
    orphan.mkdir()
    (orphan / "half").write_text("written")

    told(Trial(task, KEY, SLOW))

    assert not (orphan / "half").exists()
    assert (orphan / POINT).exists()


def test_a_stopped_trial_is_told_again_and_trains_no_more(task: TrialTask) -> None:
    trial = Trial(task, KEY, SLOW)
    first = trial.advance()

    again = Trial(task, KEY, SLOW, is_stopped=True)

    assert told(again) == [first]
    assert len(trained(task)) == 1


def test_only_the_newest_checkpoints_stay(task: TrialTask) -> None:
    told(Trial(task, KEY, SLOW))

    folder = SweepJournal(task.home).checkpoint(KEY, 0).parent
    assert len(list(folder.glob("checkpoint-*"))) == KEPT_CHECKPOINTS


def test_a_changed_policy_file_is_refused(task: TrialTask) -> None:
    trial = Trial(task, KEY, SLOW)
    told(trial)
    journal = SweepJournal(task.home)
    path = journal.checkpoint(KEY, 3_000) / policy_file(0, 0)
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    with pytest.raises(ArtifactRefused, match="does not have the journaled hash"):
        journal.policy(trial.record, policy_file(0, 0))


def test_a_member_goes_on_from_anothers_weights_with_its_new_numbers(
    task: TrialTask, tmp_path: Path
) -> None:
    leader, laggard = Trial(task, "trial-a", {"learning_rate": 1e-3}), Trial(task, KEY, SLOW)
    leader.advance()
    leader.advance()
    laggard.advance()
    leader.hand_over(tmp_path / "handed")

    changed = Trial(task, KEY, {"learning_rate": 2e-3})
    changed.take_over(tmp_path / "handed")
    point = changed.advance()

    journal = SweepJournal(task.home)
    record = journal.trial(KEY)
    assert record is not None
    assert point.steps == 3_000
    assert [one.steps for one in record.points] == [1_000, 2_000, 3_000]
    assert record.points[1] == leader.record.points[1]
    assert record.configuration == {"learning_rate": 2e-3}
    assert [(change["steps"], change["from"]) for change in record.changes] == [(2_000, "trial-a")]
    # 2,000 steps at the leader's rate, 1,000 at the new one.
    assert learnt_at(journal.checkpoint(KEY, 3_000)) == pytest.approx(2.0 + 2.0)


def test_a_member_that_only_paused_is_not_changed(task: TrialTask, tmp_path: Path) -> None:
    member = Trial(task, KEY, SLOW)
    member.advance()
    member.hand_over(tmp_path / "own")

    again = Trial(task, KEY, SLOW)
    again.take_over(tmp_path / "own")

    assert again.record.changes == ()
    assert again.advance().steps == 2_000


def test_a_member_taken_up_again_begins_with_its_newest_point(task: TrialTask) -> None:
    member = Trial(task, KEY, SLOW)
    member.advance()
    member.advance()

    again = Trial(task, KEY, SLOW)
    again.skip_told()

    assert [again.advance().steps, again.advance().steps] == [2_000, 3_000]


def test_a_record_that_cannot_be_read_is_said_with_its_place(task: TrialTask) -> None:
    Trial(task, KEY, SLOW)
    path = task.home / "sweeps" / "trials" / KEY / "record.json"
    path.write_text(path.read_text()[:-5])

    with pytest.raises(ArtifactRefused, match=r"record.json is damaged: move it away"):
        Trial(task, KEY, SLOW)


def test_numbers_that_do_not_fit_each_other_are_refused_before_a_trial() -> None:
    with pytest.raises(BadInput, match="minibatch"):
        check_configuration({"minibatch": 10**6}, steps=10_000, checkpoint_every_steps=10_000)
    with pytest.raises(BadInput, match=r"checkpoint_every_steps: was 1000, less than one update"):
        check_configuration({}, steps=10_000, checkpoint_every_steps=1_000)


def test_the_log_of_trainings_is_one_whole_line_each(task: TrialTask) -> None:
    told(Trial(task, KEY, SLOW))

    lines = (task.home / "sweeps" / "studies" / task.sweep_id / "trainings.jsonl").read_text()
    assert [json.loads(line)["to_steps"] for line in lines.splitlines()] == [1_000, 2_000, 3_000]
