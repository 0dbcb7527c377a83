"""What trains, and with which numbers: everything that does not fit is refused by its name."""

from dataclasses import fields

import pytest

from desk.errors import BadInput
from desk.learning.training_spec import (
    ALGORITHMS,
    PARAMETERS,
    TrainingSpec,
    training_spec,
)

NAMES = {field.name for field in fields(TrainingSpec)}


def test_every_field_is_a_parameter_of_some_algorithm_and_every_parameter_a_field() -> None:
    listed = {name for names in PARAMETERS.values() for name in names}

    assert set(PARAMETERS) == set(ALGORITHMS)
    assert listed == NAMES - {"algorithm", "steps", "seed"}


def test_without_words_it_is_ppo_at_its_defaults() -> None:
    assert training_spec() == TrainingSpec()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithms_own_defaults_fit_together_and_go_on_the_card(algorithm: str) -> None:
    spec = training_spec(algorithm)

    assert spec.as_hyperparameters().keys() == {
        "algorithm",
        "steps",
        "seed",
        *PARAMETERS[algorithm],
    }
    assert spec.as_hyperparameters()["hidden"] == [64, 64]
    assert training_spec(algorithm, {"hidden": [8], "lanes": 64.0}, steps=50_000, seed=3) == (
        training_spec(algorithm, {"lanes": 64, "hidden": (8,)}, seed=3, steps=50_000)
    )


def test_an_unknown_algorithm_is_refused_with_those_there_are() -> None:
    for make in (lambda: training_spec("sac"), lambda: TrainingSpec(algorithm="sac")):
        with pytest.raises(BadInput, match=r"algorithm: was 'sac', expected one of ppo, dqn, bc"):
            make()


@pytest.mark.parametrize(
    ("algorithm", "name", "says"),
    [
        ("ppo", "clipp", "clip, "),
        ("dqn", "clip", r"it is one of ppo\), expected a parameter of dqn: .*replay_ratio"),
        ("dqn", "learners", r"it is one of ppo\)"),
        ("bc", "gamma", r"one of ppo, dqn\)"),
        ("ppo", "steps", "expected a parameter of ppo"),
    ],
)
def test_an_unknown_or_foreign_parameter_is_refused_with_those_there_are(
    algorithm: str, name: str, says: str
) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        training_spec(algorithm, {name: 1})

    assert refused.value.field == name


def test_a_number_that_would_be_ignored_is_refused_without_the_door_as_well() -> None:
    with pytest.raises(BadInput, match=r"clip: was 0\.3, but dqn has none"):
        TrainingSpec(algorithm="dqn", clip=0.3)


@pytest.mark.parametrize(
    ("algorithm", "given", "field"),
    [
        ("ppo", {"lanes": 0}, "lanes"),
        ("ppo", {"lanes": 65_536, "steps_per_lane": 10_000}, "steps_per_lane"),
        ("ppo", {"lanes": 2.5}, "lanes"),
        ("ppo", {"lanes": True}, "lanes"),
        ("ppo", {"lanes": "many"}, "lanes"),
        ("ppo", {"minibatch": 50_000}, "minibatch"),
        ("ppo", {"lanes": 64, "learners": 2}, "minibatch"),
        ("ppo", {"learning_rate": float("nan")}, "learning_rate"),
        ("ppo", {"gamma": 1.1}, "gamma"),
        ("ppo", {"hidden": []}, "hidden"),
        ("ppo", {"hidden": [0]}, "hidden"),
        ("ppo", {"hidden": [True]}, "hidden"),
        ("ppo", {"hidden": "64"}, "hidden"),
        ("ppo", {"warm_start": "luck"}, "warm_start"),
        ("ppo", {"warm_start": 1}, "warm_start"),
        ("ppo", {"runners": -1}, "runners"),
        ("dqn", {"replay_steps": 1_000}, "replay_steps"),
        ("dqn", {"minibatch": 4_096, "replay_steps": 4_000}, "minibatch"),
        ("dqn", {"warm_up_steps": 300_000}, "warm_up_steps"),
        ("bc", {"minibatch": 150_000}, "minibatch"),
    ],
)
def test_impossible_numbers_are_refused_by_name(
    algorithm: str, given: dict[str, object], field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        training_spec(algorithm, given)

    assert refused.value.field == field


def test_a_training_too_short_to_ever_learn_is_refused() -> None:
    with pytest.raises(BadInput, match="it would never learn"):
        training_spec("dqn", steps=5_000)
