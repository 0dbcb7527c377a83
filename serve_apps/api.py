"""The operator API as one FastAPI application: collaborators in, routes and guards around them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Depends, FastAPI, Request
from starlette.middleware.gzip import GZipMiddleware

from desk.clock import Clock
from desk.store.decision_history import Archive as DecisionArchive
from desk.store.decision_history import DecisionHistory
from desk.store.evaluation_files import EvaluationFiles
from desk.store.places import Home
from desk.store.port import Store
from desk.store.signals import Archive
from desk.wallclock import wall_ms as read_wall_ms
from serve_apps import problems
from serve_apps.auth import CsrfGuard, Guard, HostGuard
from serve_apps.candle_pages import CandleReader
from serve_apps.context import ApiFacts, Context
from serve_apps.description import described
from serve_apps.desk_port import Desk, Learning
from serve_apps.events import EventHub
from serve_apps.frame import Frame
from serve_apps.freqtrade.login import FacadeLogin
from serve_apps.headers import security_headers
from serve_apps.idempotency import Idempotency
from serve_apps.intake import Intake
from serve_apps.media import MediaGuard
from serve_apps.parameters import given_once
from serve_apps.request_counts import RequestCounts
from serve_apps.routes import (
    agents,
    datasets,
    drift,
    evaluation_files,
    evaluations,
    feature_sets,
    feeds,
    freqtrade,
    governance,
    ingestion,
    live,
    login,
    market,
    ops,
    preflight,
    quality,
    quotes,
    retries,
    risk,
    signals,
    source_config,
    sources,
    trades,
    trading,
    versions,
)
from serve_apps.routes import learning as learning_routes
from serve_apps.sessions import Logins, session_of
from serve_apps.sse import StreamTimes
from serve_apps.ui.assets import Assets
from serve_apps.ui.pages import mount_ui

ROUTERS = (
    agents.router,
    governance.router,
    versions.router,
    evaluation_files.router,
    drift.router,
    evaluations.router,
    trades.router,
    trading.router,
    risk.router,
    preflight.router,
    ops.router,
    learning_routes.router,
    ingestion.router,
    retries.router,
    sources.router,
    feeds.router,
    source_config.router,
    quality.router,
    datasets.router,
    feature_sets.router,
    market.router,
    quotes.router,
    signals.router,
    live.router,
    freqtrade.router,
    login.router,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOptions:
    """What differs between the product and a test."""

    extra_hosts: frozenset[str] = frozenset()
    stream_times: StreamTimes = field(default_factory=StreamTimes)
    max_streams: int = 64
    login_delay_s: float = login.FAILURE_DELAY_S
    wall_ms: Callable[[], int] = read_wall_ms


def build_api(
    desk: Desk,
    store: Store,
    clock: Clock,
    *,
    learning: Learning,
    candles: CandleReader,
    facts: ApiFacts,
    assets: Assets,
    api_token: str | None = None,
    options: ApiOptions | None = None,
    archive: Archive | None = None,
    past_decisions: DecisionArchive | None = None,
    home: Home | None = None,
    reports: EvaluationFiles | None = None,
) -> FastAPI:
    """Build the application. Without `api_token` only loopback clients are served."""
    options = options or ApiOptions()
    app = FastAPI(
        title="Raydesk operator API",
        version=facts.server_version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(given_once)],
    )
    app.state.context = Context(
        desk=desk,
        learning=learning,
        store=store,
        candles=candles,
        archive=archive,
        decisions=DecisionHistory(store, past_decisions),
        home=home,
        evaluations=reports,
        clock=clock,
        hub=EventHub(store, max_streams=options.max_streams),
        facts=facts,
        wall_ms=options.wall_ms,
        stream_times=options.stream_times,
        ui_problem=assets.problem,
    )
    app.state.logins = Logins(api_token) if api_token else None
    app.state.failed_logins = login.FailedLogins(delay_s=options.login_delay_s)
    for router in ROUTERS:
        app.include_router(router)
    # FastAPI keeps the routers and looks into them at each request: what is in them is kept here.
    app.state.routes = [route for router in ROUTERS for route in router.routes]
    mount_ui(app, assets, _csrf_of)
    problems.install(app)
    _surround(app, store, assets, options)
    app.openapi = lambda: described(app)
    return app


def _surround(app: FastAPI, store: Store, assets: Assets, options: ApiOptions) -> None:
    """Put the layers around the routes; the last one added is the outermost."""
    app.add_middleware(Idempotency, store=store, wall_ms=options.wall_ms)
    # Outside of what keeps answers: a kept one is given again to a client that may not unpack it.
    app.add_middleware(GZipMiddleware, minimum_size=1_000, compresslevel=1)
    app.add_middleware(MediaGuard)
    app.add_middleware(CsrfGuard)
    app.add_middleware(Intake)
    proxies = app.state.context.facts.proxies
    app.add_middleware(Guard, logins=app.state.logins, wall_ms=options.wall_ms, proxies=proxies)
    app.add_middleware(FacadeLogin, logins=app.state.logins, wall_ms=options.wall_ms)
    app.add_middleware(HostGuard, extra=options.extra_hosts)
    app.add_middleware(Frame, headers=security_headers(assets.content_security_policy))
    app.add_middleware(RequestCounts)


def _csrf_of(request: Request) -> str:
    session = session_of(request.scope)
    return (session.csrf or "") if session else ""
