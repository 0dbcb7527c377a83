"""Settings of ingestion that an operator changes while the desk runs: kept in the store, over restarts."""

from collections.abc import Mapping

from desk.store import kinds
from desk.store.port import Doc, DocStore

KEY = "ingestion_config"
CHANGEABLE = {
    "DATA_GAP_MONITOR_INTERVAL_MIN": "every_min",
    "DATA_GAP_HEAL_ENABLED": "heal_enabled",
    "DATA_GAP_HEAL_COOLDOWN_MIN": "cooldown_min",
    "DATA_GAP_HEAL_MAX_GAPS_PER_RUN": "max_gaps_per_run",
    "DATA_GAP_HEAL_MAX_ATTEMPTS": "max_attempts",
    "RETRY_QUEUE_INTERVAL_SEC": "retry_every_s",
}
"""Setting → field of the gap monitor's parts. What is not here takes a restart."""

type Value = bool | int


def overrides(store: DocStore) -> dict[str, Value]:
    """What an operator set, by setting; a name that this release does not change counts for nothing."""
    found = store.get(kinds.STATE, KEY)
    return _known(found.value) if found else {}


def document(store: DocStore) -> Doc[dict[str, Value]] | None:
    """The same with the version of its row; None before anything was set."""
    found = store.get(kinds.STATE, KEY)
    if found is None:
        return None
    return Doc(key=found.key, value=_known(found.value), version=found.version, at_ms=found.at_ms)


def replace_overrides(
    store: DocStore, values: Mapping[str, Value], *, now_ms: int, expected_version: int
) -> Doc[dict[str, Value]]:
    """Put these in place of all earlier ones; what is not named is as the environment says again.

    Raises `VersionConflict` when somebody else changed them.
    """
    put = store.put(kinds.STATE, KEY, dict(values), at_ms=now_ms, expected_version=expected_version)
    return Doc(key=put.key, value=dict(values), version=put.version, at_ms=put.at_ms)


def fields(values: Mapping[str, Value]) -> dict[str, Value]:
    """The fields of the gap monitor's parts that these settings are."""
    return {CHANGEABLE[name]: value for name, value in values.items() if name in CHANGEABLE}


def _known(fact: Mapping[str, object]) -> dict[str, Value]:
    return {
        name: value
        for name, value in fact.items()
        if name in CHANGEABLE and isinstance(value, bool | int)
    }
