"""Gauges of `GET /metrics`: facts as the store holds them at the moment of the scrape."""

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from importlib.metadata import version

from actors.reconciler import STATE_KEY as RECONCILED_KEY
from actors.slo_watch import STATE_KEY as LEVELS_KEY
from desk.alert_codes import CODES, explained_by
from desk.market.retries import MAX_ITEMS, RetryStatus
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.places import local_home
from desk.trading import breaker as breakers
from desk.trading import ledger as books
from desk.trading.orders import OrderState
from desk.trading.venue_health import Condition
from serve_apps import lookups
from serve_apps.context import Context

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    # accounts
    "desk_equity_usdt": ("Equity at the last marks.", ("account",)),
    "desk_cash_usdt": ("Cash in the books.", ("account",)),
    "desk_exposure_usdt": ("Sum of absolute notionals.", ("account",)),
    "desk_unrealized_pnl_usdt": ("Unrealised result at the last marks.", ("account",)),
    "desk_realized_pnl_usdt": ("Realised result since the books began.", ("account",)),
    "desk_fees_usdt": ("Fees paid since the books began.", ("account",)),
    "desk_funding_usdt": ("Funding since the books began; below 0: paid.", ("account",)),
    "desk_daily_loss_usdt": ("Loss since the UTC day began.", ("account",)),
    "desk_reserved_usdt": ("Reserved for orders that are not terminal.", ("account",)),
    "desk_drawdown_ratio": ("Fall from peak equity.", ("account",)),
    "desk_positions": ("Pairs in which the account holds something.", ("account",)),
    "desk_open_orders": ("Orders that are not terminal.", ("account",)),
    "desk_unresolved_orders": ("Orders whose outcome is unknown.", ("account",)),
    "desk_kill_switch": ("1 while entries are stopped.", ("account",)),
    "desk_breaker_cooldown": ("1 while the circuit breaker stops entries.", ("account",)),
    "desk_venue_condition": ("1 for the condition the exchange is in.", ("account", "condition")),
    "desk_venue_answer_age_seconds": (
        "Wall time since the exchange answered a whole comparison.",
        ("account",),
    ),
    "desk_reconciled_age_seconds": ("Market time since the last noted comparison.", ("account",)),
    # runs, alerts, levels
    "desk_runs": ("Runs by mode and status.", ("mode", "status")),
    "desk_alerts_open": ("Incidents that nobody acknowledged.", ("code", "severity")),
    "desk_alert_notices_waiting": ("Notices that a receiver has not taken.", ("channel",)),
    "desk_service_level_missed": ("1 while a service level is missed.", ("level",)),
    "desk_service_level_ratio": ("Value of a service level over its threshold.", ("level",)),
    # actors and the machine
    "desk_actors": ("Actors by role and status.", ("role", "status")),
    "desk_actor_heartbeat_age_seconds": ("Wall time since the oldest last one.", ("role",)),
    "desk_actor_restarts": ("Restarts of the actors that are there.", ("role",)),
    "desk_actor_resident_bytes": ("Resident memory.", ("role",)),
    "desk_disk_free_bytes": ("Free beside the store and the history.", ()),
    "desk_store_up": ("0 while the store does not answer.", ()),
    "desk_build_info": ("1; the version is its label.", ("version",)),
    # data
    "desk_source_age_seconds": ("Time since the last event.", ("source", "pair", "interval")),
    "desk_source_ok": ("1 while the source's gate is open.", ("source", "pair", "interval")),
    "desk_gaps": ("Gaps in the stored candles.", ("status",)),
    "desk_gap_scan_age_seconds": ("Market time since the last scan for gaps.", ()),
    "desk_retry_queue_items": ("Failed ingestion jobs by status.", ("status",)),
    "desk_market_time_seconds": ("The venue's market clock.", ()),
    "desk_venue_clock_offset_seconds": ("How far the exchange's clock is ahead of ours.", ()),
    "desk_venue_clock_age_seconds": ("Wall time since that clock was read.", ()),
    # learning
    "desk_jobs": ("Jobs by kind and status.", ("kind", "status")),
    "desk_job_progress_ratio": ("How far the least finished running job is.", ("kind",)),
    "desk_job_age_seconds": ("Market time since the oldest running job began.", ("kind",)),
    "desk_job_silent_seconds": ("Market time since the quietest one moved.", ("kind",)),
    "desk_job_units_per_second": ("Steps, candles or cases a wall second.", ("kind",)),
    "desk_versions": ("Agent versions by status.", ("status",)),
    "desk_learning_cycles": ("Cycles of continuous learning by status.", ("status",)),
    # the operator API
    "desk_event_streams": ("Open event streams of this replica.", ()),
    "desk_audit_rows": ("Rows of the audit since it began.", ()),
}

