"""Trading as a whole: summary, guardrails, metrics, reconciliation, the kill switch."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ValidationError
from starlette.responses import RedirectResponse

from actors.reconcile_sides import sides_key
from actors.reconciler import STATE_KEY
from actors.slo_watch import STATE_KEY as LEVELS_KEY
from desk.clock import DAY_MS, HOUR_MS
from desk.errors import BadInput
from desk.store import kinds
from serve_apps import lookups
from serve_apps.auth import form_of, form_values
from serve_apps.context import By, Context, Ctx
from serve_apps.idempotency import MAX_KEY_CHARS
from serve_apps.intake import body_of
from serve_apps.media import FORM
from serve_apps.metric_series import (
    KNOWN,
    MAX_POINTS,
    apart,
    of_stage,
    percentile,
    series_of,
)
from serve_apps.paging import Windowed
from serve_apps.parameters import refuse_repeated
from serve_apps.requests import KillBody, ReconcileBody
from serve_apps.schemas import (
    KillView,
    MetricSeries,
    MetricsView,
    Page,
    ReconcilerView,
    ReconcileView,
    RiskView,
    SampleName,
    ServiceLevel,
    SidesView,
    SummaryView,
)
from serve_apps.views import accounts, ops
from serve_apps.views.agents import ENDED, run_view
from serve_apps.views.orders import order_view
from serve_apps.views.risk import read_account_risk

router = APIRouter(tags=["trading"])

METRIC_SAMPLES = 5_000


@router.get("/ops/trading/summary")
def read_summary(ctx: Ctx) -> SummaryView:
    """Show mode, clock, accounts with positions, running runs, open orders, alerts, freshness."""
    runs, versions = lookups.runs(ctx.store), lookups.versions(ctx.store)
    strip = lookups.strip(ctx, runs)
    active = [run_view(doc, versions) for doc in runs if doc.value.status not in ENDED]
    baseline = accounts.baselines(runs, versions)
    ledgers = lookups.ledgers(ctx)
    orders = {ledger.account: ctx.store.active_orders(ledger.account) for ledger in ledgers}
    kill = {ledger.account: ctx.store.kill_reason(ledger.account) for ledger in ledgers}
    sources = lookups.sources(ctx)
    return SummaryView(
        **strip.model_dump(),
        accounts=[
            accounts.account_view(ledger, orders[ledger.account], kill[ledger.account], baseline)
            for ledger in ledgers
        ],
        runs=active,
        open_orders=[order_view(order) for rows in orders.values() for order in rows],
        baseline=any(run.baseline for run in active),
        killed=any(reason is not None for reason in kill.values()),
        alerts_open=lookups.open_alerts(ctx.store),
        freshness=ops.worst_source(sources),
        reconciler=[_reconciler(ctx, ledger.account) for ledger in ledgers],
        decision_latency_p95_ms=_recent_p95(ctx, "decision_latency_ms", strip.market_now_ms),
        ingestion_lag_p95_s=_recent_p95(ctx, "ingestion_lag_seconds", strip.market_now_ms),
        api_token_set=ctx.facts.api_token_set,
    )


@router.get("/ops/trading/risk")
def read_risk(ctx: Ctx) -> RiskView:
    """Show each limit of each account and of its runs with its use and headroom, and the breakers."""
    strip = lookups.strip(ctx, lookups.runs(ctx.store))
    views = [read_account_risk(ctx, ledger.account) for ledger in lookups.ledgers(ctx)]
    return RiskView(**strip.model_dump(), accounts=views)


@router.get("/ops/trading/metrics")
def read_metrics(
    ctx: Ctx,
    window: Windowed,
    *,
    name: Annotated[list[SampleName] | None, Query(max_length=20)] = None,
    step_ms: Annotated[int, Query(ge=1_000, le=DAY_MS)] = 60_000,
    stage: Annotated[str, Query(max_length=40)] = "total",
    by: Literal["all", "series"] = "all",
) -> MetricsView:
    """Read metric series in buckets; without bounds the last hour of market time.

    `stage` chooses a part of the decision latency: features, policy, risk, execute or total. With `by`
    `series` each pair and interval has an item of its own.
    """
    end_ms = window.end_ms if window.end_ms is not None else ctx.clock.now_ms() + 1
    start_ms = window.start_ms if window.start_ms is not None else max(end_ms - HOUR_MS, 0)
    if (end_ms - start_ms) // step_ms > MAX_POINTS:
        raise BadInput(
            "step_ms",
            f"was {step_ms}, expected at most {MAX_POINTS} buckets: take a longer step",
        )
    items = list[MetricSeries]()
    for each in name or KNOWN:
        samples = of_stage(
            ctx.store.samples(each, start_ms=start_ms, end_ms=end_ms, limit=METRIC_SAMPLES), stage
        )
        groups = apart(samples) if by == "series" else {(): samples}
        items += [
            series_of(
                each, found, start_ms=start_ms, end_ms=end_ms, step_ms=step_ms, tags=dict(tags)
            )
            for tags, found in groups.items()
        ]
    judged = ctx.store.get(kinds.STATE, LEVELS_KEY)
    return MetricsView(
        items=items,
        service_levels=[
            ServiceLevel.model_validate(level)
            for level in (judged.value["levels"] if judged else ())
        ],
        judged_at_ms=judged.value["at_ms"] if judged else None,
    )


@router.get("/ops/trading/reconcile")
def read_sides(ctx: Ctx) -> Page[SidesView]:
    """Show positions and open orders of each account beside the venue's, as the last comparison saw them."""
    docs = [
        (account, ctx.store.get(kinds.STATE, sides_key(account))) for account in ctx.facts.accounts
    ]
    return Page(
        items=[SidesView(account=account, **doc.value) for account, doc in docs if doc is not None]
    )


