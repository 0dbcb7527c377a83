"""Sampling whole fragments gives what RLlib's own runner gives: episodes, columns and counters."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.replay_buffers.episode_replay_buffer import EpisodeReplayBuffer
from ray.tune import registry

from desk.engines.fragment_learner import FragmentPPOLearner
from desk.engines.fragment_runner import FragmentEnvRunner
from desk.engines.rllib import RLLIB_ENV
from desk.errors import BadInput
from tests.learning.vector_env import Stops

# Building a configuration without Ray makes RLlib complain of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LANES, STEPS = 8, 16
BOTH = (SingleAgentEnvRunner, FragmentEnvRunner)
TIMED = ("timer", "connector", "sample", "duration", "env_to_module", "time_between")


def configured(
    runner: type[SingleAgentEnvRunner], *, odds: float = 0.1, base: type[Any] = PPOConfig
) -> Any:
    """A configuration of `Stops` lanes, without Ray."""
    one, untyped = Stops(1), registry
    untyped.register_env("stops", lambda context: Stops(context["num_envs"], odds))
    config: Any = base()
    config.environment(
        "stops",
        observation_space=one.single_observation_space,
        action_space=one.single_action_space,
    )
    config.env_runners(
        env_runner_cls=runner,
        num_env_runners=0,
        num_envs_per_env_runner=LANES,
        rollout_fragment_length=STEPS,
        gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT,
    )
    config.learners(num_learners=0, num_gpus_per_learner=0)
    config.training(train_batch_size_per_learner=LANES * STEPS)
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8]))
    config.debugging(seed=3, log_level="ERROR")
    return config


def built(config: Any) -> Any:
    gym.registry.pop(RLLIB_ENV, None)
    runner = config.env_runner_cls(config=config, worker_index=0)
    torch.manual_seed(11)  # building draws weights; what follows is only sampling
    return runner


def read(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Counters and means by name, without what measures time."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if any(word in name for word in TIMED):
            continue
        if isinstance(value, dict):
            found |= read(value, f"{prefix}{name}/")
        else:
            found[prefix + name] = value.peek()
    return found


def assert_same_episode(ours: SingleAgentEpisode, stock: SingleAgentEpisode) -> None:
    for episode in (ours, stock):
        SingleAgentEpisode.validate(episode)
        assert episode.is_numpy
    assert (ours.t_started, ours.t) == (stock.t_started, stock.t)
    assert (ours.is_terminated, ours.is_truncated) == (stock.is_terminated, stock.is_truncated)
    assert ours.get_infos() == stock.get_infos()
    columns = [
        (ours.get_observations(), stock.get_observations()),
        (ours.get_actions(), stock.get_actions()),
        (ours.get_rewards(), stock.get_rewards()),
    ]
    for name in ("observations", "actions", "rewards"):
        mine, theirs = getattr(ours, name), getattr(stock, name)
        assert (mine.space, mine.space_struct) == (theirs.space, theirs.space_struct)
    assert list(ours.extra_model_outputs) == list(stock.extra_model_outputs)
    columns += [
        (ours.get_extra_model_outputs(name), stock.get_extra_model_outputs(name))
        for name in stock.extra_model_outputs
    ]
    for mine, theirs in columns:
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def assert_names_chain_alike(ours: list[list[Any]], stock: list[list[Any]]) -> None:
    """A later chunk of an episode has its earlier chunks' id, and nobody else has it."""
    names: dict[str, str] = {}
    for mine, theirs in zip(ours, stock, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert names.setdefault(other.id_, one.id_) == one.id_
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("odds", [0.0, 0.03, 0.3, 1.0])
def test_episodes_and_counters_are_those_of_the_stock_runner(odds: float) -> None:
    sampled: list[list[list[Any]]] = []
    counted: list[list[dict[str, float]]] = []
    for kind in BOTH:
        runner = built(configured(kind, odds=odds))
        sampled.append([])
        counted.append([])
        for _ in range(4):
            sampled[-1].append(runner.sample())
            counted[-1].append(read(runner.get_metrics()))

    stock, ours = sampled
    assert_names_chain_alike(ours, stock)
    for mine, theirs in zip(ours, stock, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert_same_episode(one, other)
    for mine_counted, theirs_counted in zip(counted[1], counted[0], strict=True):
        if theirs_counted["num_episodes"]:
            assert mine_counted.keys() == theirs_counted.keys()
        for name, value in theirs_counted.items():
            assert mine_counted[name] == pytest.approx(value, rel=1e-12, nan_ok=True), name
    if 0.0 < odds < 0.1:  # the case that matters: both kinds of episode were there
        starts = [episode.t_started for episodes in ours for episode in episodes]
        assert any(starts)
        assert any(
            episode.is_done and not episode.t_started for episodes in ours for episode in episodes
        )


def test_every_column_after_the_learners_connectors_is_the_same() -> None:
    batches: list[list[Any]] = []
    dropping: list[Any] = []
    for kind in BOTH:
        config = configured(kind, odds=0.1)
        if kind is FragmentEnvRunner:
            config.learners(learner_class=FragmentPPOLearner)
        runner = built(config)
        learner = config.build_learner(spaces=runner.get_spaces())
        if kind is FragmentEnvRunner:
            dropping.append(learner._learner_connector.connectors.pop())
        torch.manual_seed(5)
        for weights in learner.module["default_policy"].parameters():
            torch.nn.init.normal_(weights, std=0.3)
        batches.append([])
        for _ in range(3):
            batch = learner._learner_connector(
                rl_module=learner.module, batch={}, episodes=runner.sample(), shared_data={}
            )
            batches[-1].append(batch["default_policy"])

    [drop] = dropping
    for stock, ours in zip(*batches, strict=True):
        assert {"obs", "actions", "rewards", "terminateds", "truncateds"} <= stock.keys()
        assert {"action_logp", "advantages", "value_targets"} <= stock.keys()
        assert stock.keys() == ours.keys()
        for name, values in stock.items():
            assert values.dtype == ours[name].dtype
            np.testing.assert_array_equal(values.numpy(), ours[name].numpy(), err_msg=name)

        counts = stock["loss_mask"]
        (learnt,) = drop(batch={"default_policy": ours}).values()
        assert {"obs", "actions", "action_logp", "advantages", "value_targets"} <= learnt.keys()
        assert {len(values) for values in learnt.values()} == {int(counts.sum())}
        for name, values in learnt.items():
            np.testing.assert_array_equal(values.numpy(), stock[name][counts].numpy())


@pytest.mark.parametrize(
    ("minibatch", "epochs", "expected"), [(64, 4, 8), (32, 3, 12), (128, 1, 1)]
)
def test_an_update_takes_as_many_minibatches_as_its_epochs_hold(
    minibatch: int, epochs: int, expected: int
) -> None:
    config = configured(FragmentEnvRunner, odds=0.1)
    config.learners(learner_class=FragmentPPOLearner)
    runner = built(config)
    learner = config.build_learner(spaces=runner.get_spaces())
    seen: list[int] = []
    inner = learner._update

    def counted(batch: Any, **more: Any) -> Any:
        seen.append(len(batch["default_policy"]["obs"]))
        return inner(batch, **more)

    learner._update = counted
    episodes = runner.sample()
    assert sum(map(len, episodes)) > LANES * STEPS  # a few more: no reason for one more minibatch

    learner.update(
        training_data=TrainingData(episodes=episodes), num_epochs=epochs, minibatch_size=minibatch
    )

    assert seen == [minibatch] * expected


def test_an_off_policy_buffer_holds_the_same_after_chunks_were_joined() -> None:
    buffers: list[EpisodeReplayBuffer] = []
    for kind in BOTH:
        runner = built(configured(kind, odds=0.05, base=DQNConfig))
        runner.env.action_space.seed(
            2
        )  # random actions are drawn from the space, unseeded by RLlib
        buffers.append(EpisodeReplayBuffer(capacity=10_000))
        for number in range(4):
            buffers[-1].add(runner.sample(random_actions=number == 0))

    stock, ours = buffers
    assert ours.get_num_timesteps() == stock.get_num_timesteps() > 0
    assert ours.get_num_episodes() == stock.get_num_episodes()
    for mine, theirs in zip(ours.episodes, stock.episodes, strict=True):
        np.testing.assert_array_equal(mine.get_observations(), theirs.get_observations())
        np.testing.assert_array_equal(mine.get_actions(), theirs.get_actions())


def test_a_mean_without_a_finished_episode_is_the_last_known_one() -> None:
    runner = built(configured(FragmentEnvRunner, odds=0.0))
    runner.sample()
    assert "episode_return_mean" not in read(runner.get_metrics())

    runner.env.unwrapped._odds = 0.2
    runner.sample()
    known = read(runner.get_metrics())
    runner.env.unwrapped._odds = 0.0
    runner.sample(num_timesteps=LANES)  # resets what ended at the last step
    later = read(runner.get_metrics())

    assert known["num_episodes"] > 0
    assert later["num_episodes"] == 0
    assert later["episode_return_mean"] == pytest.approx(known["episode_return_mean"])


def test_a_number_of_episodes_is_sampled_whole_and_fragments_go_on_from_a_reset() -> None:
    runner = built(configured(FragmentEnvRunner))
    runner.sample()

    whole = runner.sample(num_episodes=3)
    after = runner.sample()

    assert len(whole) == 3
    assert all(episode.is_done and episode.t_started == 0 for episode in whole)
    assert not {episode.t_started for episode in after} - {0}
    assert sum(len(episode) for episode in after) >= LANES * STEPS


def test_episodes_keep_what_they_saw_when_sampling_goes_on() -> None:
    runner = built(configured(FragmentEnvRunner))
    episodes = runner.sample()
    before = [episode.get_observations().copy() for episode in episodes]

    runner.sample()

    for episode, seen in zip(episodes, before, strict=True):
        np.testing.assert_array_equal(episode.get_observations(), seen)


class Noted(RLlibCallback):
    def on_episode_end(self, **_: Any) -> None:
        raise AssertionError("never called")


def _filtered(config: Any) -> None:
    def connector(*_: Any) -> ConnectorV2:
        return MeanStdFilter()

    config.env_runners(env_to_module_connector=connector)


def _acted(config: Any) -> None:
    def connector(*_: Any) -> ConnectorV2:
        return MeanStdFilter()

    config.env_runners(module_to_env_connector=connector)


def _remembering(config: Any) -> None:
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8], use_lstm=True))


