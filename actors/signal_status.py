"""How fresh each source of signals is: by its last successful sync, for silence is normal. Wall time."""

from collections.abc import Callable
from dataclasses import replace

from actors.events import source_event
from actors.source_book import OK, STALE, UNAVAILABLE
from desk.market.channel_messages import TELEGRAM
from desk.market.features import FeatureSet
from desk.market.signals import TRADINGVIEW
from desk.runs import SourceStatus
from desk.store import kinds
from desk.store.port import DocStore

SIGNAL_TYPES = frozenset({TRADINGVIEW, TELEGRAM})
THRESHOLD_S = 3_600
SLACK_S = 300
"""What a sync may take, so that a source asked for every hour is not stale for minutes each time."""


def status_key(source_type: str, source_id: str) -> str:
    """Key of a status row."""
    return f"{source_type}:{source_id}:"


def wish_key(source_type: str) -> str:
    """Key of the fact whose every new version asks the pollers of a source to run now."""
    return f"run:{source_type}"


def new_signal_status(source_type: str, source_id: str, *, every_s: int = 0) -> SourceStatus:
    """A source of which nothing is known yet: not ok."""
    return SourceStatus(
        source_type=source_type,
        source_id=source_id,
        pair="",
        interval="",
        enabled=True,
        status=UNAVAILABLE,
        freshness_threshold_s=max(THRESHOLD_S, every_s + SLACK_S),
        last_event_ms=0,
        last_success_ms=0,
        detail="was not synced yet",
    )


def judged_signal(source: SourceStatus, *, now_ms: int, is_polled: bool) -> SourceStatus:
    """The row as it counts now; unavailable while nobody polls, whatever the last sync said."""
    if not source.enabled:
        return replace(source, status=UNAVAILABLE, detail="paused by an operator")
    if not is_polled:
        return replace(source, status=UNAVAILABLE, detail="nobody polls it: see /ops/actors")
    age_ms = now_ms - source.last_success_ms
    if source.status == OK and age_ms > source.freshness_threshold_s * 1000:
        return replace(source, status=STALE, detail=f"last sync {age_ms // 1000} s ago")
    return source


def type_of(source_id: str) -> str:
    """Type of a source of signals: a feed's id has no colon, a channel's begins with its type."""
    return TELEGRAM if source_id.startswith(f"{TELEGRAM}:") else TRADINGVIEW


def types_of(features: FeatureSet) -> tuple[str, ...]:
    """Types of the sources of signals that a feature set looks at: required where it is decided on."""
    return tuple(sorted({type_of(columns.source_id) for columns in features.signals}))


def signal_sources(
    store: DocStore, features: FeatureSet, *, wall_now_ms: int
) -> tuple[SourceStatus, ...]:
    """The sources of signals of a feature set, each by its last sync; one without a row is not ok.

    A poller's life is not asked for: one that is restarted within its threshold costs no run.
    """
    rows: list[SourceStatus] = []
    for source_id in (columns.source_id for columns in features.signals):
        fresh = new_signal_status(type_of(source_id), source_id)
        found = store.get(kinds.SOURCES, status_key(fresh.source_type, source_id))
        row = found.value if found else fresh
        rows.append(judged_signal(row, now_ms=wall_now_ms, is_polled=True))
    return tuple(rows)


def change_status(
    store: DocStore,
    fresh: SourceStatus,
    change: Callable[[SourceStatus], SourceStatus],
    *,
    now_ms: int,
) -> SourceStatus:
    """Change a row, created as `fresh` where it is absent. What an operator set in it is kept.

    Raises `VersionConflict` when others change it at the same time: change it again.
    """
    key = status_key(fresh.source_type, fresh.source_id)
    found = store.get(kinds.SOURCES, key)
    before = found.value if found else fresh
    after = change(before)
    moved = found is None or (after.status, after.enabled) != (before.status, before.enabled)
    store.put(
        kinds.SOURCES,
        key,
        after,
        at_ms=now_ms,
        expected_version=found.version if found else 0,
        event=source_event(after, at_ms=now_ms) if moved else None,
    )
    return after
