"""`GET /metrics`: facts of the store in Prometheus' text form.

Made from the store at each scrape: a restarted process leaves no stale series behind.
"""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from desk.clock import HOUR_MS
from desk.market.retries import MAX_ITEMS, RetryStatus
from desk.store import kinds
from desk.trading import ledger as books
from serve_apps import lookups
from serve_apps.context import Context
from serve_apps.metric_series import KNOWN, of_stage, percentile

CONTENT_TYPE = CONTENT_TYPE_LATEST


def render(ctx: Context) -> bytes:
    """Read the facts and return them as text."""
    registry = CollectorRegistry()
    now_ms = ctx.clock.now_ms()
    _accounts(registry, ctx)
    _runs_and_alerts(registry, ctx)
    _actors(registry, ctx)
    _sources(registry, ctx)
    _retries(registry, ctx)
    _latencies(registry, ctx, now_ms)
    _gauge(registry, "desk_event_streams", "Open event streams of this replica.").set(
        ctx.hub.open_streams
    )
    _gauge(registry, "desk_market_time_seconds", "The venue's market clock.").set(now_ms / 1000)
    return generate_latest(registry)


def _gauge(
    registry: CollectorRegistry, name: str, text: str, labels: tuple[str, ...] = ()
) -> Gauge:
    return Gauge(name, text, labels, registry=registry)


def _accounts(registry: CollectorRegistry, ctx: Context) -> None:
    labels = ("account",)
    equity = _gauge(registry, "desk_equity_usdt", "Equity at the last marks.", labels)
    exposure = _gauge(registry, "desk_exposure_usdt", "Sum of absolute notionals.", labels)
    drawdown = _gauge(registry, "desk_drawdown_ratio", "Fall from peak equity.", labels)
    orders = _gauge(registry, "desk_open_orders", "Orders that are not terminal.", labels)
    killed = _gauge(registry, "desk_kill_switch", "1 while entries are stopped.", labels)
    for ledger in lookups.ledgers(ctx):
        account = ledger.account
        equity.labels(account).set(float(books.equity(ledger)))
        exposure.labels(account).set(float(books.exposure(ledger)))
        drawdown.labels(account).set(float(books.drawdown_fraction(ledger)))
        orders.labels(account).set(len(ctx.store.active_orders(account)))
        killed.labels(account).set(ctx.store.kill_reason(account) is not None)


def _runs_and_alerts(registry: CollectorRegistry, ctx: Context) -> None:
    runs = _gauge(registry, "desk_runs", "Runs by mode and status.", ("mode", "status"))
    for doc in lookups.runs(ctx.store):
        runs.labels(doc.value.mode.value, doc.value.status.value).inc()
    alerts = _gauge(registry, "desk_alerts_open", "Open alerts by severity.", ("severity",))
    for severity, count in lookups.open_alerts(ctx.store).items():
        alerts.labels(severity).set(count)


def _actors(registry: CollectorRegistry, ctx: Context) -> None:
    age = _gauge(
        registry, "desk_actor_heartbeat_age_seconds", "Wall time since the last one.", ("actor",)
    )
    restarts = _gauge(registry, "desk_actor_restarts", "Restarts of an actor.", ("actor",))
    memory = _gauge(registry, "desk_actor_resident_bytes", "Resident memory.", ("actor",))
    wall_ms = ctx.wall_ms()
    for doc in ctx.store.list(kinds.ACTORS, limit=lookups.MANY):
        actor = doc.value
        age.labels(actor.name).set(max(wall_ms - actor.last_heartbeat_wall_ms, 0) / 1000)
        restarts.labels(actor.name).set(actor.restarts)
        memory.labels(actor.name).set(actor.rss_bytes)


def _sources(registry: CollectorRegistry, ctx: Context) -> None:
    labels = ("source", "pair", "interval")
    age = _gauge(registry, "desk_source_age_seconds", "Market time since the last event.", labels)
    ok = _gauge(registry, "desk_source_ok", "1 while the source's gate is open.", labels)
    for source in (*lookups.sources(ctx), *lookups.signal_sources(ctx)):
        names = (source.source_type, source.source_id or source.pair, source.interval)
        ok.labels(*names).set(source.status == "ok")
        if source.age_ms is not None:
            age.labels(*names).set(source.age_ms / 1000)


def _retries(registry: CollectorRegistry, ctx: Context) -> None:
    items = _gauge(
        registry, "desk_retry_queue_items", "Failed ingestion jobs by status.", ("status",)
    )
    for status in RetryStatus:
        items.labels(status.value).set(0)
    for doc in ctx.store.list(kinds.RETRIES, limit=MAX_ITEMS):
        items.labels(doc.value.status.value).inc()


def _latencies(registry: CollectorRegistry, ctx: Context, now_ms: int) -> None:
    recent = _gauge(
        registry,
        "desk_recent",
        "Samples of the last hour of market time.",
        ("metric", "quantile"),
    )
    for name in KNOWN:
        samples = ctx.store.samples(name, start_ms=max(now_ms - HOUR_MS, 0), end_ms=now_ms + 1)
        for rank in (50, 95):
            found = percentile([sample.value for sample in of_stage(samples)], rank)
            if found is not None:
                recent.labels(name, f"0.{rank}").set(found)