@router.post("/ops/trading/reconcile")
async def reconcile(ctx: Ctx, by: By, body: ReconcileBody | None = None) -> ReconcileView:
    """Compare orders and positions with the venue now."""
    account = body.account if body else None
    if account is not None and account not in ctx.facts.accounts:
        raise BadInput("account", f"was {account!r}, expected {' or '.join(ctx.facts.accounts)}")
    report = await ctx.desk.reconcile(account, actor=by.actor, trace_id=by.trace_id)
    return ReconcileView(
        checked=report.checked,
        updated=report.updated,
        errors=report.errors,
        reconciled_at_ms=report.reconciled_at_ms,
    )


def _kill_body(request: Request) -> KillBody:
    """Read the body as JSON, or as the plain form that works without JavaScript."""
    form = form_of(request.scope)
    if form:
        refuse_repeated(form_values(request.scope), KILL_FORM["properties"])
        if (
            len(form.get("idempotency_key", "")) > MAX_KEY_CHARS
        ):  # one in the header counts before it
            raise BadInput("idempotency_key", f"had more than {MAX_KEY_CHARS} characters")
        return KillBody(reason=form.get("reason", "")[:500], flatten=form.get("flatten") == "true")
    raw = body_of(request.scope)
    try:
        return KillBody.model_validate_json(raw) if raw.strip() else KillBody()
    except ValidationError as wrong:
        first = wrong.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise BadInput(field, first["msg"]) from None


KILL_FORM: dict[str, Any] = {
    "type": "object",
    "description": "What a page without JavaScript sends; a form never lifts the switch.",
    "properties": {
        "reason": {"type": "string", "description": "Cut at 500 characters."},
        "flatten": {"type": "string", "description": "`true` closes positions too."},
        "csrf": {"type": "string"},
        "idempotency_key": {
            "type": "string",
            "maxLength": MAX_KEY_CHARS,
            "description": "Empty: none.",
        },
    },
    "examples": [{"reason": "the venue looks wrong", "flatten": "true"}],
}


@router.post(
    "/ops/trading/kill",
    response_model=KillView,
    responses={303: {"description": "A plain form was taken: back to the operations page."}},
    openapi_extra={
        "requestBody": {
            "content": {
                "application/json": {"schema": KillBody.model_json_schema()},
                FORM: {"schema": KILL_FORM},
            }
        }
    },
)
async def kill(
    ctx: Ctx, by: By, request: Request, body: Annotated[KillBody, Depends(_kill_body)]
) -> Response:
    """Stop all trading: no new entries in any account. `on` false lifts it.

    A plain form is answered with a redirect to the operations page.
    """
    stopped = await ctx.desk.kill(
        on=body.on,
        reason=body.reason or ("operator" if body.on else ""),
        flatten=body.flatten,
        actor=by.actor,
        trace_id=by.trace_id,
    )
    if form_of(request.scope):
        return RedirectResponse("/rl-ops", status_code=303)
    view = KillView(on=body.on, reason=body.reason, runs_stopped=stopped, trace_id=by.trace_id)
    return Response(view.model_dump_json(), media_type="application/json")


def _reconciler(ctx: Context, account: str) -> ReconcilerView:
    doc = ctx.store.get(kinds.STATE, f"{STATE_KEY}:{account}")
    row = doc.value if doc else {}
    return ReconcilerView(
        account=account,
        last_ok_ms=row.get("reconciled_at_ms"),
        checked=row.get("checked", 0),
        updated=row.get("updated", 0),
        errors=row.get("errors", 0),
    )


def _recent_p95(ctx: Context, name: str, now_ms: int) -> float | None:
    samples = ctx.store.samples(name, start_ms=max(now_ms - HOUR_MS, 0), end_ms=now_ms + 1)
    return percentile([sample.value for sample in of_stage(samples)], 95)
