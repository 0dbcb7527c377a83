"""The training environment: many accounts on one market, filled by the rules of `fills`.

An episode is a stretch of closed candles. The observation of candle t is its features and the sign
of the position; the action is a target for candle t + 1's open; the reward is the scaled log-growth
of equity from close to close, after fees, slippage and funding.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from desk.errors import BadInput
from desk.learning import kernel, kernel_exits
from desk.learning.arrays import MarketArrays, exit_rules
from desk.learning.observation import Observation
from desk.learning.policy import LEVELS
from desk.learning.reward import DEFAULT_SCALE, log_growth
from desk.market.candles import Ints
from desk.market.features import CLIP
from desk.trading.intents import NO_PROTECTION, Protection

type Actions = NDArray[np.int64]
type Flags = NDArray[np.bool_]
type Rewards = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSpec:
    """How an account starts and when its episode ends. Money in USDT."""

    cash: float = 10_000.0
    size_quote: float = 10_000.0
    """Notional that a target of 1 means. Equal to the cash, a position's growth is the account's."""
    length: int = 1_440
    """Steps until an episode is truncated; a stretch of candles without a hole may end it earlier."""
    ruin_fraction: float = 0.1
    """Equity at or below this part of the cash terminates."""
    reward_scale: float = DEFAULT_SCALE
    levels: tuple[float, ...] = LEVELS
    """Target of each action."""
    protection: Protection = NO_PROTECTION
    """Exits that every decided position gets, as fractions of the decided close."""
    leverage: int | None = None
    """Isolated margin: a position that loses it is liquidated and its episode terminated; None: never."""


class TradingVectorEnv(VectorEnv[Observation, Actions, Any]):
    """Independent accounts ("lanes") on one market, one compiled call per step.

    Observations float32[N, F + 1], actions int64[N] (indices of `levels`), rewards float64[N].
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
        self.arrays, self.episode = arrays, spec or EpisodeSpec()
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = _spaces(arrays, self.episode)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._copies = copies
        self._levels = np.array(self.episode.levels)
        self._episodes = _episodes(arrays, self.episode)
        self._exits = exit_rules(arrays, self.episode.protection, self.episode.leverage)
        self.lanes = _lanes(num_envs, arrays.features.shape[1])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        draws = self.np_random.integers(0, 2**63, self.num_envs)
        self.lanes.random[:] = draws.astype(np.uint64)
        arrays = self.arrays
        kernel.reset_lanes(arrays.features, self._episodes, self.lanes)
        return self._own(self.lanes.observation), {}

    def step(self, actions: Actions) -> tuple[Observation, Rewards, Flags, Flags, dict[str, Any]]:
        arrays, lanes = self.arrays, self.lanes
        chosen = np.ascontiguousarray(actions, dtype=np.int64)
        if chosen.shape != (self.num_envs,) or _is_outside(chosen, len(self._levels)):
            expected = f"{self.num_envs} numbers from 0 to {len(self._levels) - 1}"
            raise BadInput("actions", f"were {actions!r}, expected {expected}")
        kernel.step_lanes(
            arrays.columns,
            arrays.rules,
            self._exits,
            arrays.features,
            self._episodes,
            self._levels,
            lanes,
            chosen,
        )
        return (
            self._own(lanes.observation),
            log_growth(lanes.growth, self.episode.reward_scale),
            self._own(lanes.terminated),
            self._own(lanes.truncated),
            {},
        )

    def terms(self) -> dict[str, Rewards]:
        """What the last step's change of equity was made of, USDT per lane; they add up to it."""
        return {name: self.lanes.terms[:, n].copy() for n, name in enumerate(kernel.TERM_NAMES)}

    @property
    def has_exits(self) -> bool:
        """Whether positions have exits; then `lanes.desk` holds the fills of the lane settled last."""
        return self._exits.is_on

    def equity(self) -> Rewards:
        """Equity of each lane at its last close, float64[N]."""
        close = self.arrays.columns.close[self.lanes.row]
        value = self.lanes.held_lots * close * self.arrays.rules.quote_per_tick_lot
        return self.lanes.cash + value

    def _own[T: np.generic](self, values: NDArray[T]) -> NDArray[T]:
        return values.copy() if self._copies else values


