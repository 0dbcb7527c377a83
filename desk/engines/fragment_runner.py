"""RLlib's runner of single-agent environments, sampling whole fragments over a vector environment.

The stock runner walks every lane of every step in Python. This one asks the module once per step for
all lanes, keeps arrays, turns them lane-major once and cuts them into episodes that are views. Learner,
metrics, checkpoints and Tune see what the stock runner gives, in the same order: same seed and weights,
same columns (tests/learning/test_fragment_runner.py). Two differences: episodes carry no lookback of an
earlier fragment, which only connectors refused here read; and `episode_return_mean` repeats its last
value while no episode ends, where the stock runner has none.

Importing this module imports RLlib and torch.
"""

# RLlib's classes are partly untyped, so nothing that they return has a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false, reportIncompatibleMethodOverride=false

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, override

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.module_to_env import GetActions
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.utils import force_list
from ray.rllib.utils.metrics import (
    ENV_STEP_TIMER,
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MEAN,
    RLMODULE_INFERENCE_TIMER,
    WEIGHTS_SEQ_NO,
)
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.spaces.space_utils import get_base_struct_from_space

from desk.engines.fragments import Fragment, Lanes, Piece
from desk.errors import BadInput

ENV_TO_MODULE = (
    "AddObservationsFromEpisodesToBatch",
    "AddTimeDimToBatchAndZeroPad",
    "AddStatesFromEpisodesToBatch",
    "BatchIndividualItems",
    "NumpyToTensor",
)
"""RLlib's default connectors before a stateless module: together they make a tensor of observations."""
MODULE_TO_ENV = (
    "GetActions",
    "TensorToNumpy",
    "UnBatchToIndividualItems",
    "RemoveSingleTsTimeRankFromBatch",
    "NormalizeAndClipActions",
    "ListifyDataForVectorEnv",
)
"""The default ones behind it: with discrete actions they sample, and make arrays of tensors."""
REWARD_SPACE = Box(float("-inf"), float("inf"), (), np.float32)
"""RLlib's own, whatever the type of the rewards."""
REWARD_TERMS = "reward_terms"
"""Mean per step of the last fragment, by the names of the environment's `reward_terms`, in its unit."""
EPISODE_CALLBACKS = (
    "on_episode_created",
    "on_episode_start",
    "on_episode_step",
    "on_episode_end",
)


@dataclass(frozen=True, slots=True)
class _Ongoing:
    """What a lane's unfinished episode had before the next fragment."""

    name: str
    began_s: float
    steps: int = 0
    reward: float = 0.0


@dataclass(frozen=True, slots=True)
class _Finished:
    """What is reported of an episode that ended."""

    steps: int
    reward: float
    seconds: float


class ArrayView(InfiniteLookbackBuffer):
    """A buffer over an array that is turned already.

    The stock class works out its space's structure two or three times per buffer and walks a tree for
    every length, which would take a third of a fragment's time.
    """

    def __init__(self, data: Any, space: Any = None, struct: Any = None) -> None:
        self.data, self.lookback, self.finalized = data, 0, True
        self._space, self._space_struct = space, struct

    @property
    def space(self) -> Any:
        return self._space

    @space.setter
    def space(self, value: Any) -> None:
        if value is not self._space:
            self._space, self._space_struct = value, get_base_struct_from_space(value)

    def __len__(self) -> int:
        return len(self.data) - self.lookback


class FragmentEpisode(SingleAgentEpisode):
    """An episode cut out of a fragment, whose lengths agree by construction."""

    __slots__ = ()

    @override
    def validate(self) -> None:
        """Nothing: counting every buffer again costs more than making the episode."""