type Series = dict[str, dict[tuple[str, ...], float]]
"""By gauge and labels."""


def local_facts(ctx: Context) -> Series:
    """What is known without the store."""
    found: Series = defaultdict(dict)
    found["desk_event_streams"][()] = ctx.hub.open_streams
    found["desk_build_info"][(version("raydesk"),)] = 1
    home = None if ctx.home is None else local_home(ctx.home)
    if home is not None and home.exists():
        found["desk_disk_free_bytes"][()] = shutil.disk_usage(home).free
    return found


def stored_facts(ctx: Context) -> Series:
    """Everything that the store tells. Raises `StoreUnavailable`."""
    found: Series = defaultdict(dict)
    for read in _READERS:
        read(ctx, found)
    return found


def _accounts(ctx: Context, found: Series) -> None:
    for ledger in lookups.ledgers(ctx):
        labels = (ledger.account,)
        orders = ctx.store.active_orders(ledger.account)
        reserved = ctx.store.reservations(ledger.account)
        breaker = ctx.store.get(kinds.BREAKERS, ledger.account)
        is_cooling = breaker is not None and breakers.is_cooling(breaker.value, ctx.clock.now_ms())
        lost = (OrderState.UNKNOWN, OrderState.QUARANTINED)
        values: Mapping[str, float] = {
            "desk_equity_usdt": float(books.equity(ledger)),
            "desk_cash_usdt": float(ledger.cash),
            "desk_exposure_usdt": float(books.exposure(ledger)),
            "desk_unrealized_pnl_usdt": float(books.unrealized(ledger)),
            "desk_realized_pnl_usdt": float(ledger.realized_pnl),
            "desk_fees_usdt": float(ledger.fees),
            "desk_funding_usdt": float(ledger.funding),
            "desk_daily_loss_usdt": float(books.daily_loss(ledger)),
            "desk_reserved_usdt": sum(float(amount) for amount in reserved.values()),
            "desk_drawdown_ratio": float(books.drawdown_fraction(ledger)),
            "desk_positions": len(ledger.positions),
            "desk_open_orders": len(orders),
            "desk_unresolved_orders": sum(order.state in lost for order in orders),
            "desk_kill_switch": ctx.store.kill_reason(ledger.account) is not None,
            "desk_breaker_cooldown": is_cooling,
        }
        for name, value in values.items():
            found[name][labels] = value


def _venues(ctx: Context, found: Series) -> None:
    for account in ctx.facts.accounts:
        fact = ctx.store.get(kinds.STATE, f"{RECONCILED_KEY}:{account}")
        if fact is not None:
            age_ms = ctx.clock.now_ms() - fact.at_ms
            found["desk_reconciled_age_seconds"][(account,)] = max(age_ms, 0) / 1000
        doc = ctx.store.get(kinds.VENUES, account)
        if doc is None:
            continue
        for condition in Condition:
            is_it = doc.value.condition is condition
            found["desk_venue_condition"][account, condition.value] = is_it
        if doc.value.seen_wall_ms:
            age_ms = ctx.wall_ms() - doc.value.seen_wall_ms
            found["desk_venue_answer_age_seconds"][(account,)] = max(age_ms, 0) / 1000


def _runs(ctx: Context, found: Series) -> None:
    for doc in lookups.runs(ctx.store):
        _add(found["desk_runs"], (doc.value.mode.value, doc.value.status.value), 1)


def _alerts(ctx: Context, found: Series) -> None:
    # Each alert that there may be is there with 0: a rule on it has something to compare.
    for one in CODES.values():
        for severity in one.severities:
            found["desk_alerts_open"][one.code, severity] = 0.0
    alerts = [doc.value for doc in ctx.store.list(kinds.ALERTS, limit=lookups.MANY)]
    unresolved = [alert for alert in alerts if alert.status != "resolved"]
    for alert in unresolved:
        if alert.status == "open" and explained_by(alert, unresolved) is None:
            _add(found["desk_alerts_open"], (alert.code.split(":")[0], alert.severity), 1)
    for doc in ctx.store.list(kinds.ALERT_OUTBOXES, limit=lookups.MANY):
        found["desk_alert_notices_waiting"][(doc.key,)] = len(doc.value.waiting)


