"""A trained (or plainly stated) policy as a versioned thing, and the life of a version."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from desk.errors import IllegalTransition
from desk.ids import Pair


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
    """When it last became the active version by an evaluation; going back to it moves nothing."""
    promoted_by_evaluation_id: str = ""
    promoted_pairs: tuple[Pair, ...] = ()
    """Pairs on which it has passed the promotion gate; empty in rows of older releases."""
    software: Mapping[str, str] = field(default_factory=dict[str, str])
    card_sha256: str = ""
    """Of the artifact's card; empty for versions that an earlier release registered."""


MOVES: Mapping[VersionStatus, frozenset[VersionStatus]] = {
    VersionStatus.DRAFT: frozenset({VersionStatus.EVALUATING, VersionStatus.RETIRED}),
    VersionStatus.EVALUATING: frozenset({VersionStatus.PROMOTED, VersionStatus.RETIRED}),
    VersionStatus.PROMOTED: frozenset({VersionStatus.RETIRED}),
    VersionStatus.RETIRED: frozenset({VersionStatus.PROMOTED}),
}
"""The only moves there are; the store's functions refuse every other one, and nothing is promoted
that was not evaluated. A retired version is promoted again by going back to it."""


def evaluating(version: AgentVersion) -> AgentVersion:
    """A draft whose evaluation begins; any other version is returned unchanged."""
    if version.status is not VersionStatus.DRAFT:
        return version
    return _moved(version, VersionStatus.EVALUATING)


def promoted(version: AgentVersion, *, evaluation_id: str, pair: Pair, now_ms: int) -> AgentVersion:
    """The active version of its agent, by its own evaluation on a pair; again on the same one changes
    nothing. Raises `IllegalTransition` for a draft."""
    pairs = tuple(dict.fromkeys([*version.promoted_pairs, pair]))
    if version.status is VersionStatus.PROMOTED and version.promoted_at_ms is not None:
        return replace(version, promoted_pairs=pairs)
    return replace(
        _moved(version, VersionStatus.PROMOTED),
        promoted_at_ms=now_ms,
        promoted_by_evaluation_id=evaluation_id,
        promoted_pairs=pairs,
    )


def restored(version: AgentVersion) -> AgentVersion:
    """A version that was promoted before, active again; its record stays what it was."""
    return _moved(version, VersionStatus.PROMOTED)


def retired(version: AgentVersion) -> AgentVersion:
    """A version that is not, or no longer, to trade."""
    return _moved(version, VersionStatus.RETIRED)


def _moved(version: AgentVersion, status: VersionStatus) -> AgentVersion:
    if version.status is status:
        return version
    if status not in MOVES[version.status]:
        raise IllegalTransition(version.status.value, f"become {status.value}")
    return replace(version, status=status)
