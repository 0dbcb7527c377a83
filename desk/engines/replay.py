"""DQN's memory and learner over fragments: plain arrays, drawn with a generator of their own.

RLlib's replay buffer keeps episodes and cuts a Python object out of them for every step it draws. Here
transitions lie in rings of arrays, a draw is one take per column, and the whole memory goes into a
checkpoint and comes back the same.

Importing this module imports RLlib and torch.
"""

# RLlib's classes are partly untyped, so nothing that they return has a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# pyright: reportIncompatibleMethodOverride=false

from collections.abc import Sequence
from typing import Any, override

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.dqn.dqn_learner import DQNLearner
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import update_target_network

from desk.engines.training_state import MODULE

type Column = NDArray[Any]
NEXT_OBS = Columns.NEXT_OBS


class Drawn:
    """A minibatch of transitions, where RLlib expects a list of episodes."""

    def __init__(self, columns: dict[str, Column]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[Columns.ACTIONS])


class LaneReplay:
    """The newest `capacity` transitions, each with its next observation; drawn evenly, with repeats.

    Takes the place of an algorithm's `local_replay_buffer`.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self.capacity = capacity
        self._columns: dict[str, Column] = {}
        self._size = self._next = 0
        self._generator = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self._size

    def add(self, episodes: Sequence[Any]) -> None:
        """Take every step of some episodes' pieces; a piece's own observations make it whole."""
        observations = [one.get_observations() for one in episodes]
        terminated = [np.zeros(len(one), dtype=np.bool_) for one in episodes]
        for flags, one in zip(terminated, episodes, strict=True):
            flags[-1] = one.is_terminated
        self._append(
            {
                Columns.OBS: np.concatenate([seen[:-1] for seen in observations]),
                NEXT_OBS: np.concatenate([seen[1:] for seen in observations]),
                Columns.ACTIONS: np.concatenate([one.get_actions() for one in episodes]),
                Columns.REWARDS: np.concatenate(
                    [np.asarray(one.get_rewards(), dtype=np.float32) for one in episodes]
                ),
                Columns.TERMINATEDS: np.concatenate(terminated),
            }
        )

    def _append(self, rows: dict[str, Column]) -> None:
        count = len(rows[Columns.ACTIONS])
        if not self._columns:
            self._columns = {
                name: np.zeros((self.capacity, *values.shape[1:]), dtype=values.dtype)
                for name, values in rows.items()
            }
        places = (self._next + np.arange(count)) % self.capacity
        newest = slice(max(count - self.capacity, 0), None)
        for name, values in rows.items():
            self._columns[name][places[newest]] = values[newest]
        self._next = (self._next + count) % self.capacity
        self._size = min(self._size + count, self.capacity)

    def sample(self, num_items: int, **_: Any) -> list[Drawn]:
        """Draw a minibatch; whatever else RLlib asks for is about episodes."""
        rows = self._generator.integers(0, self._size, num_items)
        return [Drawn({name: values[rows] for name, values in self._columns.items()})]

    def get_metrics(self) -> dict[str, Any]:
        """None: RLlib asks after every draw."""
        return {}

    def newest_observations(self, most: int) -> NDArray[np.float32]:
        """The observations that were added last, float32[N, F + 1], newest last."""
        count = min(most, self._size)
        rows = (self._next - count + np.arange(count)) % self.capacity
        return self._columns[Columns.OBS][rows]

    def snapshot(self) -> dict[str, Any]:
        """Everything, for `restore`."""
        return {
            "columns": {
                name: values[: self._size].copy() for name, values in self._columns.items()
            },
            "next": self._next,
            "generator": self._generator.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Hold what another memory of this capacity held."""
        self._columns, self._size, self._next = {}, 0, 0
        self._append(state["columns"])
        self._next = int(state["next"])
        self._generator.bit_generator.state = state["generator"]


class ReplayColumns(ConnectorV2):
    """The learner's only connector: a drawn minibatch as tensors."""

    @override
    def __call__(self, *, episodes: list[Any], **_: Any) -> dict[str, Any]:
        (drawn,) = episodes
        columns = {name: torch.from_numpy(values) for name, values in drawn.columns.items()}
        columns["weights"] = torch.ones(len(drawn))
        columns["n_step"] = torch.ones(len(drawn))
        return {MODULE: columns}


class FragmentDQNLearner(DQNTorchLearner):
    """The stock loss over drawn minibatches; the target network is renewed by updates, not by steps.

    Several updates follow each fragment, and RLlib's count of steps stands still between them.
    """

    updates_since_target: int

    @override
    def build(self) -> None:
        super().build()
        pipeline: Any = self._learner_connector
        pipeline.connectors = [ReplayColumns()]
        self.updates_since_target = 0

    @override
    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super(DQNLearner, self).after_gradient_based_update(timesteps={})
        self.updates_since_target += 1
        config: Any = self.config
        every = int(config.target_network_update_freq)
        if self.updates_since_target >= every:
            self.updates_since_target = 0
            module: Any = self.module[MODULE].unwrapped()
            for main, target in module.get_target_network_pairs():
                update_target_network(main_net=main, target_net=target, tau=1.0)
