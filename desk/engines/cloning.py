"""Behaviour cloning: a network that learns to do what a rule does, by watching it trade.

The rule drives the environment's lanes, now and then overruled by chance, so that the clone also sees
where the rule would never have gone; what it learns is always the rule's own answer. One observation
in ten is held out and tells how often both agree.

Importing this module imports torch.
"""

# torch's functions are partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from desk.engines.training_progress import CLONING, Tell, TrainingProgress
from desk.errors import BadInput
from desk.learning.training_spec import BC, DEFAULTS, TrainingSpec
from desk.wallclock import monotonic_s

HELD_OUT = 10
"""One observation in so many."""

type Tensors = dict[str, NDArray[np.float32]]
type Rule = Callable[[NDArray[np.float32]], NDArray[np.int64]]
type MakeEnv = Callable[[int], VectorEnv[Any, Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloned:
    """A network `layers.N.*` and how well it follows."""

    tensors: Tensors
    agreement: float
    """Part of the held-out observations on which both choose the same action."""
    progress: TrainingProgress


def clone(make_env: MakeEnv, rule: Rule, spec: TrainingSpec, progress: Tell) -> Cloned | None:
    """Clone a rule by the spec of `bc`, or of a warm start; None when `progress` cancelled.

    The same seed and environment give the same tensors. It takes no Ray. Global generators stay as
    they are.
    """
    plan = _plan(spec)
    note = _Notes(plan, spec, progress)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        torch.set_num_threads(1)
        watched = _watch(make_env, rule, plan, note)
        if watched is None:
            return None
        return _fit(*watched, plan, note)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    steps: int
    lanes: int
    epochs: int
    minibatch: int
    learning_rate: float
    strayed_fraction: float
    hidden: tuple[int, ...]
    seed: int

    @property
    def work(self) -> int:
        """Observations watched, and those learnt from."""
        return self.steps * (1 + self.epochs)


def _plan(spec: TrainingSpec) -> _Plan:
    own = DEFAULTS[BC]
    is_whole = spec.algorithm == BC
    return _Plan(
        steps=spec.steps if is_whole else spec.warm_start_steps,
        lanes=spec.lanes,
        epochs=spec.epochs if is_whole else own["epochs"],
        minibatch=spec.minibatch if is_whole else min(own["minibatch"], spec.warm_start_steps // 2),
        learning_rate=spec.learning_rate if is_whole else own["learning_rate"],
        strayed_fraction=spec.strayed_fraction,
        hidden=spec.hidden,
        seed=spec.seed,
    )


class _Notes:
    """Progress of a clone: by its own work, or as the first phase of a training."""

    def __init__(self, plan: _Plan, spec: TrainingSpec, tell: Tell) -> None:
        self._plan, self._tell = plan, tell
        self._is_phase = spec.algorithm != BC
        self._total = spec.steps if self._is_phase else plan.work
        self._began_s = monotonic_s()
        self.last: TrainingProgress | None = None

    def tell(self, work: int, updates: int, agreement: float | None = None) -> bool:
        """True: cancel."""
        seconds = max(monotonic_s() - self._began_s, 1e-9)
        speed = work / seconds
        self.last = TrainingProgress(
            steps=0 if self._is_phase else work,
            total_steps=self._total,
            episodes=0,
            reward_mean=None,
            entropy=None,
            kl=None,
            steps_per_s=speed,
            eta_s=(self._plan.work - work) / speed if speed else 0.0,
            updates=updates,
            phase=CLONING,
            agreement=agreement,
        )
        return self._tell(self.last)


def _watch(
    make_env: MakeEnv, rule: Rule, plan: _Plan, note: _Notes
) -> tuple[NDArray[np.float32], NDArray[np.int64], int] | None:
    """Observations float32[S, F + 1], the rule's answers int64[S], and how many actions there are."""
    env = make_env(plan.lanes)
    generator = np.random.default_rng(plan.seed)
    actions = int(env.single_action_space.n)  # pyright: ignore[reportAttributeAccessIssue]
    seen, _ = env.reset(seed=plan.seed)
    observations: list[NDArray[np.float32]] = []
    answers: list[NDArray[np.int64]] = []
    rounds = -(-plan.steps // plan.lanes)
    for number in range(rounds):
        answer = rule(seen)
        observations.append(seen.copy())
        answers.append(answer)
        strays = generator.random(plan.lanes) < plan.strayed_fraction
        elsewhere = generator.integers(0, actions, plan.lanes)
        seen, *_ = env.step(np.where(strays, elsewhere, answer))
        if number % 64 == 0 and note.tell(number * plan.lanes, 0):
            return None
    env.close()
    rows, labels = np.concatenate(observations)[: plan.steps], np.concatenate(answers)[: plan.steps]
    if not np.isfinite(rows).all():
        raise BadInput("observations", "were not finite while the rule was watched: check features")
    return rows, labels, actions


def _fit(
    rows: NDArray[np.float32], labels: NDArray[np.int64], actions: int, plan: _Plan, note: _Notes
) -> Cloned | None:
    network = _network(rows.shape[1], plan.hidden, actions)
    # With fused kernels the sums would be others on other processors' widths; plain ones suffice.
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate, foreach=False)
    order = torch.Generator().manual_seed(plan.seed)
    is_held = np.arange(len(rows)) % HELD_OUT == 0
    learnt, answered = torch.from_numpy(rows[~is_held]), torch.from_numpy(labels[~is_held])
    checked, expected = torch.from_numpy(rows[is_held]), torch.from_numpy(labels[is_held])
    updates, agreement = 0, 0.0
    for epoch in range(plan.epochs):
        shuffled = torch.randperm(len(learnt), generator=order)
        for chosen in shuffled.split(plan.minibatch):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(learnt[chosen]), answered[chosen])
            loss.backward()
            optimizer.step()
            updates += 1
        with torch.no_grad():
            same = network(checked).argmax(dim=1) == expected
        agreement = float(same.double().mean())
        if note.tell(plan.steps * (2 + epoch), updates, agreement):
            return None
    if note.last is None:
        raise RuntimeError("a clone learnt from nothing")
    layers = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    tensors = {
        f"layers.{number}.{part}": values.detach().numpy().copy()
        for number, layer in enumerate(layers)
        for part, values in (("weight", layer.weight), ("bias", layer.bias))
    }
    return Cloned(tensors=tensors, agreement=agreement, progress=note.last)


def _network(inputs: int, hidden: tuple[int, ...], outputs: int) -> torch.nn.Sequential:
    widths = (inputs, *hidden, outputs)
    parts: list[torch.nn.Module] = []
    for number, (into, out) in enumerate(pairwise(widths)):
        if number:
            parts.append(torch.nn.Tanh())
        parts.append(torch.nn.Linear(into, out))
    return torch.nn.Sequential(*parts)
