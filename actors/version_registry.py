"""Putting a policy on record: its artifact first, then the version that names the artifact's hash."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desk.errors import NotFound, VersionConflict
from desk.learning.baseline import (
    BASELINE_ALGORITHM,
    BASELINE_NAME,
    BASELINE_VERSION_ID,
    baseline_card,
    baseline_tensors,
)
from desk.learning.policy import MlpPolicy, load_policy
from desk.learning.study import Dataset
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.features import FEATURES_V1, FeatureSet
from desk.store import kinds
from desk.store.artifacts import ArtifactCard, Artifacts
from desk.store.feature_sets import find_feature_set
from desk.store.places import Home, Place, shared_folder
from desk.store.port import DocStore, Event


def artifacts_of(home: Home, *, patience_s: float | None = None) -> Artifacts:
    """The artifacts of a desk, on shared storage with copies on this machine where `DESK_FILES` is set.

    `patience_s`: how long a copy that is not here yet is waited for; None: to its end.
    """
    if not isinstance(home, Place) or home.files is None:
        return Artifacts(home / "artifacts")
    origin = shared_folder(home, "artifacts")
    return Artifacts(home / "artifacts", origin, patience_s=patience_s)


def register(
    store: DocStore,
    artifacts: Artifacts,
    version: AgentVersion,
    card: Mapping[str, Any],
    tensors: Mapping[str, NDArray[np.float32]],
) -> AgentVersion:
    """Publish an artifact, then store its version with the artifact's place, hash and size.

    Repeating it returns the stored version unchanged. Raises `ArtifactRefused` when the policy does
    not fit its card, or when another one has this id.
    """
    load_policy(card, tensors, find_feature_set(store, version.feature_set_id))
    written = artifacts.write(ArtifactCard(**card), tensors)
    published = artifacts.read(version.version_id)
    complete = replace(
        version,
        artifact_uri=artifacts.uri(version.version_id),
        artifact_sha256=written.sha256,
        artifact_bytes=published.tensor_bytes,
        card_sha256=published.card_sha256,
    )
    try:
        return store.put(
            kinds.VERSIONS,
            version.version_id,
            complete,
            at_ms=version.created_ms,
            expected_version=0,
            event=version_event(complete, at_ms=version.created_ms),
        ).value
    except VersionConflict:
        return version_of(store, version.version_id)


def ensure_baseline(home: Home, store: DocStore, agent_id: str, now_ms: int) -> AgentVersion:
    """Register the shipped trend rule as a draft version of an agent; once."""
    return register(
        store,
        artifacts_of(home),
        AgentVersion(
            version_id=BASELINE_VERSION_ID,
            agent_id=agent_id,
            name=BASELINE_NAME,
            algorithm=BASELINE_ALGORITHM,
            is_baseline=True,
            status=VersionStatus.DRAFT,
            artifact_uri="",
            artifact_sha256="",
            artifact_bytes=0,
            feature_set_id=FEATURES_V1.feature_set_id,
            created_ms=now_ms,
            hyperparameters=baseline_card()["hyperparameters"],
        ),
        baseline_card(),
        baseline_tensors(),
    )


def version_of(store: DocStore, version_id: str) -> AgentVersion:
    """The stored version. Raises `NotFound`."""
    doc = store.get(kinds.VERSIONS, version_id)
    if doc is None:
        raise NotFound("version", version_id)
    return doc.value


def policy_of(
    home: Home, version: AgentVersion, store: DocStore, *, patience_s: float | None = None
) -> MlpPolicy:
    """Load a version's policy. Raises `ArtifactRefused` unless the file is the registered one, over a
    feature set that this release computes."""
    return load_artifact(
        home,
        version.version_id,
        find_feature_set(store, version.feature_set_id),
        feature_set_id=version.feature_set_id,
        sha256=version.artifact_sha256,
        card_sha256=version.card_sha256,
        patience_s=patience_s,
    )


def load_artifact(
    home: Home,
    version_id: str,
    features: FeatureSet | None,
    *,
    feature_set_id: str,
    sha256: str,
    card_sha256: str = "",
    patience_s: float | None = None,
) -> MlpPolicy:
    """Load the policy of exactly these files, whatever became of the version's record since.

    `features` is the set by the id, for one that an operator made. Raises `ArtifactRefused`.
    """
    artifact = artifacts_of(home, patience_s=patience_s).read(
        version_id,
        expected_sha256=sha256,
        expected_card_sha256=card_sha256 or None,
        feature_set_id=feature_set_id,
    )
    tensors = {
        f"layers.{number}.{part}": array
        for number, layer in enumerate(artifact.layers)
        for part, array in zip(("weight", "bias"), layer, strict=True)
    }
    policy = load_policy(asdict(artifact.card), tensors, features)
    return replace(policy, artifact_sha256=artifact.card.sha256)


def keep_dataset(store: DocStore, dataset: Dataset, now_ms: int) -> Dataset:
    """Store what a study looked at; a dataset that is stored already stays as it is."""
    try:
        return store.put(
            kinds.DATASETS,
            dataset.dataset_id,
            replace(dataset, created_ms=now_ms),
            at_ms=now_ms,
            expected_version=0,
        ).value
    except VersionConflict:
        doc = store.get(kinds.DATASETS, dataset.dataset_id)
        return dataset if doc is None else doc.value


def version_event(version: AgentVersion, *, at_ms: int) -> Event:
    """A version was registered or changed its status."""
    return Event(
        topic="version",
        key=version.version_id,
        data={
            "version_id": version.version_id,
            "agent_id": version.agent_id,
            "name": version.name,
            "algorithm": version.algorithm,
            "is_baseline": version.is_baseline,
            "status": version.status.value,
            "promoted_at_ms": version.promoted_at_ms,
        },
        at_ms=at_ms,
    )
