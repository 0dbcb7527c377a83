"""The decision loop's parts, with the policy on Serve or in the loop's own process."""

import asyncio
import importlib
from typing import Any

import numpy as np

from actors.decision_loop import LoopParts
from actors.doors import ExecutorDoor, LedgerDoor
from actors.parts.foundation import market_clock, open_store
from actors.version_registry import policy_of, version_of
from actors.wiring import PolicyMode, Wiring
from desk.learning.observation import SIGNS
from desk.learning.policy import MlpPolicy, PolicyAnswer
from desk.store.feature_sets import feature_set_of
from desk.store.places import Home
from desk.store.port import Store

SERVE_APP, SERVE_DEPLOYMENT = "policy", "Policy"


def loop_parts(wiring: Wiring, run_id: str, account: str) -> LoopParts:
    """Build in the loop's process."""
    store, policy = open_store(wiring), policy_client(wiring)
    approver = LedgerDoor(account, namespace=wiring.namespace)
    executor = ExecutorDoor(account, namespace=wiring.namespace)

    async def warm(version_id: str) -> None:
        await asyncio.gather(policy.warm(version_id), approver.greet(), executor.greet())

    return LoopParts(
        run_id=run_id,
        store=store,
        clock=market_clock(store),
        policy=policy,
        approver=approver,
        executor=executor,
        warm=warm,
        policy_deadline_s=wiring.policy_deadline_s,
        feature_max_freshness_s=wiring.feature_max_freshness_s,
        feature_ood_zscore_limit=wiring.feature_ood_zscore_limit,
        enforce_provenance=wiring.enforce_provenance,
        home=wiring.place,
    )


def policy_client(wiring: Wiring) -> "ServePolicy | LocalPolicy":
    """Where this desk asks its policies."""
    if wiring.policy_mode is PolicyMode.LOCAL:
        return LocalPolicy(wiring.place, open_store(wiring))
    return ServePolicy(open_store(wiring))


class ServePolicy:
    """The replicas of the application `policy`, by handle."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._handle: Any = None

    async def decide(self, version_id: str, values: list[float], threshold: float) -> PolicyAnswer:
        handle = self._handle or await self._connect()
        return await handle.decide.remote(version_id, values, threshold)

    async def decide_each(
        self, version_id: str, features: list[float], threshold: float
    ) -> tuple[PolicyAnswer, PolicyAnswer, PolicyAnswer]:
        handle = self._handle or await self._connect()
        return await handle.decide_each.remote(version_id, features, threshold)

    async def warm(self, version_id: str) -> None:
        version = await asyncio.to_thread(version_of, self._store, version_id)
        features = await asyncio.to_thread(feature_set_of, self._store, version.feature_set_id)
        await self.decide(version_id, [0.0] * (features.size + 1), 1.0)

    async def _connect(self) -> Any:
        # Serve costs 80 MB and a second: only a process that uses it loads it.
        serve: Any = await asyncio.to_thread(importlib.import_module, "ray.serve")
        handle: Any = serve.get_deployment_handle(SERVE_DEPLOYMENT, SERVE_APP)
        # Numbers and plain dataclasses: nothing that the slower cloudpickle would be needed for.
        self._handle = handle.options(
            request_serialization="pickle", response_serialization="pickle"
        )
        return self._handle


class LocalPolicy:
    """The same artifacts and the same forward pass, in this process."""

    def __init__(self, home: Home, store: Store) -> None:
        self._home, self._store = home, store
        self._known: dict[str, MlpPolicy] = {}

    async def decide(self, version_id: str, values: list[float], threshold: float) -> PolicyAnswer:
        if version_id not in self._known:
            self._known[version_id] = await asyncio.to_thread(self._load, version_id)
        return self._known[version_id].answer(np.asarray(values, dtype=np.float32), threshold)

    async def decide_each(
        self, version_id: str, features: list[float], threshold: float
    ) -> tuple[PolicyAnswer, PolicyAnswer, PolicyAnswer]:
        short, flat, long = [
            await self.decide(version_id, [*features, sign], threshold) for sign in SIGNS
        ]
        return short, flat, long

    async def warm(self, version_id: str) -> None:
        self._known[version_id] = await asyncio.to_thread(self._load, version_id)

    def _load(self, version_id: str) -> MlpPolicy:
        return policy_of(self._home, version_of(self._store, version_id), self._store)
