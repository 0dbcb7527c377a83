"""RLlib's PPO learner, taking fragments as the arrays they are.

Before it learns, the stock learner lengthens every episode by a step to bootstrap from, and notes three
flags of every step in Python lists: a fifth of an update's time. Here they are arrays; every column of
the batch is the same (tests/learning/test_fragment_runner.py).

Importing this module imports RLlib and torch.
"""

# RLlib's classes are partly untyped, so nothing that they return has a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from typing import Any, override

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.connectors.learner import AddOneTsToEpisodesAndTruncate
from ray.rllib.core.columns import Columns
from ray.rllib.utils.postprocessing.episodes import add_one_ts_to_episodes_and_truncate


class FragmentPPOLearner(PPOTorchLearner):
    """The stock learner with its first connector replaced."""

    @override
    def build(self) -> None:
        super().build()
        pieces: list[Any] = self._learner_connector.connectors
        first = type(pieces[0]).__name__
        if first != AddOneTsToEpisodesAndTruncate.__name__:
            raise RuntimeError(
                f"RLlib's learner connectors begin with {first}, expected"
                f" {AddOneTsToEpisodesAndTruncate.__name__}: this Ray is not the pinned one"
            )
        pieces[0] = AddStepAndFlags()


class AddStepAndFlags(AddOneTsToEpisodesAndTruncate):
    """Lengthens each single-agent episode by its last step and adds the three columns of flags."""

    @override
    def __call__(
        self,
        *,
        batch: dict[str, Any],
        episodes: list[Any],
        shared_data: dict[str, Any],
        **_: Any,
    ) -> dict[str, Any]:
        for number, episode in enumerate(episodes):
            episode.id_ += f"_{number}"  # chunks of one episode are columns of their own
            steps = len(episode)
            if episode.is_numpy:
                _lengthen(episode)
            else:
                add_one_ts_to_episodes_and_truncate([episode])
            ends: tuple[tuple[str, bool], ...] = (
                (Columns.TERMINATEDS, bool(episode.is_terminated)),
                (Columns.TRUNCATEDS, bool(episode.is_truncated)),
            )
            mask = np.ones(steps + 1, dtype=np.bool_)
            mask[-1] = False
            columns = [(Columns.LOSS_MASK, mask)]
            columns += [(name, _only_at(steps - 1, steps + 1, flag)) for name, flag in ends]
            for name, flags in columns:
                self.add_n_batch_items(batch, name, flags, steps + 1, episode)
        shared_data["_added_loss_mask_for_valid_episode_ts"] = True
        return batch


def _lengthen(episode: Any) -> None:
    """Repeat the last step with reward 0; an unfinished episode counts as truncated."""
    for buffer in (episode.observations, episode.actions, *episode.extra_model_outputs.values()):
        buffer.data = np.concatenate((buffer.data, buffer.data[-1:]))
    rewards = episode.rewards
    rewards.data = np.append(rewards.data, rewards.data.dtype.type(0))
    episode.infos.append(episode.infos[-1])
    episode.t += 1
    if not episode.is_done:
        episode.is_truncated = True


def _only_at(place: int, length: int, flag: bool) -> NDArray[np.bool_]:  # noqa: FBT001 - the value itself
    flags = np.zeros(length, dtype=np.bool_)
    flags[place] = flag
    return flags