def _with_callback(config: Any) -> None:
    config.callbacks(Noted)


def _with_function(config: Any) -> None:
    config.callbacks(on_episode_step=lambda **_: None)


def _as_lists(config: Any) -> None:
    config.env_runners(episodes_to_numpy=False)


def _restarted(config: Any) -> None:
    config.fault_tolerance(restart_failed_sub_environments=True)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_filtered, "env_to_module_connector"),
        (_acted, "module_to_env_connector"),
        (_remembering, "rl_module"),
        (_with_callback, "on_episode_end"),
        (_with_function, "on_episode_step"),
        (_as_lists, "episodes_to_numpy"),
        (_restarted, "restart_failed_sub_environments"),
    ],
)
def test_what_it_would_ignore_is_refused_by_name(change: Any, field: str) -> None:
    config = configured(FragmentEnvRunner)
    change(config)

    with pytest.raises(BadInput, match=field):
        built(config)


class _SameStep(Stops):
    def __init__(self, lanes: int) -> None:
        super().__init__(lanes)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}


class _Talking(Stops):
    def step(self, actions: Any) -> Any:
        *answer, _ = super().step(actions)
        return (*answer, {"equity": np.zeros(self.num_envs)})


class _Wide(Stops):
    def __init__(self, lanes: int) -> None:
        super().__init__(lanes)
        self.single_action_space = gym.spaces.MultiDiscrete([2, 2])