class FragmentEnvRunner(SingleAgentEnvRunner):
    """Takes `NEXT_STEP` vector environments with a `Box` seen, `Discrete` actions and empty infos.

    Raises `BadInput` on construction for what it would have to ignore: connectors of one's own between
    environment and module, stateful modules, callbacks per episode. A request for a number of episodes
    (evaluations, `complete_episodes`) is sampled by the stock runner.
    """

    config: Any
    env: Any
    module: Any

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        torch.set_num_threads(1)  # a remote runner is a process of its own
        super().__init__(config=config, **kwargs)
        refuse_what_it_would_ignore(self)
        self._sampling = GetActions()
        self._prefix, self._names = uuid.uuid4().hex, count()
        self._fragment: Fragment | None = None
        self._ongoing_lanes: list[_Ongoing] = []
        self._seen_space: tuple[Any, Any] = (None, None)
        self._action_space: tuple[Any, Any] = (None, None)
        """Each with the structure that RLlib makes of it."""
        self._last_means: tuple[float, float] | None = None
        """Mean length and return of the episodes that ended last."""
        self._terms: dict[str, float] = {}
        """What the fragment's rewards are made of, summed over its steps."""

    @override
    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[SingleAgentEpisode]:
        if num_timesteps is None:
            return super()._sample(
                num_episodes=num_episodes, explore=explore, random_actions=random_actions
            )
        fragment = self._next_fragment(force_reset=force_reset)
        if self.module is not None:
            self.module.eval()  # once: a module in training is switched twice at every call
        with torch.no_grad():
            while fragment.steps < num_timesteps:
                self._advance(fragment, explore=explore, random_actions=random_actions)
        self._fragment = fragment
        if not fragment.length:
            return []
        episodes, finished = self._cut(fragment)
        self._report(fragment, finished)
        return episodes

    def _next_fragment(self, *, force_reset: bool) -> Fragment:
        before = self._fragment
        if before is not None and not (force_reset or self._needs_initial_reset):
            return Fragment(before.last, before.was_done)
        seed = self._seed if self._needs_initial_reset else None
        observations, _ = self._try_env_reset(seed=seed)
        self._needs_initial_reset = False
        self._seen_space, self._action_space = (
            (space, get_base_struct_from_space(space))
            for space in (self.env.single_observation_space, self.env.single_action_space)
        )
        now_s = time.perf_counter()
        self._ongoing_lanes = [_Ongoing(self._new_name(), now_s) for _ in range(self.num_envs)]
        return Fragment(observations.copy(), np.zeros(self.num_envs, dtype=np.bool_))

    def sampling_state(self) -> dict[str, Any]:
        """Where sampling stands, for `restore_sampling` of a runner with as many lanes."""
        fragment = self._fragment
        if fragment is None:
            raise RuntimeError("nothing was sampled yet: there is no state to keep")
        return {
            "last": fragment.last.copy(),
            "was_done": fragment.was_done.copy(),
            "steps": np.array([one.steps for one in self._ongoing_lanes], dtype=np.int64),
            "reward": np.array([one.reward for one in self._ongoing_lanes], dtype=np.float64),
            "means": None if self._last_means is None else list(self._last_means),
        }

    def restore_sampling(self, state: dict[str, Any]) -> None:
        """Go on after the steps that another runner took; episodes go on under new names."""
        self._seen_space, self._action_space = (
            (space, get_base_struct_from_space(space))
            for space in (self.env.single_observation_space, self.env.single_action_space)
        )
        self._fragment = Fragment(state["last"], state["was_done"])
        now_s, sums = time.perf_counter(), (state["steps"].tolist(), state["reward"].tolist())
        self._ongoing_lanes = [
            _Ongoing(self._new_name(), now_s, steps, reward)
            for steps, reward in zip(*sums, strict=True)
        ]
        self._last_means = None if state["means"] is None else tuple(state["means"])
        self._needs_initial_reset = False

    def _new_name(self) -> str:
        return f"{self._prefix}-{next(self._names)}"

    def _advance(self, fragment: Fragment, *, explore: bool, random_actions: bool) -> None:
        outputs: dict[str, Any] = {}
        if random_actions:
            actions = self.env.action_space.sample()
        else:
            with self.metrics.log_time(RLMODULE_INFERENCE_TIMER):
                outputs = self._forward(fragment, explore=explore)
            actions = outputs.pop(Columns.ACTIONS)
        with self.metrics.log_time(ENV_STEP_TIMER):
            # Behind the wrapper that makes one dict per lane of the infos.
            observations, rewards, terminated, truncated, infos = self.env.env.step(actions)
        if infos:
            problem = f"had {sorted(infos)}, expected none: episodes do not keep them"
            raise BadInput("infos", problem)
        self._add_terms()
        fragment.add(
            actions=actions,
            outputs=outputs,
            observations=observations,
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
            at_s=time.perf_counter(),
        )

    def _add_terms(self) -> None:
        """An environment that says what its rewards are made of is asked after every step."""
        terms = getattr(self.env.env, "reward_terms", None)
        if terms is not None:
            for name, values in terms().items():
                self._terms[name] = self._terms.get(name, 0.0) + float(values.sum())

    def _forward(self, fragment: Fragment, *, explore: bool) -> dict[str, Any]:
        seen = {Columns.OBS: torch.from_numpy(fragment.last)}
        if explore:
            # What schedules of exploration are given by the stock runner.
            runners = self.config.num_env_runners or 1
            lifetime = self.num_env_steps_sampled_lifetime // runners + fragment.steps
            outputs = self.module.forward_exploration(seen, t=lifetime * runners)
        else:
            outputs = self.module.forward_inference(seen)
        nobody: Any = [None]  # the piece looks at the first episode's class, no further
        outputs = self._sampling(
            rl_module=self.module, batch=outputs, episodes=nobody, explore=explore
        )
        return {name: convert_to_numpy(values) for name, values in outputs.items()}

    def _cut(self, fragment: Fragment) -> tuple[list[SingleAgentEpisode], list[_Finished]]:
        lanes, at_s = fragment.lanes(), fragment.at_s
        episodes: list[SingleAgentEpisode] = []
        finished: list[_Finished] = []
        after: dict[int, _Ongoing] = {
            lane: _Ongoing(self._new_name(), at_s[-1]) for lane in lanes.just_reset
        }
        serial = np.full(fragment.length, self._weights_seq_no)
        for piece in lanes.pieces:
            before = (
                self._ongoing_lanes[piece.lane]
                if piece.continues
                else _Ongoing(self._new_name(), at_s[piece.first - 1])
            )
            episodes.append(self._episode(lanes, piece, before, serial))
            steps, reward = before.steps + len(piece), before.reward + piece.reward
            if piece.is_done:
                seconds = at_s[piece.end - 1] - before.began_s
                finished.append(_Finished(steps, reward, seconds))
            else:
                after[piece.lane] = _Ongoing(before.name, before.began_s, steps, reward)
        for lane, ongoing in after.items():
            self._ongoing_lanes[lane] = ongoing
        return episodes, finished

    def _episode(
        self, lanes: Lanes, piece: Piece, before: _Ongoing, serial: NDArray[np.int64]
    ) -> SingleAgentEpisode:
        lane, steps = piece.lane, slice(piece.first, piece.end)
        seen = lanes.observations[lane, piece.first : piece.end + 1]
        outputs = {name: values[lane, steps] for name, values in lanes.outputs.items()}
        outputs[WEIGHTS_SEQ_NO] = serial[steps]
        return FragmentEpisode(
            before.name,
            observations=ArrayView(seen, *self._seen_space),
            observation_space=self._seen_space[0],
            infos=InfiniteLookbackBuffer([{}] * len(seen)),
            actions=ArrayView(lanes.actions[lane, steps], *self._action_space),
            action_space=self._action_space[0],
            rewards=ArrayView(lanes.rewards[lane, steps], REWARD_SPACE, REWARD_SPACE),
            terminated=piece.terminated,
            truncated=piece.truncated,
            extra_model_outputs={name: ArrayView(values) for name, values in outputs.items()},
            t_started=before.steps,
            len_lookback_buffer=0,
        )

    def _report(self, fragment: Fragment, finished: Sequence[_Finished]) -> None:
        """Tell RLlib's counters, as the stock runner does at the end of a sample."""
        self._log_env_steps(metric=self._metrics_num_try_env_step, num_steps=fragment.length)
        self._log_env_steps(metric=self._metrics_num_env_steps_sampled, num_steps=fragment.steps)
        self._increase_sampled_metrics(fragment.steps, len(finished))
        for name, total in self._terms.items():
            self.metrics.log_value((REWARD_TERMS, name), total / max(fragment.steps, 1), window=1)
        self._terms = {}
        # Windows forget what is older; logging costs more than an episode's steps.
        window = int(self.config.metrics_num_episodes_for_smoothing)
        for one in finished[-window:]:
            self._log_episode_metrics(one.steps, one.reward, one.seconds)
        if finished:
            recent = finished[-window:]
            self._last_means = (
                float(np.mean([one.steps for one in recent])),
                float(np.mean([one.reward for one in recent])),
            )
        elif self._last_means is not None:
            length, reward = self._last_means
            self.metrics.log_value(EPISODE_LEN_MEAN, length, window=1)
            self.metrics.log_value(EPISODE_RETURN_MEAN, reward, window=1)


