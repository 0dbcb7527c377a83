"""What an evaluation is weighed against: which policies are its rivals, and what it was trained on."""

from dataclasses import dataclass, field

import numpy as np
import structlog

from actors.study_period import Period
from actors.version_registry import policy_of
from desk.errors import ArtifactRefused, BadInput
from desk.evaluation.evidence import PREVIOUS, TREND
from desk.evaluation.overfitting import Trials
from desk.evaluation.walk_forward import FoldPlan, Rows
from desk.learning.baseline import (
    BASELINE_ALGORITHM,
    BASELINE_VERSION_ID,
    baseline_card,
    baseline_tensors,
)
from desk.learning.policy import MlpPolicy, load_policy
from desk.learning.study import Window
from desk.learning.versions import AgentVersion
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1, Features, FeatureSet
from desk.market.interval import interval_ms
from desk.store import kinds
from desk.store.feature_sets import feature_set_of
from desk.store.places import Home
from desk.store.port import DocStore

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighAsk:
    """How the evidence of an evaluation is gathered."""

    folds: FoldPlan | None = None
    """None: five folds, fewer on few candles."""
    trials: Trials | None = None
    """None: those on the version's card, else one."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contender:
    """A policy to compare with, and the features it sees."""

    name: str
    policy: MlpPolicy
    features: Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What contenders are looked for in."""

    home: Home
    store: DocStore
    candles: Candles
    period: Period
    now_ms: int
    seen: Window = field(repr=False)
    """The evaluated version's own rows."""


def contenders(scene: Scene, version: AgentVersion) -> list[Contender]:
    """The trend rule, unless it is what is evaluated, and the version promoted before on this pair.

    One whose artifact or signals are gone cannot be compared with: it is left out, with a warning.
    """
    found: list[Contender] = []
    if version.algorithm != BASELINE_ALGORITHM:
        policy = load_policy(baseline_card(), baseline_tensors())
        found += _contender(scene, TREND, policy, FEATURES_V1)
    previous = previously_promoted(scene.store, version, scene.period.pair)
    if previous is not None and previous.version_id != BASELINE_VERSION_ID:
        try:
            policy = policy_of(scene.home, previous, scene.store)
        except ArtifactRefused as gone:
            log.warning("previous_version_unreadable", error=str(gone))
        else:
            features = feature_set_of(scene.store, previous.feature_set_id)
            found += _contender(scene, PREVIOUS, policy, features)
    return found


def previously_promoted(store: DocStore, version: AgentVersion, pair: str) -> AgentVersion | None:
    """The agent's version, other than this one, promoted last by an evaluation on this pair."""
    earlier: list[AgentVersion] = []
    for doc in store.list(kinds.VERSIONS, limit=1_000):
        other = doc.value
        if (
            other.agent_id != version.agent_id
            or other.version_id == version.version_id
            or other.promoted_at_ms is None
        ):
            continue
        by = store.get(kinds.EVALUATIONS, other.promoted_by_evaluation_id)
        if by is not None and by.value.pair == pair:
            earlier.append(other)
    return max(earlier, key=lambda other: other.promoted_at_ms or 0, default=None)


def trained_rows(store: DocStore, version: AgentVersion, period: Period, candles: Candles) -> Rows:
    """Rows of the period's candles that a version was trained on, counted on before its beginning.

    None of another pair.
    """
    dataset = store.get(kinds.DATASETS, version.dataset_id)
    if dataset is None or dataset.value.pair != period.pair:
        return Rows(0, 0)
    first, end = (
        _row(candles, at_ms, interval_ms(period.interval))
        for at_ms in (version.training_start_ms, version.training_end_ms)
    )
    return Rows(first, end)


def trials_of(version: AgentVersion) -> Trials:
    """The trials that a version was chosen from: `trials` and `trial_sharpes` of its card, else one."""
    sharpes = tuple(float(one) for one in version.hyperparameters.get("trial_sharpes", ()))
    count = int(version.hyperparameters.get("trials", 1))
    return Trials(count=max(count, len(sharpes), 1), sharpes=sharpes)


def _row(candles: Candles, at_ms: int, step_ms: int) -> int:
    before = int(candles.open_ms[0]) - at_ms
    return -(before // step_ms) if before > 0 else int(np.searchsorted(candles.open_ms, at_ms))


def _contender(scene: Scene, name: str, policy: MlpPolicy, features: FeatureSet) -> list[Contender]:
    if features.feature_set_id == scene.seen.dataset.feature_set_id:
        return [Contender(name=name, policy=policy, features=scene.seen.features)]
    try:
        heard = scene.period.heard(scene.store, features, now_ms=scene.now_ms)
        seen = scene.period.window(scene.candles, features, heard)
    except BadInput as missing:
        log.warning("baseline_not_compared", baseline=name, error=str(missing))
        return []
    return [Contender(name=name, policy=policy, features=seen.features)]
