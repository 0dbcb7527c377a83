"""What an operator may set of ingestion while the desk runs: a source's row, the gap monitor's rules."""

from dataclasses import replace
from typing import Any

from fastapi import APIRouter

from actors import ingestion_config
from actors.audit import Audit
from actors.commands import FeedScope
from actors.events import source_event
from actors.ingestion_config import CHANGEABLE, Value
from actors.signal_status import SIGNAL_TYPES, status_key
from actors.source_book import CANDLES, key_of
from actors.source_switch import in_scope
from actors.store_calls import retried, stored
from desk.clock import DAY_MS
from desk.errors import BadInput, NotFound, SettingsError
from desk.market.interval import interval_ms
from desk.runs import SourceStatus
from desk.settings import load_settings
from desk.store import kinds
from serve_apps.context import By, ByVersion, Context, Ctx
from serve_apps.ingestion_settings import field_of
from serve_apps.problems import MISSING
from serve_apps.requests import IngestionConfigBody, SourceConfigBody
from serve_apps.schemas import IngestionConfig, IngestionSetting, SourceView
from serve_apps.tagged import TaggedRoute
from serve_apps.views.ops import signal_source_view, source_view

router = APIRouter(tags=["data sources"], route_class=TaggedRoute)

LONGEST_THRESHOLD_S = 7 * DAY_MS // 1000
CANDLE_SLACK_S = 10
"""What reading a candle may take after it closed."""


@router.patch("/data-sources/config", responses=MISSING)
async def set_source(ctx: Ctx, by: By, body: SourceConfigBody) -> SourceView:
    """Set one row's `enabled` or threshold. Its poller's own writes are kept, and keep it."""
    fresh, is_signal = _configured(ctx, body), body.source_type in SIGNAL_TYPES
    if body.enabled is None and body.freshness_threshold_s is None:
        raise BadInput("enabled", "was left out, and so was freshness_threshold_s: give one")
    _check_threshold(fresh, body.freshness_threshold_s)
    key = (
        status_key(fresh.source_type, fresh.source_id)
        if is_signal
        else key_of(fresh.source_type, fresh.pair, fresh.interval)
    )
    now_ms = ctx.wall_ms() if is_signal else ctx.clock.now_ms()

    async def attempt() -> tuple[SourceStatus, SourceStatus]:
        found = await stored(lambda: ctx.store.get(kinds.SOURCES, key))
        if found is None and is_signal:
            raise NotFound("status of source", f"{fresh.source_id}: it was not synced yet")
        before = found.value if found else fresh
        after = replace(before, **_asked(body))
        if after != before:
            await stored(
                lambda: ctx.store.put(
                    kinds.SOURCES,
                    key,
                    after,
                    at_ms=now_ms,
                    expected_version=found.version if found else 0,
                    event=source_event(after, at_ms=now_ms),
                )
            )
        return before, after

    before, after = await retried(attempt)
    if after != before:
        await Audit(ctx.store, ctx.clock).note(
            "source.config",
            f"source/{key}",
            actor=by.actor,
            trace_id=by.trace_id,
            before={name: getattr(before, name) for name in _asked(body)},
            after=_asked(body),
        )
    if is_signal:
        return signal_source_view(after, now_ms=now_ms)
    anchor = ctx.anchor()
    return source_view(after, now_ms=now_ms, speed=anchor.speed if anchor else 1.0)


@router.get("/ops/ingestion/config")
def read_config(ctx: Ctx) -> IngestionConfig:
    """Show each setting of ingestion with its value and where that comes from."""
    doc = ingestion_config.document(ctx.store)
    return _config(ctx, doc.value if doc else {}, doc.version if doc else 0)


