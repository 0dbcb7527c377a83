"""The one registry of feature sets: those this release brings, and those that operators made."""

from desk.errors import NotFound, VersionConflict
from desk.market.feature_sets import FeatureSetRecord
from desk.market.features import FEATURE_SETS, FeatureSet
from desk.store import kinds
from desk.store.port import DocStore

MOST_SETS = 500


def find_feature_set(store: DocStore, feature_set_id: str) -> FeatureSet | None:
    """A feature set by id, or None where nobody made one."""
    built_in = FEATURE_SETS.get(feature_set_id)
    if built_in is not None:
        return built_in
    doc = store.get(kinds.FEATURE_SETS, feature_set_id)
    if doc is None or doc.value.features.feature_set_id != feature_set_id:
        return None  # of another release: it would be computed otherwise
    return doc.value.features


def feature_set_of(store: DocStore, feature_set_id: str) -> FeatureSet:
    """A feature set by id. Raises `NotFound`."""
    found = find_feature_set(store, feature_set_id)
    if found is None:
        raise NotFound("feature set", feature_set_id)
    return found


def keep_feature_set(
    store: DocStore, features: FeatureSet, *, now_ms: int, created_by: str
) -> FeatureSetRecord:
    """Keep a set. What is there already stays as it is and is returned."""
    key = features.feature_set_id
    record = FeatureSetRecord(features=features, created_ms=now_ms, created_by=created_by)
    if key in FEATURE_SETS:
        return built_in_record(FEATURE_SETS[key])
    try:
        store.put(kinds.FEATURE_SETS, key, record, at_ms=now_ms, expected_version=0)
    except VersionConflict:
        doc = store.get(kinds.FEATURE_SETS, key)
        return record if doc is None else doc.value
    return record


def all_feature_sets(store: DocStore) -> list[FeatureSetRecord]:
    """The built-in ones first, then those that were made, newest first."""
    made = [doc.value for doc in store.list(kinds.FEATURE_SETS, limit=MOST_SETS)]
    return [*(built_in_record(features) for features in FEATURE_SETS.values()), *made]


def record_of(store: DocStore, feature_set_id: str) -> FeatureSetRecord:
    """The record of a set. Raises `NotFound`."""
    if feature_set_id in FEATURE_SETS:
        return built_in_record(FEATURE_SETS[feature_set_id])
    doc = store.get(kinds.FEATURE_SETS, feature_set_id)
    if doc is None:
        raise NotFound("feature set", feature_set_id)
    return doc.value


def built_in_record(features: FeatureSet) -> FeatureSetRecord:
    """As if it had been made with the release."""
    return FeatureSetRecord(features=features, created_ms=0, created_by="")
