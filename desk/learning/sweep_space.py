"""What a sweep may vary: the parameters of a training, the ranges they are drawn from, and the drawing."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import Annotated, Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

type Value = float | int | str | tuple[float, ...] | tuple[int, ...]
type Point = dict[str, Value]
"""One choice of every parameter that a study varies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a number of a training may be. Both ends belong to the range."""

    kind: Literal["float", "int", "text", "floats", "ints"]
    low: float = 0.0
    high: float = float("inf")
    is_mutable: bool = False
    """It may change in the middle of a training, as PBT does."""
    is_open: bool = False
    """The low end does not belong to the range."""

    def problem(self, value: object) -> str:
        """What is wrong with a value; empty for one that fits."""
        match self.kind:
            case "text":
                return "" if isinstance(value, str) else f"was {value!r}, expected a word"
            case "floats" | "ints":
                if not isinstance(value, (list, tuple)) or not value:
                    return f"was {value!r}, expected a list of numbers"
                found = (self._of_number(one) for one in cast("Sequence[object]", value))
                return next((text for text in found if text), "")
            case _:
                return self._of_number(value)

    def _of_number(self, value: object) -> str:
        number = as_number(value)
        whole = self.kind in {"int", "ints"}
        if number is None or (whole and number != int(number)):
            return f"was {value!r}, expected {'a whole' if whole else 'a'} number"
        is_inside = self.low < number <= self.high or (number == self.low and not self.is_open)
        if not is_inside:
            least = "above" if self.is_open else "at least"
            most = "" if self.high == float("inf") else f" and at most {self.high:g}"
            return f"was {value!r}, expected {least} {self.low:g}{most}"
        return ""

    def read(self, value: object) -> Value:
        """A value that fits, in its own type."""
        if self.kind == "text":
            return str(value)
        if self.kind in {"floats", "ints"}:
            return tuple(self._number(one) for one in cast("Sequence[object]", value))
        return self._number(value)

    def _number(self, value: object) -> float:
        number = float(cast("float", value))
        return int(number) if self.kind in {"int", "ints"} else number


def as_number(value: object) -> float | None:
    """A finite number, also where YAML took it for text, as `1e-4`; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


PARAMETERS: Mapping[str, Parameter] = {
    "algorithm": Parameter(kind="text"),
    "learning_rate": Parameter(kind="float", high=1.0, is_open=True, is_mutable=True),
    "gamma": Parameter(kind="float", high=1.0, is_mutable=True),
    "gae_lambda": Parameter(kind="float", high=1.0, is_mutable=True),
    "clip": Parameter(kind="float", high=1.0, is_open=True, is_mutable=True),
    "entropy_coefficient": Parameter(kind="float", high=1.0, is_mutable=True),
    "epochs": Parameter(kind="int", low=1, high=100, is_mutable=True),
    "lanes": Parameter(kind="int", low=1, high=65_536),
    "steps_per_lane": Parameter(kind="int", low=1, high=65_536),
    "minibatch": Parameter(kind="int", low=1),
    "hidden": Parameter(kind="ints", low=1, high=4_096),
    "warm_start": Parameter(kind="text"),
    "warm_start_steps": Parameter(kind="int", low=1_000),
    "replay_steps": Parameter(kind="int", low=1_000),
    "replay_ratio": Parameter(kind="float", is_open=True, is_mutable=True),
    "warm_up_steps": Parameter(kind="int"),
    "target_every_updates": Parameter(kind="int", low=1),
    "last_epsilon": Parameter(kind="float", high=1.0),
    "epsilon_fraction": Parameter(kind="float", high=1.0, is_open=True),
    "strayed_fraction": Parameter(kind="float", high=1.0),
    "episode_candles": Parameter(kind="int", low=1),
    "reward_scale": Parameter(kind="float", is_open=True),
    "first_cost_fraction": Parameter(kind="float", high=1.0),
    "ramp_fraction": Parameter(kind="float", high=1.0),
    "turnover_coefficient": Parameter(kind="float", is_mutable=True),
    "drawdown_coefficient": Parameter(kind="float", is_mutable=True),
    "levels": Parameter(kind="floats", low=-1.0, high=1.0),
    "leverage": Parameter(kind="int", low=1),
    "decision_threshold": Parameter(kind="float", high=1.0),
}
"""By name: fields of `TrainingSpec`, `TrainAsk`, and the threshold that decisions are scored with."""


