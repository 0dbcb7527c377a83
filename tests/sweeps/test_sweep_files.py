"""A sweep's file: what is shipped is valid, and what is wrong is named with its path and a remedy."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from actors.training import TrainAsk
from desk.engines.rllib import TrainingSpec
from desk.errors import BadInput
from desk.learning.sweep_file import MOST_BYTES, parse_sweep, schema_text
from desk.learning.sweep_space import PARAMETERS, LogUniform, RandInt, Uniform, kept_inside
from desk.learning.sweeps import EvaluationSweep, TrainingSweep, sweep_sha256
from desk.learning.training_spec import ALGORITHMS
from tests.sweeps.homes import small

CONFIGS = Path(__file__).parents[2] / "tune_configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))
PLANNED = ("ppo", "dqn", "bc")
"""Algorithms that shipped sweeps name; which of them can be trained the engine says."""


def parsed(sweep: dict[str, Any], **changes: Any) -> TrainingSweep:
    text = yaml.safe_dump({**sweep, **changes}, sort_keys=False)
    found = parse_sweep(text, "my.yaml", algorithms=ALGORITHMS)
    assert isinstance(found, TrainingSweep)
    return found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_sweep_is_valid_and_says_what_it_is_for(path: Path) -> None:
    sweep = parse_sweep(path.read_text(), path.name, algorithms=PLANNED)

    assert sweep.name == path.stem.replace("_", "-")
    assert sweep.about
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(schema_text()))


def test_the_shipped_sweeps_are_those_of_the_runbook() -> None:
    kinds = {path.stem: yaml.safe_load(path.read_text()) for path in SHIPPED}

    assert set(kinds) >= {
        "smoke",
        "ppo_asha",
        "ppo_pbt",
        "algorithms",
        "reward_costs",
        "thresholds",
    }
    assert kinds["ppo_asha"]["scheduler"]["kind"] == "asha"
    assert kinds["ppo_asha"]["search"]["kind"] == "optuna"
    assert kinds["ppo_pbt"]["scheduler"]["kind"] == "pbt"
    assert kinds["thresholds"]["kind"] == "evaluation"


def test_the_committed_schema_is_that_of_the_models() -> None:
    assert (CONFIGS / "schema.json").read_text() == schema_text(), (
        "run `desk tune --schema > tune_configs/schema.json`"
    )


def test_every_parameter_is_a_field_of_what_is_trained_by() -> None:
    known = {field.name for kind in (TrainingSpec, TrainAsk) for field in fields(kind)}

    assert set(PARAMETERS) - known - {"algorithm", "decision_threshold"} == set()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"budgt": 1}, r"my.yaml: budgt: is no key"),
    ({"kind": "train"}, r"kind was 'train', choose from 'training', 'evaluation'"),
    ({"name": "My Sweep"}, r"name: was 'My Sweep'"),
    ({"budget": {"trials": 2}}, r"budget.steps_per_trial: is missing: add it"),
    ({"dataset": {"pair": "BTC-USDT"}}, r"dataset: id was latest: name a pair and an interval"),
    ({"dataset": {"id": "ds-1", "pair": "BTC-USDT"}}, r"dataset: was ds-1 beside a pair"),
    ({"algorithm": "sac"}, r"algorithm: was 'sac', which the engine cannot train: choose from ppo"),
    ({"space": {"learnin_rate": {"kind": "uniform", "low": 0, "high": 1}}},
     r"space.learnin_rate: is no parameter: did you mean learning_rate\?"),
    ({"space": {"gamma": {"kind": "uniform", "low": 0.9, "high": 1.5}}},
     r"space.gamma: was 1.5, expected at least 0 and at most 1"),
    ({"space": {"gamma": {"kind": "uniform", "low": 0.9, "high": 0.8}}},
     r"space.gamma: low was 0.9 and high 0.8"),
    ({"space": {"gamma": {"kind": "uniform", "low": 0.9}}}, r"space.gamma.high: is missing"),
    ({"space": {"gamma": {"kind": "normal", "low": 0.9}}}, r"space.gamma: kind was 'normal'"),
    ({"space": {"gamma": {"kind": "grid", "values": [0.9]}}},
     r"space.gamma.kind: was grid: write kind: choice"),
    ({"space": {"epochs": {"kind": "choice", "values": [1, 2.5]}}},
     r"space.epochs: was 2.5, expected a whole number"),
    ({"space": {"gamma": {"kind": "choice", "values": []}}}, r"space.gamma.values: was \[\]"),
    ({"space": {}}, r"space: was empty"),
    ({"fixed": {"gama": 0.9}}, r"fixed.gama: is no parameter: did you mean gamma\?"),
    ({"fixed": {"learning_rate": 0.1}}, r"fixed.learning_rate: is varied by space"),
    ({"fixed": {"hidden": 64}}, r"fixed.hidden: was 64, expected a list of numbers"),
    ({"fixed": {"algorithm": "ppo"}}, r"fixed.algorithm: has a key of its own"),
    ({"search": {"kind": "grid"}}, r"space.learning_rate.kind: was choice: a grid search"),
    ({"seeds": []}, r"seeds: was \[\]"),
    ({"metric": "profit"}, r"metric: was 'profit'"),
    ({"scheduler": {"kind": "pbt"}, "search": {"kind": "optuna"}}, r"write kind: random"),
    ({"scheduler": {"kind": "pbt"}, "space": {"lanes": {"kind": "choice", "values": [8, 9]}}},
     r"space.lanes: cannot change in the middle of a training"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_named_by_file_path_and_remedy(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        parsed({**small(), **changes})

    assert refused.value.field == "my.yaml"


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(BadInput) as refused:
        parsed(small(), metric="profit", budgt=1)

    assert "metric: was 'profit'" in str(refused.value)
    assert "budgt: is no key" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [a", "line 1, column 9"),
        ("name: a\nname: b\n", "name was given twice"),
        ("just words", "was no mapping"),
        ("", "was no mapping"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("#" * (MOST_BYTES + 1), "characters"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse_sweep(text, "my.yaml", algorithms=ALGORITHMS)


def test_numbers_that_yaml_takes_for_words_are_numbers() -> None:
    sweep = parsed(small(space={"learning_rate": {"kind": "choice", "values": ["1e-4", "1e-3"]}}))

    assert {point["learning_rate"] for point in sweep.points()} <= {1e-4, 1e-3}


def test_a_grid_is_every_combination_once() -> None:
    grid = {
        "gamma": {"kind": "grid", "values": [0.9, 0.99]},
        "hidden": {"kind": "grid", "values": [[8], [8, 8]]},
    }
    sweep = parsed(small(space=grid, search={"kind": "grid"}, budget={"trials": 4}), fixed={})

    assert sweep.points() == [
        {"gamma": 0.9, "hidden": (8,)},
        {"gamma": 0.9, "hidden": (8, 8)},
        {"gamma": 0.99, "hidden": (8,)},
        {"gamma": 0.99, "hidden": (8, 8)},
    ]
    with pytest.raises(BadInput, match=r"budget.trials: was 3 for a grid of 4 points: raise it"):
        parsed(small(space=grid, search={"kind": "grid"}, budget={"trials": 3}), fixed={})


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30))
def test_draws_lie_inside_and_do_not_depend_on_how_many_are_asked_for(
    seed: int, count: int
) -> None:
    space = {
        "learning_rate": {"kind": "loguniform", "low": 1e-5, "high": 1e-2},
        "gamma": {"kind": "uniform", "low": 0.9, "high": 0.999},
        "epochs": {"kind": "randint", "low": 1, "high": 5},
        "hidden": {"kind": "choice", "values": [[8], [16, 16]]},
    }
    search = {"kind": "random", "seed": seed}
    few = parsed(small(space=space, search=search, budget={"trials": count}), fixed={}).points()
    asked = small(space=space, search=search, budget={"trials": count + 5})
    more = parsed(asked, fixed={}).points()

    assert more[:count] == few
    for point in few:
        assert 1e-5 <= point["learning_rate"] < 1e-2  # pyright: ignore[reportOperatorIssue]
        assert 0.9 <= point["gamma"] < 0.999  # pyright: ignore[reportOperatorIssue]
        assert point["epochs"] in {1, 2, 3, 4}
        assert point["hidden"] in {(8,), (16, 16)}


@given(value=st.floats(-1e6, 1e6), epochs=st.floats(-50, 50))
def test_a_mutation_stays_in_its_range(value: float, epochs: float) -> None:
    space = {
        "learning_rate": LogUniform(kind="loguniform", low=1e-5, high=1e-2),
        "gamma": Uniform(kind="uniform", low=0.9, high=0.99),
        "epochs": RandInt(kind="randint", low=1, high=5),
    }

    kept = kept_inside({"learning_rate": value, "gamma": value, "epochs": epochs, "x": 1}, space)

    assert 1e-5 <= kept["learning_rate"] <= 1e-2  # pyright: ignore[reportOperatorIssue]
    assert 0.9 <= kept["gamma"] <= 0.99  # pyright: ignore[reportOperatorIssue]
    assert kept["epochs"] in {1, 2, 3, 4}
    assert isinstance(kept["epochs"], int)
    assert kept["x"] == 1


def test_time_and_company_do_not_change_what_a_sweep_asks_for() -> None:
    one = parsed(small())

    assert sweep_sha256(parsed(small(about="x", budget={"wall_minutes": 1}))) == sweep_sha256(one)
    assert sweep_sha256(parsed(small(budget={"concurrent_trials": 2}))) == sweep_sha256(one)
    assert sweep_sha256(parsed(small(seeds=[8]))) != sweep_sha256(one)
    assert sweep_sha256(parsed(small(budget={"trials": 3}))) != sweep_sha256(one)


def test_an_evaluation_sweep_is_bounded() -> None:
    sweep = {
        "name": "many", "kind": "evaluation", "dataset": {"id": "ds-1"}, "versions": ["v"],
        "decision_thresholds": [0.3] * 200, "periods": 100, "wall_minutes": 1,
    }  # fmt: skip

    with pytest.raises(BadInput, match="at most 10000"):
        parse_sweep(yaml.safe_dump(sweep), "my.yaml", algorithms=ALGORITHMS)

    fewer = parse_sweep(yaml.safe_dump({**sweep, "periods": 2}), "my.yaml", algorithms=ALGORITHMS)
    assert isinstance(fewer, EvaluationSweep)


def test_points_are_drawn_by_the_seed_alone() -> None:
    np.random.seed(1)
    first = parsed(small()).points()
    np.random.seed(2)

    assert parsed(small()).points() == first
