"""Training: sampling and PPO on our environment, by our fragments, RLlib's own runner, and others.

Everything runs in this process on one numeric thread and is measured in steps per CPU-second, so other
processes do not count. All see the same candles, environment and network; resets are no steps.
"""

import gc
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from bench.figures import Figure, interleaved, median
from bench.instrument import BTC
from desk.engines.private_ray import private_ray
from desk.engines.rllib import RLLIB_ENV, TrainingSpec
from desk.learning.arrays import MarketArrays
from desk.learning.env import EpisodeSpec, TradingVectorEnv
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.trading.fills import FillSpec
from desk.trading.tape import Market

LANES, STEPS = 1_024, 64
SPEC = TrainingSpec(lanes=LANES, steps_per_lane=STEPS, minibatch=16_384)
CANDLES = 43_200
EPISODE = 256
START_MS = 1_700_006_400_000
"""A midnight."""
FUNDING_CANDLES = 480
SB3 = "stable-baselines3==2.9.2"
INSTALL_WAIT_S = 180.0

SAMPLING_GOAL, LOOP_GOAL, PPO_GOAL, SB3_GOAL = 10.0, 0.7, 3.0, 0.85
UNIT = "steps/CPU-s"


def figures() -> Iterator[Figure]:
    """Measure sampling, then whole updates; a peer that is not there is not measured."""
    torch.set_num_threads(1)
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")  # RLlib's about its own deprecated parts
        stack.enter_context(private_ray())  # first: Ray reads its settings when it is imported
        make_env = _environment()
        yield from _sampling(make_env)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rd-sb3-")))
        yield from _training(make_env, folder)


type MakeEnv = Callable[[int], TradingVectorEnv]


def _sampling(make_env: MakeEnv) -> Iterator[Figure]:
    from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner  # noqa: PLC0415

    from desk.engines.fragment_runner import FragmentEnvRunner  # noqa: PLC0415

    ours, stock = (_Sampler(kind, make_env) for kind in (FragmentEnvRunner, SingleAgentEnvRunner))
    loop = _Loop(make_env(LANES))
    rates = _rates(ours, stock, loop)
    least = LANES * STEPS
    for sampler in (ours, stock, loop):  # all stop at the first step that reaches the fragment
        if not all(least <= steps < least + LANES for steps in sampler.taken):
            raise RuntimeError(
                f"a fragment had {sampler.taken} steps, expected {least} and few more"
            )
    if ours.taken != stock.taken:
        raise RuntimeError(f"sampled {ours.taken} steps beside {stock.taken}: not equal work")
    yield _figure("RLlib sampling, 1,024 lanes", rates[0], rates[1], "stock runner", SAMPLING_GOAL)
    yield _figure(
        "RLlib sampling, 1,024 lanes", rates[0], rates[2], "bare loop, as CleanRL's", LOOP_GOAL
    )


def _training(make_env: MakeEnv, folder: Path) -> Iterator[Figure]:
    from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner  # noqa: PLC0415

    from desk.engines.fragment_runner import FragmentEnvRunner  # noqa: PLC0415

    trainers: list[Any] = [
        _Trainer(kind, make_env) for kind in (FragmentEnvRunner, SingleAgentEnvRunner)
    ]
    why = _install(folder)
    if not why:
        from bench.sb3_peer import Sb3  # noqa: PLC0415

        trainers.append(Sb3(make_env(LANES), SPEC))
    rates = _rates(*trainers)
    if trainers[0].taken != trainers[1].taken:
        raise RuntimeError("the runners trained on different numbers of steps: not equal work")
    for trainer in trainers:
        trainer.stop()
    theirs = rates[2] if len(rates) > 2 else float("nan")
    peer = f"SB3, not measured: {why}" if why else SB3
    yield _figure("PPO, 1,024 lanes of 64, 4 epochs", rates[0], rates[1], "stock RLlib", PPO_GOAL)
    yield _figure("PPO, 1,024 lanes of 64, 4 epochs", rates[0], theirs, peer, SB3_GOAL)


def _figure(name: str, ours: float, theirs: float, floor_name: str, goal: float) -> Figure:
    return Figure(
        name=name,
        ours=ours,
        floor=theirs,
        unit=UNIT,
        floor_name=floor_name,
        goal=f"≥ {goal:g} x",
        met=ours >= goal * theirs,  # False beside a NaN: what was not measured is not met
    )


def _rates(*samplers: Any) -> list[float]:
    """Median steps per CPU-second of each, in turns; the first call of each is the warm-up."""

    def collected(sampler: Any) -> Callable[[], object]:
        def call() -> None:
            sampler.taken.append(sampler())

        return call

    gc.collect()
    seconds = interleaved(*map(collected, samplers), clock=time.process_time)
    return [
        median([steps / s for steps, s in zip(sampler.taken[1:], times, strict=True)])
        for sampler, times in zip(samplers, seconds, strict=True)
    ]


