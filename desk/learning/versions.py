"""A trained (or plainly stated) policy as a versioned thing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class VersionStatus(StrEnum):
    DRAFT = "draft"
    EVALUATING = "evaluating"
    PROMOTED = "promoted"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentVersion:
    """One policy artifact and what it was made from."""

    version_id: str
    agent_id: str
    name: str
    algorithm: str
    """`baseline_trend_rule` for the shipped rule; `ppo`, `dqn` or `bc` for a trained one."""
    is_baseline: bool
    status: VersionStatus
    artifact_uri: str
    artifact_sha256: str
    artifact_bytes: int
    feature_set_id: str
    created_ms: int
    seed: int = 0
    hyperparameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    dataset_id: str = ""
    dataset_sha256: str = ""
    training_start_ms: int = 0
    training_end_ms: int = 0
    promoted_at_ms: int | None = None
    promoted_by_evaluation_id: str = ""
    software: Mapping[str, str] = field(default_factory=dict[str, str])
    card_sha256: str = ""
    """Of the artifact's card; empty for versions that an earlier release registered."""
