"""The training environment: many accounts on one market, filled by the rules of `fills`.

An episode is a stretch of closed candles. The observation of candle t is its features and the sign
of the position; the action is a target for candle t + 1's open; the reward is the scaled log-growth
of equity from close to close, after fees, slippage and funding.
"""

from collections.abc import Callable
from sys import getrefcount
from typing import Any, ClassVar, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from desk.errors import BadInput
from desk.learning import kernel, kernel_exits
from desk.learning.arrays import ExitRules, MarketArrays, exit_rules
from desk.learning.episode import EpisodeSpec, check_episode, stretches
from desk.learning.observation import Observation
from desk.learning.reward import Drawdown, RewardTerms
from desk.market.candles import Floats
from desk.market.features import CLIP

type Actions = NDArray[np.int64] | NDArray[np.floating]
type Flags = NDArray[np.bool_]
type Rewards = NDArray[np.float64]


class TradingVectorEnv(VectorEnv[Observation, Actions, Any]):
    """Independent accounts ("lanes") on one market, one compiled call per step.

    Observations float32[N, F + 1], actions int64[N] (indices of `levels`) or, where the spec is
    continuous, float32[N, 1] (targets), rewards float64[N].
    Autoreset `NEXT_STEP`: the step after an episode's end ignores that lane's action, answers
    reward 0 and the first observation of a new episode, which starts at a random row.
    `reset(seed)` makes everything that follows repeatable, lane by lane.
    """

    metadata: ClassVar[dict[str, Any]] = {  # pyright: ignore[reportIncompatibleVariableOverride]
        "autoreset_mode": AutoresetMode.NEXT_STEP,
        "render_modes": [],
    }

    def __init__(
        self,
        arrays: MarketArrays,
        num_envs: int = 1,
        spec: EpisodeSpec | None = None,
        *,
        copies: bool = True,
    ) -> None:
        """`copies=False` hands out the same buffers every step, to be read before the next one."""
        spec = spec or EpisodeSpec()
        self.arrays, self.episode, self.num_envs = arrays, spec, num_envs
        check_episode(arrays, spec)
        self.single_observation_space, self.single_action_space = _spaces(arrays, self.episode)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._copies = copies
        self._step: Callable[..., bool] | None = None
        self._levels = np.array(self.episode.levels)
        self._each = np.arange(num_envs)
        self._rows = arrays.rows
        self._episodes = _episodes(arrays, self.episode)
        self.lanes = _lanes(num_envs, arrays.features.shape[1])
        rules = exit_rules(arrays, self.episode.protection, self.episode.leverage)
        self.exits = _exits(arrays, rules, num_envs) if rules.is_on else None
        self._dues = arrays.columns.dues()
        self._kept = list[kernel.Lanes]()
        self._is_shaped = any((spec.turnover_coefficient, spec.drawdown_coefficient))
        self._drawdown, self._nothing = Drawdown(num_envs), np.zeros(num_envs)
        self._shaping = self._nothing, self._nothing

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        draws = self.np_random.integers(0, 2**63, self.num_envs)
        self.lanes.random[:] = draws.astype(np.uint64)
        self._hand_out()
        kernel.reset_lanes(self._rows, self._episodes, self.lanes, self.exits)
        self.lanes.reward[:] = 0.0
        self._shaping = self._nothing, self._nothing
        self._drawdown.begin(self.equity(), np.ones(self.num_envs, dtype=np.bool_))
        return self.lanes.observation, {}

    def step(self, actions: Actions) -> tuple[Observation, Rewards, Flags, Flags, dict[str, Any]]:
        lanes = self._hand_out()
        is_new = lanes.is_done.copy() if self._is_shaped else None
        levels, chosen = self._levels, actions
        if self.episode.is_continuous:
            levels, chosen = _targets(actions, self.num_envs), self._each
        chosen = np.ascontiguousarray(chosen, dtype=np.int64)
        # The rules are asked for anew: those of a ramp rise.
        market = self._rows, self._dues, self.arrays.rules
        given = *market, self._episodes, self.exits, levels, lanes, chosen
        if self._step is None:
            self._step = kernel.step_for(*given)
        if chosen.shape != (self.num_envs,) or not self._step(*given):
            expected = f"{self.num_envs} numbers from 0 to {len(levels) - 1}"
            raise BadInput("actions", f"were {actions!r}, expected {expected}")
        reward = lanes.reward if is_new is None else self._shaped(is_new)
        return lanes.observation, reward, lanes.terminated, lanes.truncated, {}

    def _shaped(self, is_new: Flags) -> Rewards:
        spec, lanes, equity = self.episode, self.lanes, self.equity()
        self._drawdown.begin(equity, is_new)
        turnover = lanes.traded * (-spec.reward_scale * spec.turnover_coefficient / spec.cash)
        deepened = self._drawdown.deepened(equity)
        self._shaping = turnover, deepened * (-spec.reward_scale * spec.drawdown_coefficient)
        return self._reward().total

    def _reward(self) -> RewardTerms:
        turnover, drawdown = self._shaping
        return RewardTerms(growth=self.lanes.reward, turnover=turnover, drawdown=drawdown)

    def terms(self) -> dict[str, Rewards]:
        """What the last step's change of equity was made of, USDT per lane; they add up to it."""
        return {name: self.lanes.terms[n].copy() for n, name in enumerate(kernel.TERM_NAMES)}

    def reward_terms(self) -> dict[str, Rewards]:
        """What the last step's reward was made of, in its unit, per lane; they add up to it."""
        return {name: values.copy() for name, values in self._reward()._asdict().items()}

    def equity(self) -> Rewards:
        """Equity of each lane at its last close, float64[N]."""
        lanes = self.lanes
        return lanes.cash + lanes.held_lots * lanes.close * self.arrays.rules.quote_per_tick_lot

    def get_state(self) -> dict[str, Any]:
        """All that the next steps depend on beside the market and the spec: arrays, numbers and texts."""
        return {
            "lanes": {name: values.copy() for name, values in self.lanes._asdict().items()},
            "exits": {name: values.copy() for name, values in self._written().items()},
            "drawdown": self._drawdown.get_state(),
            "generator": self.np_random.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from where `get_state` was called, on the same market and spec; the bytes of what
        follows are the same. Raises `BadInput` for a state of other lanes."""
        lanes: dict[str, NDArray[Any]] = state["lanes"]
        if lanes["row"].shape != (self.num_envs,):
            found = len(lanes["row"])
            raise BadInput("state", f"was of {found} lanes, expected {self.num_envs}")
        # Copies: what came through Ray's object store may only be read, and compiled code writes.
        self.lanes = self.lanes._replace(**_copied(lanes))
        for name, values in self._written().items():
            values[:] = state["exits"][name]
        self._kept.clear()  # they go on from other lanes
        self._drawdown.set_state(state["drawdown"])
        self.np_random = np.random.default_rng()
        self.np_random.bit_generator.state = state["generator"]

    def __getstate__(self) -> dict[str, Any]:
        """Compiled code stays in its process."""
        return self.__dict__ | {"_step": None}

    def _written(self) -> dict[str, NDArray[Any]]:
        """What steps write of the exits."""
        if self.exits is None:
            return {}
        exits, desk = self.exits._asdict(), self.exits.desk._asdict()
        return {name: exits[name] for name in ("books", "liquidated")} | desk

    def _hand_out(self) -> kernel.Lanes:
        """The lanes with outputs that nobody holds: filled anew in place, and never copied.

        Memory that is new to the process costs a step as much as the step itself.
        """
        if self._copies:
            for kept in self._kept:
                if _is_free(kept):
                    self.lanes = kept
                    break
            else:
                self.lanes = self._anew()
        return self.lanes

    def _anew(self) -> kernel.Lanes:
        lanes = self.lanes._replace(
            observation=np.empty_like(self.lanes.observation),
            reward=np.empty_like(self.lanes.reward),
            terminated=np.empty_like(self.lanes.terminated),
            truncated=np.empty_like(self.lanes.truncated),
        )
        if len(self._kept) < _MOST_KEPT:
            self._kept.append(lanes)
        return lanes


def _copied(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.array(values) for name, values in arrays.items()}


def _is_free(lanes: kernel.Lanes) -> bool:
    """Whether nobody else holds any of its outputs: views of one and tensors on it count too."""
    return (
        getrefcount(lanes.observation)
        == getrefcount(lanes.reward)
        == getrefcount(lanes.terminated)
        == getrefcount(lanes.truncated)
        == _ONLY_HERE
    )


_MOST_KEPT = 4
_ONLY_HERE = 2
"""References: the tuple's and the question's own."""


type Action = np.int64 | NDArray[np.floating]


class TradingEnv(gym.Env[Observation, Action]):
    """One account as a plain Gymnasium environment; `info` holds what the step's equity did, in USDT,
    and under `reward_…` what its reward is made of."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, arrays: MarketArrays, spec: EpisodeSpec | None = None) -> None:
        self._lane = TradingVectorEnv(arrays, 1, spec)
        self.observation_space = cast(
            "spaces.Space[Observation]",
            self._lane.single_observation_space,  # pyright: ignore[reportUnknownMemberType]
        )
        self.action_space = cast("spaces.Space[Action]", self._lane.single_action_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        observation, _ = self._lane.reset(seed=int(self.np_random.integers(2**31)))
        return observation[0], self._info()

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = self._lane.step(
            cast("Actions", np.asarray(action)[None])
        )
        done = bool(terminated[0]), bool(truncated[0])
        return observation[0], float(reward[0]), *done, self._info()

    def _info(self) -> dict[str, Any]:
        terms = {name: float(values[0]) for name, values in self._lane.terms().items()}
        parts = self._lane.reward_terms().items()
        reward = {f"reward_{name}": float(values[0]) for name, values in parts}
        return terms | reward | {"equity": float(self._lane.equity()[0])}


def _spaces(
    arrays: MarketArrays, spec: EpisodeSpec
) -> tuple[spaces.Box, "spaces.Discrete[np.int64] | spaces.Box"]:
    high = np.full(arrays.features.shape[1] + 1, CLIP, dtype=np.float32)
    high[-1] = 1.0
    observed = spaces.Box(-high, high, dtype=np.float32)
    if spec.is_continuous:
        return observed, spaces.Box(-1.0, 1.0, shape=(1,), dtype=np.float32)
    return observed, spaces.Discrete(len(spec.levels))


def _targets(actions: Actions, lanes: int) -> Floats:
    """Continuous actions float[N, 1] as targets float64[N]."""
    targets = np.asarray(actions, dtype=np.float64)
    if targets.shape != (lanes, 1) or not (np.abs(targets) <= 1.0).all():
        raise BadInput(
            "actions", f"were {actions!r}, expected {lanes} rows of a number from -1 to 1"
        )
    return targets[:, 0].copy()


def _episodes(arrays: MarketArrays, spec: EpisodeSpec) -> kernel.Episodes:
    starts, segment_end = stretches(arrays, spec)
    return kernel.Episodes(
        starts=starts,
        segment_end=segment_end,
        length=spec.length,
        cash=spec.cash,
        size_quote=spec.size_quote,
        ruin_equity=spec.cash * spec.ruin_fraction,
        reward_scale=spec.reward_scale,
    )


def _lanes(count: int, size: int) -> kernel.Lanes:
    return kernel.Lanes(
        row=np.zeros(count, dtype=np.int64),
        last_row=np.zeros(count, dtype=np.int64),
        held_lots=np.zeros(count),
        cash=np.zeros(count),
        close=np.zeros(count),
        is_done=np.zeros(count, dtype=np.bool_),
        random=np.zeros(count, dtype=np.uint64),
        observation=np.zeros((count, size + 1), dtype=np.float32),
        growth=np.ones(count),
        reward=np.zeros(count),
        terminated=np.zeros(count, dtype=np.bool_),
        truncated=np.zeros(count, dtype=np.bool_),
        terms=np.zeros((len(kernel.TERM_NAMES), count)),
        traded=np.zeros(count),
    )


def _exits(arrays: MarketArrays, rules: ExitRules, count: int) -> kernel.Exits:
    return kernel.Exits(
        columns=arrays.columns,
        rules=rules,
        books=np.zeros((count, kernel_exits.BOOK_COLUMNS), dtype=np.int64),
        due_lanes=np.zeros(count, dtype=np.int64),
        due_state=np.zeros((count, 3)),
        liquidated=np.zeros(count, dtype=np.bool_),
        desk=kernel_exits.new_account(0.0, len(arrays.columns.due_mark)),
    )