def refuse_what_it_would_ignore(runner: Any) -> None:
    """Raise `BadInput` for a runner whose parts between environment and module are not the default."""
    config = runner.config
    _refuse_connectors("env_to_module_connector", runner._env_to_module, ENV_TO_MODULE)
    _refuse_connectors("module_to_env_connector", runner._module_to_env, MODULE_TO_ENV)
    if runner.module is not None and runner.module.is_stateful():
        problem = "was stateful, expected one without memory: fragments carry no states"
        raise BadInput("rl_module", problem)
    for name in EPISODE_CALLBACKS:
        is_inherited = all(
            getattr(kind, name) is getattr(RLlibCallback, name)
            for kind in force_list(config.callbacks_class)
        )
        if getattr(config, f"callbacks_{name}") is not None or not is_inherited:
            problem = "was set, expected none per episode: use on_sample_end, it has all episodes"
            raise BadInput(name, problem)
    if not config.episodes_to_numpy:
        raise BadInput("episodes_to_numpy", "was False, expected True: fragments are arrays")
    if config.restart_failed_sub_environments:
        problem = "was True, expected False: an environment's error ends the sampling"
        raise BadInput("restart_failed_sub_environments", problem)
    if runner.env is not None:
        _refuse_environment(runner.env)


def _refuse_connectors(field: str, pipeline: Any, expected: tuple[str, ...]) -> None:
    found = tuple(type(piece).__name__ for piece in pipeline.connectors)
    if found != expected:
        problem = (
            f"made {', '.join(found)}, expected RLlib's defaults: normalise in the feature set, which"
            " live trading reads as well"
        )
        raise BadInput(field, problem)


def _refuse_environment(env: Any) -> None:
    mode = env.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.NEXT_STEP:
        raise BadInput("autoreset_mode", f"was {mode}, expected NEXT_STEP")
    seen, actions = env.single_observation_space, env.single_action_space
    if not isinstance(seen, Box) or seen.dtype != np.float32:
        raise BadInput("observation_space", f"was {seen}, expected a Box of float32")
    if not isinstance(actions, Discrete):
        raise BadInput("action_space", f"was {actions}, expected Discrete")
