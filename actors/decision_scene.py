"""Everything one decision rests on, read in one go, and the gates it has to pass before the policy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from actors.market_time import acceleration_grace_ms
from actors.promotion import is_promoted_on
from actors.provenance import dataset_sha256_of, provenance_of
from actors.signal_status import signal_sources, types_of
from actors.source_book import CANDLES, FUNDING, STALE, is_overdue, judged, key_of, new_status
from desk import runs
from desk.errors import NotFound
from desk.learning.versions import AgentVersion
from desk.market import bar_closes
from desk.market.candles import Candles
from desk.market.cross import drift_bps
from desk.market.features import FEATURES_V1, FeatureSet
from desk.market.integrity import (
    STALE_AFTER_INTERVALS,
    WindowVerdict,
    window_move,
    window_verdict,
)
from desk.market.interval import interval_ms
from desk.market.signal_features import Signals
from desk.runs import Admission, Agent, Run, SourceStatus
from desk.store import kinds
from desk.store.candle_window import CandleWindow
from desk.store.feature_sets import feature_set_of, find_feature_set
from desk.store.funding_history import last_settled
from desk.store.places import Home
from desk.store.port import Doc, DocStore, Store, Wanted
from desk.store.read_ahead import read_ahead
from desk.store.signal_history import last_heard
from desk.trading.instruments import Instrument
from desk.trading.ledger import Ledger
from desk.trading.orders import Order
from desk.trading.risk import RiskLimitSet
from desk.venues.port import MarkPrice
from desk.wallclock import wall_ms

MARK_TOLERANCE_MS = 2_000
"""How well the moment of a mark price is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The stored facts around one closed candle."""

    run: Run
    """With the version to ask, its feature set and dataset: of a run that follows its agent, the
    agent's active one; and with no threshold below the agent's least confidence."""
    version: AgentVersion | None
    """Its record, if there is one."""
    dataset_sha256: str
    agent: Agent
    instrument: Instrument
    features: FeatureSet
    window: Candles
    signals: Signals
    """What the features' sources had said by the close of the newest candle, funding among them."""
    sources: tuple[SourceStatus, ...]
    ledger: Ledger | None
    orders_in_flight: tuple[Order, ...]
    """Of the run's pair on its account."""
    limits: RiskLimitSet | None
    limits_revision: int
    """0: there is no such set."""
    size_fraction: float
    """Part of the allowed size that the version trades: below 1 for a canary."""
    kill_reason: str | None
    verdict: WindowVerdict
    admission: Admission
    now_ms: int

    @property
    def size_quote(self) -> Decimal | None:
        """Notional of a full position as the version may trade it; None without limits."""
        if self.limits is None:
            return None
        if self.size_fraction == 1.0:  # the digits as the operator wrote them, not "1000.0"
            return self.limits.max_position_size
        return self.limits.max_position_size * Decimal(str(self.size_fraction))


