"""A paper session decided by a registered network: what a replay and an explanation have to go by."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from actors.decision_loop import DecisionLoop, LoopParts
from actors.parts.decisions import LocalPolicy
from actors.version_registry import artifacts_of, register
from desk.learning.policy import policy_card
from desk.learning.study import Dataset
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.features import FEATURES_V1, FeatureSet
from desk.store import kinds
from desk.store.port import Store
from tests.actors.fakes import PAIR
from tests.actors.stage import BEGIN_MS, RUN_ID, Stage

DATASET = Dataset(
    dataset_id="ds-learnt-from",
    pair=PAIR,
    interval="1m",
    start_ms=0,
    end_ms=60_000,
    sha256="ab" * 32,
    rows=1,
    missing=0,
    feature_set_id=FEATURES_V1.feature_set_id,
    lookback=240,
)


def network(*sizes: int, seed: int = 7, scale: float = 2.0) -> dict[str, np.ndarray]:
    """Random layers, so that every feature has its say and the position changes often."""
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {}
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        weight = rng.normal(0.0, scale * inputs**-0.5, (outputs, inputs))
        made[f"layers.{number}.weight"] = weight.astype(np.float32)
        made[f"layers.{number}.bias"] = rng.normal(0.0, 0.1, outputs).astype(np.float32)
    return made


def put_version(
    store: Store,
    home: Path,
    version_id: str = "v1",
    *,
    features: FeatureSet = FEATURES_V1,
    seed: int = 7,
    tensors: dict[str, np.ndarray] | None = None,
    **changes: Any,
) -> AgentVersion:
    """Register a network that was, so it says, trained on `DATASET`."""
    version = AgentVersion(
        version_id=version_id,
        agent_id="desk",
        name=version_id,
        algorithm="ppo",
        is_baseline=False,
        status=VersionStatus.DRAFT,
        artifact_uri="",
        artifact_sha256="",
        artifact_bytes=0,
        feature_set_id=features.feature_set_id,
        created_ms=BEGIN_MS,
        dataset_id=DATASET.dataset_id,
        dataset_sha256=DATASET.sha256,
    )
    card = policy_card(
        version_id=version_id,
        algorithm="ppo",
        is_baseline=False,
        hyperparameters={},
        software={},
        features=features,
    )
    store.put(kinds.DATASETS, DATASET.dataset_id, DATASET, at_ms=1)
    layers = tensors or network(features.size + 1, 16, 3, seed=seed)
    return register(store, artifacts_of(home), replace(version, **changes), card, layers)


class Session(Stage):
    """The stage on a registered network instead of a policy that wants what the test says."""

    def __init__(
        self, home: Path, store: Store | None = None, *, enforce_provenance: bool = False
    ) -> None:
        self.home, self.enforce_provenance = home, enforce_provenance
        super().__init__(store)
        put_version(self.store, home)
        self.change_run(lambda run: replace(run, dataset_id=DATASET.dataset_id))

    def new_loop(self) -> DecisionLoop:
        parts = LoopParts(
            run_id=RUN_ID,
            store=self.store,
            clock=self.clock,
            policy=LocalPolicy(self.home, self.store),
            approver=self,
            executor=self,
            policy_deadline_s=20.0,
            enforce_provenance=self.enforce_provenance,
            home=self.home,
        )
        return DecisionLoop(lambda: parts)

    def go_on(self, candles: int) -> None:
        """Let candles close, one after the other, each decided on."""
        for _ in range(candles):
            asyncio.run(self._keep_leases())
            self.tell(self.next_candle())

    async def _keep_leases(self) -> None:
        """What the actors' own loops do: a long session outlives the leases it began with."""
        await self.ledger.turn()
        await self.executor.turn()
        await self.executor.quiet()