@router.put("/ops/ingestion/config")
async def write_config(ctx: Ctx, by: ByVersion, body: IngestionConfigBody) -> IngestionConfig:
    """Put these values in place of all set before; the actors take them within a cycle, and keep
    them over restarts. What is left out is as the environment says again."""
    values = {name: _valid(name, value) for name, value in body.settings.items()}
    doc = await stored(lambda: ingestion_config.document(ctx.store))
    found = doc.version if doc else 0
    by.expect("ingestion config", found)
    before = doc.value if doc else {}
    if values == before:
        return _config(ctx, before, found)
    put = await stored(
        lambda: ingestion_config.replace_overrides(
            ctx.store, values, now_ms=ctx.clock.now_ms(), expected_version=found
        )
    )
    await Audit(ctx.store, ctx.clock).note(
        "ingestion.config",
        "ingestion/config",
        actor=by.actor,
        trace_id=by.trace_id,
        before=before,
        after=values,
    )
    return _config(ctx, put.value, put.version)


def _configured(ctx: Context, body: SourceConfigBody) -> SourceStatus:
    """The one configured source that is meant, as of nothing known."""
    if body.source_type in SIGNAL_TYPES:
        if body.pair is not None or body.interval is not None:
            raise BadInput("pair", f"was given, but {body.source_type} has a source_id instead")
        if (body.source_type, body.source_id or "") not in ctx.facts.signal_sources:
            raise NotFound("configured source", f"{body.source_type} {body.source_id or ''}")
        return SourceStatus(
            source_type=body.source_type,
            source_id=body.source_id or "",
            pair="",
            interval="",
            enabled=True,
            status="unavailable",
            freshness_threshold_s=0,
            last_event_ms=0,
            last_success_ms=0,
        )
    if body.source_id is not None:
        raise BadInput("source_id", f"was given, but {body.source_type} is of a pair: leave it out")
    if body.pair is None:
        raise BadInput("pair", f"was left out, expected one of {' '.join(ctx.facts.pairs)}")
    if body.source_type == CANDLES and body.interval is None:
        known = " ".join(ctx.facts.intervals)
        raise BadInput("interval", f"was left out, expected one of {known}")
    scope = FeedScope(source_type=body.source_type, pair=body.pair, interval=body.interval)
    [row] = in_scope(scope, ctx.facts.pairs, ctx.facts.intervals)
    return row


def _check_threshold(fresh: SourceStatus, seconds: int | None) -> None:
    """A candle is one interval old before the next one closes: below that it would never be ok."""
    least = interval_ms(fresh.interval) // 1000 + CANDLE_SLACK_S if fresh.interval else 1
    most = max(LONGEST_THRESHOLD_S, fresh.freshness_threshold_s)
    if seconds is not None and not least <= seconds <= most:
        raise BadInput(
            "freshness_threshold_s", f"was {seconds}, expected {least} to {most} for this source"
        )


def _asked(body: SourceConfigBody) -> dict[str, Any]:
    asked = {"enabled": body.enabled, "freshness_threshold_s": body.freshness_threshold_s}
    return {name: value for name, value in asked.items() if value is not None}


def _valid(name: str, value: Value) -> Value:
    """The value by the same rule as in the environment. Raises `BadInput` naming the setting."""
    if name not in CHANGEABLE:
        known = ", ".join(CHANGEABLE)
        raise BadInput(name, f"cannot be set while the desk runs, only {known}: set it and restart")
    try:
        settings = load_settings({name: str(value)})
    except SettingsError as wrong:
        raise BadInput(name, f"was {value}: {str(wrong).removeprefix(f'{name}: ')}") from None
    return getattr(settings, field_of(name))


def _config(ctx: Context, values: dict[str, Value], version: int) -> IngestionConfig:
    items = [
        IngestionSetting(
            name=fact.name,
            value=values.get(fact.name, fact.value),
            origin="operator" if fact.name in values else fact.origin,
            started_with=fact.value,
            changeable=fact.name in CHANGEABLE,
        )
        for fact in ctx.facts.ingestion
    ]
    return IngestionConfig(items=items, row_version=version)