def _levels(ctx: Context, found: Series) -> None:
    fact = ctx.store.get(kinds.STATE, LEVELS_KEY)
    for level in fact.value["levels"] if fact else ():
        labels = (str(level["code"]),)
        found["desk_service_level_missed"][labels] = bool(level["missed"])
        if level["value"] is not None and level["threshold"]:
            found["desk_service_level_ratio"][labels] = level["value"] / level["threshold"]


def _actors(ctx: Context, found: Series) -> None:
    wall_ms = ctx.wall_ms()
    for doc in ctx.store.list(kinds.ACTORS, limit=lookups.MANY):
        actor = doc.value
        labels = (actor.role,)
        age_s = max(wall_ms - actor.last_heartbeat_wall_ms, 0) / 1000
        ages = found["desk_actor_heartbeat_age_seconds"]
        if actor.status != "stopped":
            ages[labels] = max(ages.get(labels, 0.0), age_s)
        _add(found["desk_actors"], (actor.role, actor.status), 1)
        _add(found["desk_actor_restarts"], labels, actor.restarts)
        _add(found["desk_actor_resident_bytes"], labels, actor.rss_bytes)


def _sources(ctx: Context, found: Series) -> None:
    for source in (*lookups.sources(ctx), *lookups.signal_sources(ctx)):
        labels = (source.source_type, source.source_id or source.pair, source.interval)
        found["desk_source_ok"][labels] = source.status == "ok"
        if source.age_ms is not None:
            found["desk_source_age_seconds"][labels] = source.age_ms / 1000


def _gaps(ctx: Context, found: Series) -> None:
    scan = ctx.store.get(kinds.STATE, "gap_scan")
    if scan is not None:
        for status in ("open", "absent_at_venue"):
            found["desk_gaps"][(status,)] = int(scan.value[status])
        age_ms = ctx.clock.now_ms() - int(scan.value["at_ms"])
        found["desk_gap_scan_age_seconds"][()] = max(age_ms, 0) / 1000


def _retries(ctx: Context, found: Series) -> None:
    items = Counter(
        doc.value.status.value for doc in ctx.store.list(kinds.RETRIES, limit=MAX_ITEMS)
    )
    for status in RetryStatus:
        found["desk_retry_queue_items"][(status.value,)] = items[status.value]


def _clock(ctx: Context, found: Series) -> None:
    found["desk_market_time_seconds"][()] = ctx.clock.now_ms() / 1000
    anchor = ctx.anchor()
    if anchor is not None:
        found["desk_venue_clock_offset_seconds"][()] = anchor.offset_ms / 1000
        age_ms = ctx.wall_ms() - anchor.wall_ms
        found["desk_venue_clock_age_seconds"][()] = max(age_ms, 0) / 1000


def _jobs(ctx: Context, found: Series) -> None:
    running: dict[str, list[Job]] = defaultdict(list)
    for doc in ctx.store.list(kinds.JOBS, limit=lookups.MANY):
        job = doc.value
        _add(found["desk_jobs"], (job.kind, job.status.value), 1)
        if job.status is JobStatus.RUNNING:
            running[job.kind].append(job)
    now_ms = ctx.clock.now_ms()
    for kind, jobs in running.items():
        labels = (kind,)
        parts = [min(job.done / job.total, 1.0) for job in jobs if job.total]
        if parts:
            found["desk_job_progress_ratio"][labels] = min(parts)
        oldest_ms = min(job.created_ms for job in jobs)
        quietest_ms = min(job.updated_ms for job in jobs)
        found["desk_job_age_seconds"][labels] = max(now_ms - oldest_ms, 0) / 1000
        found["desk_job_silent_seconds"][labels] = max(now_ms - quietest_ms, 0) / 1000
        found["desk_job_units_per_second"][labels] = sum(job.rate_per_s for job in jobs)


def _learning(ctx: Context, found: Series) -> None:
    versions = lookups.versions(ctx.store).values()
    for doc in versions:
        _add(found["desk_versions"], (doc.value.status.value,), 1)
    for cycle in ctx.store.list(kinds.LEARNING_CYCLES, limit=lookups.MANY):
        _add(found["desk_learning_cycles"], (cycle.value.status.value,), 1)


def _audit(ctx: Context, found: Series) -> None:
    found["desk_audit_rows"][()] = ctx.store.audit_head().seq


_READERS: tuple[Callable[[Context, Series], None], ...] = (
    _accounts,
    _venues,
    _runs,
    _alerts,
    _levels,
    _actors,
    _sources,
    _gaps,
    _retries,
    _clock,
    _jobs,
    _learning,
    _audit,
)


def _add(series: dict[tuple[str, ...], float], labels: tuple[str, ...], by: float) -> None:
    series[labels] = series.get(labels, 0.0) + by
