"""Policies at hand: loaded by version, proved against the store's record, the last few kept."""

import asyncio
from collections import OrderedDict
from pathlib import Path

import numpy as np

from actors.version_registry import policy_of, version_of
from desk.errors import BadInput
from desk.learning.policy import MlpPolicy, PolicyAnswer
from desk.store.port import DocStore
from desk.wallclock import monotonic_s

KEPT = 4


class PolicyShelf:
    """Answers by version id; a version that is not at hand is loaded in a thread, once."""

    def __init__(self, home: Path, store: DocStore, *, kept: int = KEPT) -> None:
        self._home = home
        self._store = store
        self._kept = kept
        self._policies: OrderedDict[str, MlpPolicy] = OrderedDict()
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
        """Decide on one observation; numbers that are not finite give a hold, never an action.

        Raises `NotFound`, `ArtifactRefused`, and `BadInput` for an observation of another size.
        """
        policy = self._policies.get(version_id) or await self._load(version_id)
        self._policies.move_to_end(version_id)
        values = np.asarray(observation, dtype=np.float32)
        if values.shape != (policy.observation_size,):
            raise BadInput(
                "observation",
                f"had shape {values.shape}, {version_id} expects {policy.observation_size} values",
            )
        return policy.answer(values, threshold)

    async def _load(self, version_id: str) -> MlpPolicy:
        async with self._loading:
            if version_id in self._policies:
                return self._policies[version_id]
            self._loading_since_s = monotonic_s()
            try:
                policy = await asyncio.to_thread(self._read, version_id)
            finally:
                self._loading_since_s = None
            self._policies[version_id] = policy
            while len(self._policies) > self._kept:
                self._policies.popitem(last=False)
            return policy

    def _read(self, version_id: str) -> MlpPolicy:
        return policy_of(self._home, version_of(self._store, version_id), self._store)
