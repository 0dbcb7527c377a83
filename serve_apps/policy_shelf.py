"""Policies at hand: loaded by version, proved against the store's record, the last few kept.

A version's batch is its own: whatever is promoted or rolled back meanwhile, no pass mixes versions.
"""

import asyncio
from collections import OrderedDict

import numpy as np

from actors.version_registry import policy_of, version_of
from desk import meters
from desk.errors import BadInput, DeskError
from desk.learning.policy import MlpPolicy, PolicyAnswer
from desk.store.places import Home
from desk.store.port import DocStore
from desk.wallclock import monotonic_s
from serve_apps.policy_batch import PolicyBatch

KEPT = 4


class PolicyShelf:
    """Answers by version id; a version that is not at hand is loaded in a thread, once."""

    def __init__(self, home: Home, store: DocStore, *, kept: int = KEPT) -> None:
        self._home = home
        self._store = store
        self._kept = kept
        self._policies: OrderedDict[str, PolicyBatch] = OrderedDict()
        self._loading = asyncio.Lock()
        self._loading_since_s: float | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions at hand, the last used one last."""
        return tuple(self._policies)

    @property
    def loading_s(self) -> float:
        """How long the present load has been going on; 0 when there is none."""
        return monotonic_s() - self._loading_since_s if self._loading_since_s is not None else 0.0

    async def answer(
        self, version_id: str, observation: list[float], threshold: float
    ) -> PolicyAnswer:
        """Decide on one observation, as `answers` does."""
        [answer] = await self.answers(version_id, [observation], threshold)
        return answer

    async def answers(
        self, version_id: str, observations: list[list[float]], threshold: float
    ) -> list[PolicyAnswer]:
        """Decide on each observation; numbers that are not finite give a hold, never an action.

        Raises `NotFound`, `ArtifactRefused`, and `BadInput` for an observation of another size.
        """
        batch = self._policies.get(version_id) or await self._load(version_id)
        if (
            version_id in self._policies
        ):  # else it went meanwhile, and is still good for this answer
            self._policies.move_to_end(version_id)
        size = batch.policy.observation_size
        for observation in observations:
            if len(observation) != size:
                raise BadInput(
                    "observation", f"had {len(observation)} values, {version_id} expects {size}"
                )
        with np.errstate(over="ignore"):  # a number too large for float32 is held as not finite
            values = np.asarray(observations, dtype=np.float32)
        return await batch.answers(values, threshold)

    async def _load(self, version_id: str) -> PolicyBatch:
        async with self._loading:
            if version_id in self._policies:
                return self._policies[version_id]
            self._loading_since_s = monotonic_s()
            try:
                policy = await asyncio.to_thread(self._read, version_id)
            except (DeskError, OSError):
                meters.POLICY_LOADS.count("refused")
                raise
            finally:
                self._loading_since_s = None
            meters.POLICY_LOADS.count("loaded")
            batch = self._policies[version_id] = PolicyBatch(policy)
            while len(self._policies) > self._kept:
                self._policies.popitem(last=False)
            return batch

    def _read(self, version_id: str) -> MlpPolicy:
        return policy_of(self._home, version_of(self._store, version_id), self._store)