class TradingEnv(gym.Env[Observation, np.int64]):
    """One account as a plain Gymnasium environment; `info` holds what the step's equity did."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, arrays: MarketArrays, spec: EpisodeSpec | None = None) -> None:
        self._lane = TradingVectorEnv(arrays, 1, spec)
        self.observation_space = cast(
            "spaces.Space[Observation]",
            self._lane.single_observation_space,  # pyright: ignore[reportUnknownMemberType]
        )
        self.action_space = cast("spaces.Space[np.int64]", self._lane.single_action_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        observation, _ = self._lane.reset(seed=int(self.np_random.integers(2**31)))
        return observation[0], self._info()

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = self._lane.step(np.array([action]))
        done = bool(terminated[0]), bool(truncated[0])
        return observation[0], float(reward[0]), *done, self._info()

    def _info(self) -> dict[str, Any]:
        terms = {name: float(values[0]) for name, values in self._lane.terms().items()}
        return terms | {"equity": float(self._lane.equity()[0])}


def _spaces(
    arrays: MarketArrays, spec: EpisodeSpec
) -> tuple[spaces.Box, "spaces.Discrete[np.int64]"]:
    seen = arrays.features[arrays.ready]
    if len(seen) and np.abs(seen).max() > CLIP:
        raise BadInput(
            "features", f"reached {np.abs(seen).max()}, expected at most {CLIP}: clip them"
        )
    high = np.full(arrays.features.shape[1] + 1, CLIP, dtype=np.float32)
    high[-1] = 1.0
    return spaces.Box(-high, high, dtype=np.float32), spaces.Discrete(len(spec.levels))


def _episodes(arrays: MarketArrays, spec: EpisodeSpec) -> kernel.Episodes:
    segment_end = _segment_ends(arrays.ready)
    rows = np.arange(len(arrays))
    # An episode that could not last a quarter of its length would teach its own end.
    least = max(spec.length // 4, 1)
    starts = np.flatnonzero(segment_end - rows >= least)
    if not len(starts):
        problem = f"{int(arrays.ready.sum())} of {len(arrays)} candles had features"
        raise BadInput("candles", f"{problem}, expected a run of {least + 1} without a hole")
    return kernel.Episodes(
        starts=starts.astype(np.int64),
        segment_end=segment_end,
        length=spec.length,
        cash=spec.cash,
        size_quote=spec.size_quote,
        ruin_equity=spec.cash * spec.ruin_fraction,
    )


def _segment_ends(ready: Flags) -> Ints:
    """Last row of the run of ready rows that each row belongs to; -1 for a row that is not ready."""
    rows = np.arange(len(ready))
    ends = np.where(ready & ~np.append(ready[1:], False), rows, len(ready))
    end = np.minimum.accumulate(ends[::-1])[::-1]
    return np.where(ready, end, -1).astype(np.int64)


def _lanes(count: int, size: int) -> kernel.Lanes:
    return kernel.Lanes(
        row=np.zeros(count, dtype=np.int64),
        last_row=np.zeros(count, dtype=np.int64),
        held_lots=np.zeros(count, dtype=np.int64),
        cash=np.zeros(count),
        is_done=np.zeros(count, dtype=np.bool_),
        random=np.zeros(count, dtype=np.uint64),
        observation=np.zeros((count, size + 1), dtype=np.float32),
        growth=np.ones(count),
        terminated=np.zeros(count, dtype=np.bool_),
        truncated=np.zeros(count, dtype=np.bool_),
        terms=np.zeros((count, len(kernel.TERM_NAMES))),
        traded=np.zeros(count),
        books=np.zeros((count, kernel_exits.BOOK_COLUMNS), dtype=np.int64),
        desk=kernel_exits.new_account(0.0),
    )


def _is_outside(actions: Actions, count: int) -> bool:
    return bool((actions < 0).any() or (actions >= count).any())