@pytest.mark.parametrize(
    ("env", "field"),
    [(_SameStep, "autoreset_mode"), (_Talking, "infos"), (_Wide, "action_space")],
)
def test_an_environment_that_does_not_fit_is_refused(env: type[Stops], field: str) -> None:
    config = configured(FragmentEnvRunner)
    registry.register_env("stops", lambda context: env(context["num_envs"]))
    config.environment(action_space=env(1).single_action_space)

    with pytest.raises(BadInput, match=field):
        built(config).sample()


def test_the_private_parts_of_ray_that_it_leans_on_are_where_they_were() -> None:
    stock = built(configured(SingleAgentEnvRunner))
    keywords = set(inspect.signature(SingleAgentEnvRunner._sample).parameters)
    assert keywords - {"_ray_trace_ctx"} == {
        "self",
        "num_timesteps",
        "num_episodes",
        "explore",
        "random_actions",
        "force_reset",
    }
    calls: list[str] = []

    class Watched(FragmentEnvRunner):
        def _sample(self, **asked: Any) -> Any:
            calls.append("_sample")
            return super()._sample(**asked)

    built(configured(Watched)).sample()

    assert calls == ["_sample"]  # the stock `sample` still goes through it
    for method, expected in (
        (stock._increase_sampled_metrics, ["num_steps", "num_episodes_completed"]),
        (stock._log_episode_metrics, ["length", "ret", "sec"]),
        (stock._log_env_steps, ["metric", "num_steps"]),
        (stock._try_env_reset, ["seed", "options"]),
    ):
        # Once a process has made a runner an actor, Ray adds a parameter of its own at the end.
        found = [name for name in inspect.signature(method).parameters if name != "_ray_trace_ctx"]
        assert found == expected
    for name in (
        "_env_to_module",
        "_module_to_env",
        "_needs_initial_reset",
        "_seed",
        "_weights_seq_no",
        "_metrics_num_try_env_step",
        "_metrics_num_env_steps_sampled",
        "num_env_steps_sampled_lifetime",
    ):
        assert hasattr(stock, name), name
    assert isinstance(stock.env, gym.wrappers.vector.DictInfoToList)


@pytest.fixture(autouse=True)
def _forget_the_environment() -> Iterator[None]:
    yield
    gym.registry.pop(RLLIB_ENV, None)
