"""The operator API on a Ray Serve of its own, and beside it a bare FastAPI application."""

import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Response

from actors.seed import seed
from actors.wiring import Wiring
from desk.clock import MINUTE_MS
from desk.market.candles import Candles
from desk.settings import load_settings
from desk.store import kinds, server
from desk.store.valkey import ValkeyStore
from desk.venues.connect import bingx_config
from desk.wallclock import wall_ms

PAIR = "BTC-USDT"
CANDLES = 5_000
BARE = "/bare"
RAY = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
"""Ray reads these when it is imported."""


@dataclass(frozen=True)
class Bench:
    """Where both applications answer, and the store behind ours."""

    url: str
    store: ValkeyStore


@contextlib.contextmanager
def served() -> Generator[Bench]:
    """Deploy as `desk up` does, without the actors, which no read asks."""
    os.environ.update(RAY)
    ray: Any = import_module("ray")
    serve: Any = import_module("ray.serve")
    operator_api = import_module("serve_apps.operator_api")
    with tempfile.TemporaryDirectory(prefix="rd-bench-") as folder:
        home = Path(folder)
        running = server.start(home)
        store = ValkeyStore(running.url)
        store.load_functions()
        ray.init(
            address="local",
            num_cpus=os.cpu_count(),
            resources={"trading": 1_000},
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        try:
            settings = load_settings({"DESK_HOME": folder, "PORT": str(_free_port())})
            venue = bingx_config(settings, "http://127.0.0.1:9")
            wiring = Wiring.of(settings, store_url=running.url, venue=venue)
            seed(store, home, settings.market_data_pairs)
            operator_api.deploy(
                settings, wiring, venue_name="bench", start_actors=lambda _: fill(store)
            )
            serve.run(_bare(serve), name="bare", route_prefix=BARE)
            yield Bench(url=f"http://127.0.0.1:{settings.port}", store=store)
        finally:
            serve.shutdown()
            ray.shutdown()
            store.close()
            server.stop(running)


def fill(store: ValkeyStore) -> None:
    """A clock, and candles for a page of a chart."""
    now_ms = wall_ms()
    anchor = {"market_ms": now_ms, "wall_ms": now_ms, "speed": 1.0}
    store.put(kinds.STATE, "clock", anchor, at_ms=now_ms)
    close = 40_000.0 + np.arange(CANDLES, dtype=np.float64)
    first_ms = (now_ms // MINUTE_MS - CANDLES) * MINUTE_MS
    candles = Candles(
        open_ms=first_ms + MINUTE_MS * np.arange(CANDLES, dtype=np.int64),
        open=close,
        high=close + 1.0,
        low=close - 1.0,
        close=close,
        volume=np.ones(CANDLES),
    )
    store.write_candles(PAIR, "1m", candles)


def _bare(serve: Any) -> Any:
    """FastAPI and nothing else: no guard, no store, an answer of as many bytes as is asked for."""
    app = FastAPI()

    @app.get("/bytes/{count}")
    async def answer(count: int) -> Response:  # pyright: ignore[reportUnusedFunction] - a route
        return Response(b'"' + b"x" * (count - 2) + b'"', media_type="application/json")

    class Bare:
        pass

    deployment = serve.deployment(
        serve.ingress(app)(Bare),
        name="Bare",
        max_ongoing_requests=256,
        ray_actor_options={"num_cpus": 0},
    )
    return deployment.bind()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