def read_scene(
    store: Store,
    run: Run,
    *,
    now_ms: int,
    speed: float,
    enforce_provenance: bool,
    home: Home = Path("/nonexistent"),
    held: CandleWindow | None = None,
) -> Scene:
    """Read what a decision on the newest stored candle needs. Raises `NotFound` for a missing row.

    `home` holds the artifacts, which a live run with enforced provenance is proved by. `held` has the
    run's candles as they were last read, and reads what is new.
    """
    store = read_ahead(store, run.account, looked_at(run))
    agent = store.get(kinds.AGENTS, run.agent_id)
    if agent is None:
        raise NotFound("agent", run.agent_id)
    threshold = max(run.decision_threshold, agent.value.min_confidence)
    run = replace(run, decision_threshold=threshold)
    size_fraction = 1.0
    if agent.value.active_version_id and store.get(kinds.STATE, follows_key(run.run_id)):
        run = _following(store, run, agent.value.active_version_id)
        if run.version_id == agent.value.active_version_id:
            size_fraction = agent.value.size_fraction
    instrument = store.get(kinds.INSTRUMENTS, run.pair)
    if instrument is None:
        raise NotFound("instrument", run.pair)
    is_strict = enforce_provenance and run.mode is runs.Mode.LIVE
    if is_strict and find_feature_set(store, run.feature_set_id) is None:
        run = replace(run, feature_set_id="")  # the gate says so: nothing else could be looked at
    features = features_of(store, run)
    candles = held or CandleWindow(store, run.pair, run.interval)
    window = candles.newest(features.lookback, ahead=store)
    newest_ms = int(window.open_ms[-1]) if len(window) else 0
    close_ms = newest_ms + interval_ms(run.interval)
    signals = {
        **last_heard(store, features, run.pair, close_ms),
        **last_settled(store, features, run.pair, close_ms),
    }
    limits = store.get(kinds.RISK_LIMITS, run.risk_limit_set_id)
    also = required_by(agent.value)
    sources = read_sources(store, run, now_ms=now_ms, speed=speed, also=also)
    kill_reason = store.kill_reason(run.account)
    version = store.get(kinds.VERSIONS, run.version_id)
    verdict = verdict_of(store, run, window, features.lookback, now_ms=now_ms, speed=speed)
    return Scene(
        run=run,
        version=version.value if version else None,
        dataset_sha256=dataset_sha256_of(store, run, version.value if version else None),
        agent=agent.value,
        instrument=instrument.value,
        features=features,
        window=window,
        signals=signals,
        sources=sources,
        ledger=store.ledger(run.account),
        orders_in_flight=tuple(
            order for order in store.active_orders(run.account) if order.pair == run.pair
        ),
        limits=limits.value if limits else None,
        limits_revision=limits.version if limits else 0,
        size_fraction=size_fraction,
        kill_reason=kill_reason,
        verdict=verdict,
        admission=runs.admit(
            run,
            agent.value,
            sources=sources,
            verdict=verdict,
            kill_reason=kill_reason,
            required_sources=(*runs.REQUIRED_SOURCES, *types_beside(features)),
            enforce_provenance=is_strict,
            provenance=provenance_of(store, home, run) if is_strict else runs.ALL_FOUND,
            is_in_maintenance=not instrument.value.tradable,
            window_move=window_move(_moved_in(window, features)),
        ),
        now_ms=now_ms,
    )


def looked_at(run: Run) -> tuple[Wanted, ...]:
    """The documents of every decision of a run."""
    return (
        (kinds.RUNS, run.run_id),
        (kinds.AGENTS, run.agent_id),
        (kinds.STATE, follows_key(run.run_id)),
        (kinds.INSTRUMENTS, run.pair),
        (kinds.RISK_LIMITS, run.risk_limit_set_id),
        (kinds.SOURCES, key_of(CANDLES, run.pair, run.interval)),
        (kinds.VERSIONS, run.version_id),
        (kinds.MARKS, run.pair),
        (kinds.INTAKE, f"{run.pair}:{run.interval}"),
        (kinds.BAR_CLOSES, run.pair),
    )


def required_by(agent: Agent) -> tuple[str, ...]:
    """Types of sources that an agent requires of every decision."""
    policies = agent.source_policies.items()
    return tuple(name for name, policy in policies if policy is runs.SourcePolicy.REQUIRED)


def read_sources(
    store: Store, run: Run, *, now_ms: int, speed: float, also: Sequence[str] = ()
) -> tuple[SourceStatus, ...]:
    """The required sources of a run, as fresh as they are now: its candles, the sources of signals
    and the funding that its features look at, and the types of the pair's that `also` names."""
    features = features_of(store, run)
    candles = store.get(kinds.SOURCES, key_of(CANDLES, run.pair, run.interval))
    found = [candles.value] if candles else []
    if features.funding is not None:
        funding = store.get(kinds.SOURCES, key_of(FUNDING, run.pair, ""))
        found.append(funding.value if funding else new_status(FUNDING, run.pair, ""))
    for name in also:
        if name not in {row.source_type for row in found}:
            row = store.get(kinds.SOURCES, key_of(name, run.pair, ""))
            found.append(row.value if row else new_status(name, run.pair, ""))
    of_venue = [judged(source, now_ms=now_ms, speed=speed) for source in found]
    return (*of_venue, *signal_sources(store, features, wall_now_ms=wall_ms()))


def types_beside(features: FeatureSet) -> tuple[str, ...]:
    """Types of the sources that a feature set needs beside candles."""
    return (*types_of(features), *((FUNDING,) if features.funding is not None else ()))


def _moved_in(window: Candles, features: FeatureSet) -> Candles:
    """The candles in which the market may have gone wild: those a series begins with say nothing of it."""
    if features.anchor is None:
        return window
    return window.take(slice(-FEATURES_V1.lookback, None))


def features_of(store: DocStore, run: Run) -> FeatureSet:
    """What a run's policy is shown. Raises `NotFound` for a set that this release does not compute."""
    return feature_set_of(store, run.feature_set_id) if run.feature_set_id else FEATURES_V1


