"""What a run's decisions can be traced back to: dataset, feature set, and the artifact's very files."""

from actors.version_registry import policy_of
from desk.errors import ArtifactRefused, FilesUnavailable
from desk.learning.versions import AgentVersion
from desk.runs import Provenance, Run
from desk.store import kinds
from desk.store.feature_sets import find_feature_set
from desk.store.places import Home
from desk.store.port import DocStore

COPY_WAIT_S = 0.3
"""A decision waits no longer for an artifact that this machine has no copy of yet; the next one has it."""


def provenance_of(store: DocStore, home: Home, run: Run) -> Provenance:
    """Look at everything a run rests on; the artifact is read and hashed as serving does it."""
    found = store.get(kinds.VERSIONS, run.version_id) if run.version_id else None
    version = found.value if found else None
    has_artifact = bool(version and version.artifact_uri and version.artifact_sha256)
    return Provenance(
        has_dataset=_has_dataset(store, run, version),
        has_feature_set=find_feature_set(store, run.feature_set_id) is not None,
        has_artifact=has_artifact,
        is_artifact_available=version is not None and has_artifact and _loads(store, home, version),
    )


def dataset_sha256_of(store: DocStore, run: Run, version: AgentVersion | None) -> str:
    """Hash of the dataset a run names: as recorded, else as its version says; empty: unknown."""
    if not run.dataset_id:
        return ""
    doc = store.get(kinds.DATASETS, run.dataset_id)
    if doc is not None:
        return doc.value.sha256
    is_versions = version is not None and version.dataset_id == run.dataset_id
    return version.dataset_sha256 if version is not None and is_versions else ""


def _has_dataset(store: DocStore, run: Run, version: AgentVersion | None) -> bool:
    doc = store.get(kinds.DATASETS, run.dataset_id) if run.dataset_id else None
    if doc is None:
        return False
    if version is None or version.dataset_id != run.dataset_id or not version.dataset_sha256:
        return True
    return doc.value.sha256 == version.dataset_sha256


def _loads(store: DocStore, home: Home, version: AgentVersion) -> bool:
    try:
        policy_of(home, version, store, patience_s=COPY_WAIT_S)
    except (ArtifactRefused, FilesUnavailable, OSError):
        return False
    return True
