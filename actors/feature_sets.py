"""Making a feature set, with its audit event; and who uses which."""

from collections.abc import Collection
from dataclasses import dataclass

from actors.audit import keep
from desk import ids
from desk.errors import BadInput
from desk.market.feature_sets import FeatureSetRecord
from desk.market.features import FEATURE_SETS, FeatureSet
from desk.runs import AuditEvent
from desk.store import kinds
from desk.store.feature_sets import MOST_SETS, find_feature_set, keep_feature_set
from desk.store.port import AuditStore, DocStore, Store

_MANY = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """How many rows on record, of the newest 1,000 of each kind, rest on a feature set."""

    versions: int
    datasets: int


def create_feature_set(
    store: Store,
    features: FeatureSet,
    *,
    known_sources: Collection[str],
    actor: str,
    now_ms: int,
    trace_id: str = "",
) -> FeatureSetRecord:
    """Keep a checked definition. Idempotent: one that is there is returned, its audit event completed
    where a crash came between the two.

    Raises `BadInput` for a source that is not configured, and beyond `MOST_SETS`.
    """
    for number, columns in enumerate(features.signals):
        if columns.source_id not in known_sources:
            known = " ".join(sorted(known_sources)) or "none: set TELEGRAM_CHAT_IDS or feed tokens"
            raise BadInput(
                f"signals.{number}.source_id",
                f"was {columns.source_id!r}, expected a configured source ({known})",
            )
    key = features.feature_set_id
    is_known = find_feature_set(store, key) is not None
    if not is_known and len(store.list(kinds.FEATURE_SETS, limit=MOST_SETS)) >= MOST_SETS:
        raise BadInput("name", f"{MOST_SETS} feature sets are kept, no more: use one of them")
    record = keep_feature_set(store, features, now_ms=now_ms, created_by=actor)
    if key not in FEATURE_SETS:
        _audit(store, record, key, trace_id)
    return record


def uses_of(store: DocStore) -> dict[str, Uses]:
    """By feature set id."""
    versions = [doc.value.feature_set_id for doc in store.list(kinds.VERSIONS, limit=_MANY)]
    datasets = [doc.value.feature_set_id for doc in store.list(kinds.DATASETS, limit=_MANY)]
    return {
        key: Uses(versions=versions.count(key), datasets=datasets.count(key))
        for key in {*versions, *datasets, *FEATURE_SETS}
    }


def _audit(store: AuditStore, record: FeatureSetRecord, key: str, trace_id: str) -> None:
    resource, features = f"feature_set/{key}", record.features
    event = AuditEvent(
        audit_id=ids.request_id("audit", "feature_set.create", key),
        actor=record.created_by,
        action="feature_set.create",
        resource=resource,
        at_ms=record.created_ms,
        before={},
        after={"columns": list(features.names), "lookback": features.lookback},
        trace_id=trace_id,
    )
    keep(store, event)
