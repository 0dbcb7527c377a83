"""The operator API and the policy on Ray Serve: what runs where, and how it is started."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI
from pydantic import SecretStr

from actors.channel_book import source_of
from actors.parts.control import control
from actors.parts.decisions import SERVE_APP
from actors.parts.foundation import market_clock, open_store
from actors.tree import trading_resource
from actors.wiring import LIVE, PAPER, Wiring
from desk.engines.memory_budget import LIGHT_MEMORY_BYTES, free_memory_bytes
from desk.logs import configure_logs
from desk.market.channel_messages import TELEGRAM
from desk.market.signals import TRADINGVIEW
from desk.settings import Settings, load_settings
from desk.store.decision_archive import DecisionArchive
from desk.store.evaluation_files import EvaluationFiles
from desk.store.history import History
from desk.store.places import shared_folder
from desk.store.signal_archive import SignalArchive
from desk.venues.connect import bingx_config
from serve_apps import policy
from serve_apps.addresses import networks
from serve_apps.api import ApiOptions, build_api
from serve_apps.context import ApiFacts, Feeds
from serve_apps.ingestion_settings import SettingFact, ingestion_settings
from serve_apps.learning import RayLearning
from serve_apps.running import running_desk
from serve_apps.stored_candles import StoredCandles
from serve_apps.ui.assets import load_assets

if TYPE_CHECKING:  # Serve costs 80 MB and 2 s: only what deploys loads it
    from ray.serve import Application

log = structlog.stdlib.get_logger()

OPERATOR_APP = "operator"
MAX_ONGOING = 256
"""Far above the open event streams: Serve's default of 5 would freeze every page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorWiring:
    """Plain values that travel to the replica."""

    wiring: Wiring
    venue: str
    host: str
    api_token: SecretStr | None
    ui_vendor: Path | None
    feeds: Feeds
    proxy_cidrs: tuple[str, ...] = ()
    ingestion: tuple[SettingFact, ...] = ()

    @classmethod
    def of(cls, settings: Settings, wiring: Wiring, venue: str) -> "OperatorWiring":
        """Take what the API needs of the settings."""
        return cls(
            wiring=wiring,
            venue=venue,
            host=settings.host,
            api_token=settings.api_token,
            ui_vendor=settings.ui_vendor,
            feeds=_feeds(settings),
            proxy_cidrs=settings.trusted_proxy_cidrs,
            ingestion=ingestion_settings(settings),
        )


class OperatorReplica:
    """One process of the API. The application is built here, where its collaborators connect."""

    def __init__(self, given: OperatorWiring) -> None:
        configure_logs()
        self._given = given

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve after the constructor: mounts and routes are complete before it serves."""
        return operator_app(self._given)


def operator_app(given: OperatorWiring) -> FastAPI:
    """Connect the collaborators and build the application."""
    wiring, token = given.wiring, given.api_token
    store = open_store(wiring)
    clock = market_clock(store)
    return build_api(
        control(wiring, store),
        store,
        clock,
        learning=RayLearning(wiring, store, clock),
        candles=StoredCandles(store, History(shared_folder(wiring.place, "history", store))),
        archive=SignalArchive(shared_folder(wiring.place, "history", store)),
        past_decisions=DecisionArchive(shared_folder(wiring.place, "history", store)),
        home=wiring.place,
        reports=EvaluationFiles(shared_folder(wiring.place, "evaluations")),
        facts=ApiFacts(
            venue=given.venue,
            api_token_set=token is not None,
            pairs=wiring.pairs,
            intervals=wiring.intervals,
            accounts=(PAPER, LIVE),
            min_liquidation_buffer_bps=wiring.min_liquidation_buffer_bps,
            server_version=version("raydesk"),
            feeds=given.feeds,
            proxies=networks(given.proxy_cidrs),
            ingestion=given.ingestion,
            learning=wiring.learning,
            learning_enabled=wiring.learning_enabled,
            signal_sources=(
                *((TRADINGVIEW, name) for name in dict(given.feeds.token_hashes)),
                *((TELEGRAM, source_of(name)) for name in wiring.telegram_channels),
            ),
        ),
        assets=load_assets(given.ui_vendor),
        api_token=token.get_secret_value() if token else None,
        options=ApiOptions(extra_hosts=frozenset({given.host})),
    )


def application(given: OperatorWiring, resources: Mapping[str, float]) -> "Application":
    """The Serve application `operator`."""
    serve: Any = import_module("ray.serve")  # its decorators are not typed
    deployment = serve.deployment(
        serve.ingress()(OperatorReplica),
        name="OperatorApi",
        num_replicas=1,
        max_ongoing_requests=MAX_ONGOING,
        health_check_period_s=5,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=20,
        ray_actor_options={"num_cpus": 0, "resources": dict(resources)},
    )
    return deployment.bind(given)


def deploy(
    settings: Settings,
    wiring: Wiring,
    *,
    venue_name: str,
    start_actors: Callable[[Wiring], object],
) -> None:
    """Start Serve with the policy, then the actors that ask it, then the API that shows them.

    Ray must be initialised. Safe to repeat; a repeat replaces replicas whose arguments changed.
    """
    serve: Any = import_module("ray.serve")
    # No request timeout: it is end to end and would cut the event streams.
    http = {"host": settings.host, "port": settings.port}
    serve.start(proxy_location="HeadOnly", http_options=http)
    resources = trading_resource()
    replicas = 2 if free_memory_bytes() > LIGHT_MEMORY_BYTES else 1
    policies = policy.application(
        wiring.store_url, wiring.place, replicas=replicas, resources=resources
    )
    serve.run(policies, name=SERVE_APP, route_prefix=None)
    start_actors(wiring)
    given = OperatorWiring.of(settings, wiring, venue_name)
    serve.run(application(given, resources), name=OPERATOR_APP, route_prefix="/")


def undeploy() -> None:
    """End both applications of a Ray that goes on. Nothing happens where none runs."""
    serve: Any = import_module("ray.serve")
    serve.delete(OPERATOR_APP)
    serve.delete(SERVE_APP)


def build(args: Mapping[str, str]) -> "Application":
    """The application for `serve deploy`: settings from the environment, addresses as the desk has them."""
    settings = load_settings()
    run_file = running_desk(settings)
    venue = bingx_config(settings, run_file.venue_url)
    wiring = Wiring.of(settings, store_url=run_file.store_url, venue=venue)
    given = OperatorWiring.of(settings, wiring, args.get("venue", run_file.venue_name))
    return application(given, trading_resource())


def _feeds(settings: Settings) -> Feeds:
    return Feeds(
        token_hashes=settings.feed_hashes,
        secret=settings.tradingview_secret,
        cidrs=settings.tradingview_cidrs,
    )
