"""Which algorithm trains a policy, and with which numbers: everything that can be refused before a job begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, cast

from desk.errors import BadInput

PPO, DQN, BC = "ppo", "dqn", "bc"
ALGORITHMS = (PPO, DQN, BC)
RULE = "rule"
WARM_STARTS = ("", RULE)

_SHARED = ("hidden", "learning_rate", "lanes", "minibatch")
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    PPO: (
        *_SHARED,
        *("gamma", "steps_per_lane", "gae_lambda", "clip", "entropy_coefficient", "epochs"),
        *("warm_start", "warm_start_steps", "runners", "learners"),
    ),
    DQN: (
        *_SHARED,
        *("gamma", "steps_per_lane", "replay_steps", "replay_ratio", "warm_up_steps"),
        *("target_every_updates", "last_epsilon", "epsilon_fraction", "runners"),
    ),
    BC: (*_SHARED, "epochs", "strayed_fraction"),
}
"""By algorithm: what may be given beside `steps` and `seed`."""
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    PPO: {},
    DQN: {"steps_per_lane": 16, "minibatch": 512, "learning_rate": 3e-4},
    BC: {"steps": 200_000, "learning_rate": 1e-3, "minibatch": 512, "epochs": 10},
}
"""Where an algorithm's defaults are not those of `TrainingSpec`, which are PPO's."""

FIRST_COST_FRACTION = 0.1
"""Part of the real commission at the first step of a training, where nothing else is asked for."""
RAMP_FRACTION = 0.3
"""Part of a training after which costs are the real ones, where nothing else is asked for."""

MOST_LANES, MOST_WIDTH, MOST_LAYERS, MOST_ACTORS = 65_536, 4_096, 8, 256
MOST_STEPS, MOST_BATCH, MOST_REPLAY = 10_000_000_000, 16_777_216, 10_000_000
_WHOLE: Mapping[str, tuple[int, int]] = {
    "steps": (1, MOST_STEPS),
    "seed": (0, 2**31 - 1),
    "epochs": (1, 1_000),
    "lanes": (1, MOST_LANES),
    "steps_per_lane": (1, 1_000_000),
    "minibatch": (2, MOST_BATCH),
    "warm_start_steps": (1_000, 100_000_000),
    "runners": (0, MOST_ACTORS),
    "learners": (0, MOST_ACTORS),
    "replay_steps": (1_000, MOST_REPLAY),
    "warm_up_steps": (0, MOST_REPLAY),
    "target_every_updates": (1, 1_000_000),
}
_REAL: Mapping[str, tuple[float, float]] = {
    "learning_rate": (1e-9, 1.0),
    "gamma": (0.0, 1.0),
    "gae_lambda": (0.0, 1.0),
    "clip": (1e-6, 10.0),
    "entropy_coefficient": (0.0, 10.0),
    "replay_ratio": (1e-3, 1_000.0),
    "last_epsilon": (0.0, 1.0),
    "epsilon_fraction": (1e-6, 1.0),
    "strayed_fraction": (0.0, 1.0),
}
"""Least and most of every number, both included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """How a policy is trained. `steps` are environment steps over all lanes.

    Raises `BadInput` naming the first field that is out of its range, that does not fit another, or
    that another algorithm has.
    """

    algorithm: str = PPO
    """`ppo`, `dqn`, or `bc`: behaviour cloning of the trend rule."""
    steps: int = 1_000_000
    seed: int = 7
    hidden: tuple[int, ...] = (64, 64)
    learning_rate: float = 1e-3
    """At a third of it a million steps do not suffice to learn that noise is to be left alone."""
    gamma: float = 0.99
    """Discount per candle."""
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_coefficient: float = 0.01
    epochs: int = 4
    lanes: int = 256
    """Accounts side by side, per runner."""
    steps_per_lane: int = 64
    """Between two updates."""
    minibatch: int = 4096
    warm_start: str = ""
    """`rule`: the policy begins as a clone of the trend rule."""
    warm_start_steps: int = 100_000
    """Observations it is cloned from."""
    runners: int = 0
    """Ray actors that sample; 0: in the training's own process."""
    learners: int = 0
    """Ray actors that learn; 0: in the training's own process."""
    replay_steps: int = 200_000
    """Newest steps that are kept to learn from."""
    replay_ratio: float = 1.0
    """Steps learnt from per step sampled."""
    warm_up_steps: int = 10_000
    """Sampled before the first update."""
    target_every_updates: int = 100
    """Updates after which the target network is renewed."""
    last_epsilon: float = 0.05
    """Part of random actions at the end."""
    epsilon_fraction: float = 0.5
    """Part of the training over which random actions fall from all to the last part."""
    strayed_fraction: float = 0.1
    """Part of random actions while the rule is watched: a clone must know what to do off its path."""

    def __post_init__(self) -> None:
        _check_algorithm(self.algorithm)
        _check_foreign(self)
        _check_ranges(self)
        if self.algorithm == BC:
            if self.minibatch * 2 > self.steps:
                raise BadInput("minibatch", f"was {self.minibatch}, expected at most half of steps")
            return
        if self.batch > MOST_BATCH:
            raise BadInput(
                "steps_per_lane",
                f"was {self.steps_per_lane}: with {self.lanes} lanes and {self.runners} runners that is"
                f" {self.batch} steps per update, expected at most {MOST_BATCH}",
            )
        share = self.batch // max(self.learners, 1)
        if self.algorithm == PPO and self.minibatch > share:
            raise BadInput("minibatch", f"was {self.minibatch}, expected at most {share}")
        if self.algorithm == DQN:
            _check_replay(self)

    @property
    def batch(self) -> int:
        """Steps per update."""
        return self.lanes * self.steps_per_lane * max(self.runners, 1)

    @property
    def updates_per_batch(self) -> int:
        """DQN: minibatches learnt from after each batch was sampled."""
        return max(round(self.batch * self.replay_ratio / self.minibatch), 1)

    def as_hyperparameters(self) -> dict[str, Any]:
        """The numbers that count for the algorithm, as they go on the artifact's card."""
        names = ("algorithm", "steps", "seed", *PARAMETERS[self.algorithm])
        return {name: _plain(getattr(self, name)) for name in names}


