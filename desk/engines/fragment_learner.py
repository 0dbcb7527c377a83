"""RLlib's PPO learner, taking fragments as the arrays they are.

The stock learner lengthens every episode by a step to bootstrap from, collects the columns of the batch
episode by episode, and keeps the added steps, masked, through all epochs. Here a column is joined in one
call and the added steps leave once the advantages are known. Every row of the batch is the same
(tests/learning/test_fragment_runner.py); minibatches hold none that do not count.

Importing this module imports RLlib and torch.
"""

# RLlib's classes are partly untyped, so nothing that they return has a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# pyright: reportIncompatibleMethodOverride=false

from typing import Any, override

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.learner import AddOneTsToEpisodesAndTruncate
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.training_data import TrainingData

UNREAD = {Columns.LOSS_MASK, Columns.REWARDS, Columns.TERMINATEDS, Columns.TRUNCATEDS}
"""Columns that the advantages were made of: every epoch would shuffle them for nothing."""


class FragmentPPOLearner(PPOTorchLearner):
    """The stock learner with its first connector replaced and one added at the end."""

    @override
    def build(self) -> None:
        super().build()
        pipeline: Any = self._learner_connector
        pieces: list[Any] = pipeline.connectors
        if type(pieces[0]) is not AddOneTsToEpisodesAndTruncate:
            found = type(pieces[0]).__name__
            expected = AddOneTsToEpisodesAndTruncate.__name__
            raise RuntimeError(f"RLlib's learner began with {found}, expected {expected}: pin Ray")
        pieces[0] = JoinColumns()
        pipeline.append(DropAddedSteps())

    @override
    def _create_iterator_if_necessary(
        self,
        *,
        training_data: TrainingData,
        num_total_minibatches: int = 0,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        **more: Any,
    ) -> Any:
        """As many minibatches as the epochs hold, rounded.

        A fragment has a few steps more than it was asked for, and for these few the stock learner begins
        one more whole minibatch.
        """
        if not num_total_minibatches and minibatch_size and training_data.episodes:
            steps = num_epochs * sum(map(len, training_data.episodes))
            num_total_minibatches = max(round(steps / minibatch_size), 1)
        return super()._create_iterator_if_necessary(
            training_data=training_data,
            num_total_minibatches=num_total_minibatches,
            num_epochs=num_epochs,
            minibatch_size=minibatch_size,
            shuffle_batch_per_epoch=shuffle_batch_per_epoch,
            **more,
        )


class JoinColumns(AddOneTsToEpisodesAndTruncate):
    """Columns of all episodes, each lengthened by its last step with reward 0 and a false mask.

    Episodes that are lists, or look back, are left to the stock piece. The others only count the step:
    their arrays are not read again.
    """

    @override
    def __call__(
        self,
        *,
        batch: dict[str, Any],
        episodes: list[Any],
        shared_data: dict[str, Any],
        **more: Any,
    ) -> dict[str, Any]:
        if any(not one.is_numpy or one.observations.lookback for one in episodes):
            return super().__call__(batch=batch, episodes=episodes, shared_data=shared_data, **more)
        steps = np.array([len(one) for one in episodes])
        ends = np.cumsum(steps + 1)
        columns: dict[str, Any] = {
            # An episode has one observation more than steps: the one to bootstrap from.
            Columns.OBS: np.concatenate([one.observations.data for one in episodes]),
            Columns.ACTIONS: _repeating([one.actions.data for one in episodes]),
            Columns.REWARDS: _repeating([one.rewards.data for one in episodes]),
        }
        columns[Columns.REWARDS][ends - 1] = 0.0
        for name in episodes[0].extra_model_outputs:
            columns[name] = _repeating([one.extra_model_outputs[name].data for one in episodes])
        terminated = np.array([bool(one.is_terminated) for one in episodes])
        mask = np.ones(ends[-1], dtype=np.bool_)
        mask[ends - 1] = False
        columns[Columns.LOSS_MASK] = mask
        for name, flags in ((Columns.TERMINATEDS, terminated), (Columns.TRUNCATEDS, ~terminated)):
            columns[name] = np.zeros(ends[-1], dtype=np.bool_)
            columns[name][ends - 2] = flags  # what was cut off counts as truncated
        for name, values in columns.items():
            self.add_n_batch_items(batch, name, values, len(values), episodes[0])
        for one in episodes:
            one.t += 1
            one.is_truncated = not one.is_terminated
        shared_data["_added_loss_mask_for_valid_episode_ts"] = True
        return batch


class DropAddedSteps(ConnectorV2):
    """Takes the masked rows out of the finished batch, the mask with them, and what no loss reads."""

    @override
    def __call__(self, *, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        for module, columns in batch.items():
            mask = columns[Columns.LOSS_MASK]
            batch[module] = {
                name: values[mask] for name, values in columns.items() if name not in UNREAD
            }
        return batch


def _repeating(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """All arrays behind one another, each with its last row twice."""
    return np.concatenate([part for one in arrays for part in (one, one[-1:])])
