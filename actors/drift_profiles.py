"""What a version does on the candles it was made or judged on, kept to hold its decisions against."""

from decimal import Decimal
from typing import TYPE_CHECKING

from actors.version_registry import policy_of, version_of
from desk.errors import BadInput
from desk.evaluation.drift import DriftLimits, Profile, profile_of
from desk.evaluation.report import EvaluationReport
from desk.ids import Pair
from desk.learning.study import Dataset, window
from desk.learning.versions import AgentVersion
from desk.market.interval import interval_ms
from desk.store import kinds
from desk.store.feature_sets import feature_set_of
from desk.store.places import Home
from desk.store.port import DocStore

if TYPE_CHECKING:  # the trading plane loads no Parquet
    from actors.parts.jobs import CandleSource

MOST_ROWS = 10_080
"""A week of 1m candles: the last of the dataset, nearest to what is traded."""


def profile_key(version_id: str, pair: Pair) -> str:
    """Key of a profile: one of each version and pair."""
    return f"{version_id}:{pair}"


def has_reference(store: DocStore, version: AgentVersion, pair: Pair) -> bool:
    """Whether candles of this pair are known on which the version was trained or promoted."""
    return _reference(store, version, pair) is not None


def keep_profile(
    home: Home, store: DocStore, candles: "CandleSource", version_id: str, pair: Pair
) -> Profile | None:
    """Compute and store the profile of a version on a pair; None where its candles are too few.

    The same call again stores the same. Raises `NotFound`, `ArtifactRefused`.
    """
    version = version_of(store, version_id)
    dataset = _reference(store, version, pair)
    features = feature_set_of(store, version.feature_set_id)
    if dataset is None or features.sources:  # what channels said is not kept as long as candles are
        return None
    step_ms = interval_ms(dataset.interval)
    start_ms = max(dataset.start_ms, dataset.end_ms - MOST_ROWS * step_ms)
    read_from_ms = start_ms - features.lookback * step_ms
    seen = candles.read(pair, dataset.interval, read_from_ms, dataset.end_ms)
    try:
        rows = window(
            pair, dataset.interval, seen, features, start_ms=start_ms, end_ms=dataset.end_ms
        )
    except BadInput:  # not one row with a whole lookback
        return None
    report = _promoted_by(store, version, pair)
    profile = profile_of(
        policy_of(home, version, store),
        rows.features,
        features.names,
        DriftLimits(),
        pnl_per_fee=_per_fee(report) if report else None,
    )
    if profile is not None:
        key = profile_key(version_id, pair)
        store.put(kinds.DRIFT_PROFILES, key, profile, at_ms=version.created_ms)
    return profile


def _reference(store: DocStore, version: AgentVersion, pair: Pair) -> Dataset | None:
    """The dataset it was trained on; of a rule, which has none, the one it was promoted by."""
    report = _promoted_by(store, version, pair)
    names = [version.dataset_id, report.dataset_id if report else ""]
    found = [doc.value for name in names if name and (doc := store.get(kinds.DATASETS, name))]
    return next((dataset for dataset in found if dataset.pair == pair), None)


def _promoted_by(store: DocStore, version: AgentVersion, pair: Pair) -> EvaluationReport | None:
    doc = store.get(kinds.EVALUATIONS, version.promoted_by_evaluation_id)
    return doc.value if doc and doc.value.pair == pair else None


def _per_fee(report: EvaluationReport) -> float | None:
    fees = Decimal(report.fees)
    return float(Decimal(report.net_pnl_after_fees) / fees) if fees > 0 else None