SLOT = "member"
"""In the point of a population's member: which one it is."""


class Strict(BaseModel):
    """A part of a study's file: a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(Strict):
    """One of the values, each as likely."""

    kind: Literal["choice"]
    values: tuple[float | str | tuple[float, ...], ...] = Field(min_length=1)


class Grid(Strict):
    """Every value, in a grid search."""

    kind: Literal["grid"]
    values: tuple[float | str | tuple[float, ...], ...] = Field(min_length=1)


class Uniform(Strict):
    """Any number from `low` to below `high`."""

    kind: Literal["uniform"]
    low: float
    high: float

    @model_validator(mode="after")
    def _rises(self) -> "Uniform":
        return _rising(self, self.low, self.high)


class LogUniform(Strict):
    """Any number from `low` to below `high`, each factor as likely."""

    kind: Literal["loguniform"]
    low: float = Field(gt=0)
    high: float

    @model_validator(mode="after")
    def _rises(self) -> "LogUniform":
        return _rising(self, self.low, self.high)


class RandInt(Strict):
    """A whole number from `low` to below `high`."""

    kind: Literal["randint"]
    low: int
    high: int

    @model_validator(mode="after")
    def _rises(self) -> "RandInt":
        return _rising(self, self.low, self.high)


type Domain = Annotated[Choice | Grid | Uniform | LogUniform | RandInt, Field(discriminator="kind")]
type Space = Mapping[str, Domain]


def ends(domain: Choice | Grid | Uniform | LogUniform | RandInt) -> tuple[object, ...]:
    """The values that decide whether a domain fits its parameter."""
    match domain:
        case Choice() | Grid():
            return domain.values
        case RandInt():
            return (domain.low, domain.high - 1)
        case _:
            return (domain.low, domain.high)


def grid_points(space: Mapping[str, Grid | Choice]) -> list[Point]:
    """Every combination, the last parameter turning fastest."""
    columns = [
        [PARAMETERS[name].read(value) for value in domain.values] for name, domain in space.items()
    ]
    return [dict(zip(space, row, strict=True)) for row in itertools.product(*columns)]


def random_points(
    space: Mapping[str, Choice | Grid | Uniform | LogUniform | RandInt],
    count: int,
    rng: np.random.Generator,
) -> list[Point]:
    """`count` draws; the first ones are the same however many are asked for."""
    return [{name: draw(name, space[name], rng) for name in space} for _ in range(count)]


def draw(
    name: str,
    domain: Choice | Grid | Uniform | LogUniform | RandInt,
    rng: np.random.Generator,
) -> Value:
    """One value of a parameter."""
    match domain:
        case Choice() | Grid():
            value: object = domain.values[int(rng.integers(len(domain.values)))]
        case Uniform():
            value = float(rng.uniform(domain.low, domain.high))
        case LogUniform():
            value = exp(float(rng.uniform(log(domain.low), log(domain.high))))
        case RandInt():
            value = int(rng.integers(domain.low, domain.high))
    return PARAMETERS[name].read(value)


def kept_inside(
    point: Mapping[str, Value],
    space: Mapping[str, Choice | Grid | Uniform | LogUniform | RandInt],
) -> Point:
    """A mutated point with every number brought back into its range, whole where it must be."""
    return {name: _inside(name, value, space.get(name)) for name, value in point.items()}


def _inside(
    name: str, value: Value, domain: Choice | Grid | Uniform | LogUniform | RandInt | None
) -> Value:
    if domain is None or isinstance(domain, (Choice, Grid)):
        return value
    least, most = (float(cast("float", end)) for end in ends(domain))
    number = min(max(float(cast("float", value)), least), most)
    return PARAMETERS[name].read(round(number) if PARAMETERS[name].kind == "int" else number)


def _rising[T](domain: T, low: float, high: float) -> T:
    if not (isfinite(low) and isfinite(high)) or low >= high:
        raise ValueError(f"low was {low:g} and high {high:g}: give finite ends, low below high")
    return domain