def _configured(runner: type[Any], make_env: MakeEnv) -> Any:
    from desk.engines.fragment_runner import FragmentEnvRunner  # noqa: PLC0415
    from desk.engines.rllib_config import configured  # noqa: PLC0415

    config = configured(f"bench-{next(_numbers)}", make_env(1), SPEC, make_env, None)
    config.env_runners(env_runner_cls=runner)
    if runner is not FragmentEnvRunner:
        config.learners(learner_class=config.get_default_learner_class())
    gym.registry.pop(RLLIB_ENV, None)
    return config


_numbers = itertools.count()


class _Sampler:
    """One runner without an algorithm around it."""

    def __init__(self, runner: type[Any], make_env: MakeEnv) -> None:
        self.taken: list[int] = []
        self._runner = runner(config=_configured(runner, make_env), worker_index=0)
        torch.manual_seed(1)

    def __call__(self) -> int:
        episodes = self._runner.sample()
        self._runner.get_metrics()
        return sum(map(len, episodes))


class _Trainer:
    """One algorithm; a call is one update: a fragment of every lane, and its epochs."""

    def __init__(self, runner: type[Any], make_env: MakeEnv) -> None:
        self.taken: list[int] = []
        self._algorithm = _configured(runner, make_env).build_algo()
        self._before = 0

    def __call__(self) -> int:
        result = self._algorithm.train()
        after = int(result["env_runners"]["num_env_steps_sampled_lifetime"])
        steps, self._before = after - self._before, after
        return steps

    def stop(self) -> None:
        self._algorithm.stop()


class _Loop:
    """What a single file with the same network does: no episodes, no counters, critic included."""

    def __init__(self, env: TradingVectorEnv) -> None:
        self.taken: list[int] = []
        self._env = env
        size, levels = env.lanes.observation.shape[1], len(env.episode.levels)
        self._actor, self._critic = _network(size, levels), _network(size, 1)
        self._seen = torch.from_numpy(env.reset(seed=1)[0])
        self._done = torch.zeros(env.num_envs)

    @torch.no_grad()
    def __call__(self) -> int:
        lanes, size = self._seen.shape
        seen = torch.zeros(STEPS + 2, lanes, size)
        kept = torch.zeros(5, STEPS + 2, lanes)
        steps = number = 0
        while steps < LANES * STEPS:
            seen[number], kept[0, number] = self._seen, self._done
            steps += lanes - int(self._done.sum())
            chances = torch.distributions.Categorical(logits=self._actor(self._seen))
            actions = chances.sample()
            kept[1, number], kept[2, number] = actions, chances.log_prob(actions)
            kept[3, number] = self._critic(self._seen).flatten()
            observation, rewards, terminated, truncated, _ = self._env.step(actions.numpy())
            kept[4, number] = torch.from_numpy(rewards)
            self._seen = torch.from_numpy(observation)
            self._done = torch.from_numpy((terminated | truncated).astype(np.float32))
            number += 1
        return steps


def _network(size: int, outputs: int) -> torch.nn.Sequential:
    widths = (size, *SPEC.hidden)
    layers: list[torch.nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [torch.nn.Linear(before, after), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], outputs))


def _install(folder: Path) -> str:
    """Put SB3 beside our own torch, in a folder of its own; why it could not be had, or nothing."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        return "there is no uv to install it: run it by `make bench`"
    command = [uv, "pip", "install", "--quiet", "--target", str(folder), "--no-deps"]
    command += ["--python", sys.executable, SB3]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_WAIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as away:
        return str(away)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1] if done.stderr else "uv said nothing"
    sys.path.append(str(folder))
    return ""


def _environment() -> MakeEnv:
    candles = _walk()
    funding = [(ms, Decimal("0.0001")) for ms in candles.open_ms[::FUNDING_CANDLES].tolist()]
    market = Market.of(candles, BTC, FillSpec(), funding)
    arrays = MarketArrays.from_market(market, FEATURES_V1.compute(candles))
    episode = EpisodeSpec(length=EPISODE)
    return lambda lanes: TradingVectorEnv(arrays, lanes, episode)


def _walk() -> Candles:
    rng = np.random.default_rng(7)
    close = 40_000.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0008, CANDLES)))
    open_ = np.concatenate([[40_000.0], close[:-1]])
    wick = np.abs(rng.normal(0.0, 0.0004, (2, CANDLES)))
    return Candles(
        open_ms=START_MS + 60_000 * np.arange(CANDLES, dtype=np.int64),
        open=np.round(open_, 1),
        high=np.ceil(np.maximum(open_, close) * (1.0 + wick[0]) * 10.0) / 10.0,
        low=np.floor(np.minimum(open_, close) * (1.0 - wick[1]) * 10.0) / 10.0,
        close=np.round(close, 1),
        volume=np.round(rng.gamma(2.0, 3.0, CANDLES), 4),
    )