def _following(store: DocStore, run: Run, version_id: str) -> Run:
    """The run on its agent's active version, shown what that version was trained on.

    In live it stays on its own until the active one has passed the gate on the run's pair too.
    """
    if version_id == run.version_id:
        return run
    found = store.get(kinds.VERSIONS, version_id)
    if run.mode is runs.Mode.LIVE and (
        found is None or not is_promoted_on(store, found.value, run.pair)
    ):
        return run
    if found is None:
        return replace(run, version_id=version_id)
    version = found.value
    return replace(
        run,
        version_id=version_id,
        feature_set_id=version.feature_set_id,
        dataset_id=version.dataset_id,
    )


def silence(
    sources: Sequence[SourceStatus], *, now_ms: int, speed: float
) -> tuple[str, str] | None:
    """Why a run that no candle reaches must pause, as code and detail; None: it may wait on.

    A source that was not answered for once is no reason yet, one whose newest event is older than
    its threshold is, and so is one that has no record. A source that is switched off is not
    required: what it no longer brings is missing in the window, which the integrity gate speaks of.
    Of signals silence is normal: theirs is the age of the last sync, as `judged_signal` has it.
    """
    candles = [source for source in sources if source.source_type == CANDLES]
    if not candles:
        return "data_source_unavailable", f"{CANDLES}: has no status"
    for source in sources:
        if source.source_type != CANDLES and source.enabled and source.status == STALE:
            return "data_source_unavailable", f"{source.source_type}: {source.detail}"
    for source in candles:
        if not is_overdue(source, now_ms=now_ms, speed=speed):
            continue
        if source.enabled:
            return "data_source_unavailable", f"{source.source_type}: {source.detail}"
        return "data_integrity_block", f"stale_candles: {source.source_type} is switched off"
    return None


def follows_key(run_id: str) -> str:
    """Name of the fact that a run was started without a version of its own: promotion moves it."""
    return f"follows:{run_id}"


def ends_at(window: Candles, open_ms: int) -> bool:
    """Whether this candle is the newest of the window."""
    return bool(len(window)) and int(window.open_ms[-1]) == open_ms


def reference_price(window: Candles) -> Decimal:
    """Close of the newest candle."""
    return Decimal(str(float(window.close[-1])))


def verdict_of(
    store: Store, run: Run, window: Candles, needed: int, *, now_ms: int, speed: float
) -> WindowVerdict:
    """Whether the stored window may be decided on; `needed` candles are wanted."""
    step_ms = interval_ms(run.interval)
    begin_ms = int(window.open_ms[0]) if len(window) else now_ms
    newest_ms = int(window.open_ms[-1]) if len(window) else now_ms
    # Gaps are indexed by their last missing open time: only those that touch the window come back.
    gaps = [doc.value for doc in store.list(kinds.GAPS, start_ms=begin_ms)]
    mark = store.get(kinds.MARKS, run.pair)
    tally = store.get(kinds.INTAKE, f"{run.pair}:{run.interval}")
    verdict = window_verdict(
        window,
        run.interval,
        now_ms=now_ms,
        needed=needed,
        gaps=[gap for gap in gaps if (gap.pair, gap.interval) == (run.pair, run.interval)],
        stale_after_intervals=STALE_AFTER_INTERVALS + acceleration_grace_ms(speed) / step_ms,
        drift_bps=_drift_bps(store, run, window, mark, speed=speed),
        is_misaligned=tally is not None and tally.value.is_misaligned,
        second_price=float(mark.value.mark)
        if mark
        and -MARK_TOLERANCE_MS <= mark.value.at_ms - newest_ms <= step_ms + MARK_TOLERANCE_MS
        else None,
    )
    came_wrong = tally.value.put_right if tally else ()
    return replace(verdict, warnings=tuple(dict.fromkeys((*verdict.warnings, *came_wrong))))


def _drift_bps(
    store: Store, run: Run, window: Candles, mark: Doc[MarkPrice] | None, *, speed: float
) -> float | None:
    """How far the other witnesses of the price are away, the furthest of them; None: there is none."""
    found: list[float | None] = []
    if mark is not None:
        tolerance_ms = MARK_TOLERANCE_MS + acceleration_grace_ms(speed)
        price, at_ms = float(mark.value.mark), mark.value.at_ms
        found.append(drift_bps(window, run.interval, price, at_ms, tolerance_ms=tolerance_ms))
    closes = store.get(kinds.BAR_CLOSES, run.pair)
    if closes is not None:
        found.append(bar_closes.drift_bps(window, run.interval, closes.value.closes))
    return max((drift for drift in found if drift is not None), default=None)