def training_spec(
    algorithm: str = PPO,
    parameters: Mapping[str, Any] | None = None,
    *,
    steps: int | None = None,
    seed: int | None = None,
) -> TrainingSpec:
    """The spec of an algorithm: its own defaults, overridden by what is given.

    `parameters` come from outside: lists for tuples and whole floats for ints are taken. Raises
    `BadInput` naming an unknown algorithm or parameter, with those there are.
    """
    _check_algorithm(algorithm)
    given = dict(parameters or {})
    known = PARAMETERS[algorithm]
    for name in given:
        if name not in known:
            owners = [other for other in ALGORITHMS if name in PARAMETERS[other]]
            whose = f" (it is one of {', '.join(owners)})" if owners else ""
            raise BadInput(
                name,
                f"was given{whose}, expected a parameter of {algorithm}: {', '.join(sorted(known))}",
            )
    own = {name: value for name, value in (("steps", steps), ("seed", seed)) if value is not None}
    chosen: dict[str, Any] = {
        **DEFAULTS[algorithm],
        **own,
        **{name: _typed(name, given[name]) for name in given},
    }
    return TrainingSpec(algorithm=algorithm, **chosen)


def _check_algorithm(algorithm: str) -> None:
    if algorithm not in ALGORITHMS:
        raise BadInput("algorithm", f"was {algorithm!r}, expected one of {', '.join(ALGORITHMS)}")


def _check_foreign(spec: TrainingSpec) -> None:
    """A number that would be ignored is not taken."""
    own = {"algorithm", "steps", "seed", *PARAMETERS[spec.algorithm]}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name not in own and value != field.default:
            known = ", ".join(sorted(PARAMETERS[spec.algorithm]))
            raise BadInput(
                field.name, f"was {value!r}, but {spec.algorithm} has none; expected: {known}"
            )


def _check_ranges(spec: TrainingSpec) -> None:
    for name, (low, high) in (*_WHOLE.items(), *_REAL.items()):
        value = getattr(spec, name)
        if not isfinite(value) or not low <= value <= high:
            raise BadInput(name, f"was {value}, expected {low:g} to {high:g}")
    widths = spec.hidden
    if not 1 <= len(widths) <= MOST_LAYERS or not all(1 <= width <= MOST_WIDTH for width in widths):
        raise BadInput(
            "hidden", f"was {widths}, expected 1 to {MOST_LAYERS} widths of 1 to {MOST_WIDTH}"
        )
    if spec.warm_start not in WARM_STARTS:
        raise BadInput("warm_start", f"was {spec.warm_start!r}, expected {RULE!r} or nothing")


def _check_replay(spec: TrainingSpec) -> None:
    if spec.minibatch > spec.replay_steps:
        raise BadInput("minibatch", f"was {spec.minibatch}, expected at most {spec.replay_steps}")
    if spec.batch > spec.replay_steps:
        raise BadInput(
            "replay_steps",
            f"was {spec.replay_steps}, expected at least the {spec.batch} steps of one update",
        )
    if max(spec.warm_up_steps, spec.minibatch) > min(spec.replay_steps, spec.steps):
        raise BadInput(
            "warm_up_steps",
            f"was {spec.warm_up_steps}, expected less than replay_steps and steps: it would never learn",
        )


def _typed(name: str, value: Any) -> Any:
    """A value from JSON or a command line as the field has it."""
    if name == "hidden":
        return _widths(value)
    if name == "warm_start":
        if not isinstance(value, str):
            raise BadInput(name, f"was {value!r}, expected {RULE!r} or nothing")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(name, f"was {value!r}, expected a number")
    if name in _WHOLE:
        if not isfinite(value) or value != int(value):
            raise BadInput(name, f"was {value!r}, expected a whole number")
        return int(value)
    return float(value)


def _widths(value: Any) -> tuple[int, ...]:
    parts = cast("Sequence[Any]", value if isinstance(value, list | tuple) else [value])
    if any(isinstance(part, bool) or not isinstance(part, int) for part in parts):
        raise BadInput("hidden", f"was {value!r}, expected widths such as [64, 64]")
    return tuple(parts)


def _plain(value: Any) -> Any:
    return list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value
