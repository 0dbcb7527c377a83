"""The words of `desk train`: parameters as typed, and the same command as the same work."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from actors.study_period import Period
from actors.training import TrainAsk, job_folder
from actors.training_work import terminal_work
from desk.cli.learning import given_parameters
from desk.errors import BadInput
from desk.learning.training_spec import training_spec
from desk.store.checkpoints import FOLDER
from tests.learning.conftest import INSTRUMENT


def test_parameters_are_read_as_numbers_lists_and_words() -> None:
    found = given_parameters(["clip=0.1", "hidden=[32, 16]", "warm_start=rule", "lanes=64"])

    assert found == {"clip": 0.1, "hidden": [32, 16], "warm_start": "rule", "lanes": 64}
    assert training_spec("ppo", {**found, "minibatch": 1_024}).hidden == (32, 16)
    assert given_parameters(None) == {}


@pytest.mark.parametrize("text", ["clip", "=1", ""])
def test_a_parameter_without_a_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected NAME=VALUE"):
        given_parameters([text])


@pytest.fixture
def ask() -> TrainAsk:
    return TrainAsk(
        period=Period(
            pair="BTC-USDT", interval="1m", start_ms=0, end_ms=60_000, instrument=INSTRUMENT
        )
    )


def test_a_command_given_again_is_its_own_work_only_while_it_left_checkpoints(
    ask: TrainAsk, tmp_path: Path, make_checkpoint: Callable[[str], None]
) -> None:
    first = terminal_work(tmp_path, ask, now_ms=10)
    before_any = terminal_work(tmp_path, ask, now_ms=20)
    make_checkpoint(first.work_id)
    killed = terminal_work(tmp_path, ask, now_ms=30)
    other = terminal_work(tmp_path, replace(ask, leverage=3), now_ms=40)

    assert (first.began_ms, before_any.began_ms, killed.began_ms) == (10, 20, 20)
    assert first.work_id == before_any.work_id == killed.work_id
    assert other.work_id != first.work_id


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[[str], None]:
    return lambda work_id: (job_folder(tmp_path, work_id) / FOLDER).mkdir()
