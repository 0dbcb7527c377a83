"""A real browser in front of the real API, on a filled in-memory store and a desk that writes down its orders."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import uvicorn
from fastapi import FastAPI

from desk.clock import ManualClock
from desk.market.candles import Candles
from desk.runs import Agent
from desk.settings import load_settings
from desk.store import kinds
from desk.store.evaluation_files import EvaluationFiles
from desk.store.memory import MemoryStore
from serve_apps.api import ApiOptions, build_api
from serve_apps.context import ApiFacts
from serve_apps.ingestion_settings import ingestion_settings
from serve_apps.sse import StreamTimes
from serve_apps.ui.assets import load_assets
from tests.ui.fake_desk import CANDLES, NOW_MS, PAIR, START_MS, FakeDesk, a_run
from tests.ui.filled_store import decide, fill_store, place, replace_times, rest, tell_job, trade
from tests.ui.slow_answers import as_slow_as_asked

__all__ = (
    "CANDLES",
    "NOW_MS",
    "PAIR",
    "START_MS",
    "FakeDesk",
    "Served",
    "a_run",
    "decide",
    "fill_store",
    "place",
    "replace_times",
    "rest",
    "serve",
    "tell_job",
    "trade",
)
"""What tests and benches import from here; the parts stand in modules of their own."""


class StoredCandles:
    """The store itself as the reader of candle pages."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def read(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Candles:
        return self._store.read_candles(pair, interval, start_ms, end_ms)

    def bounds(self, pair: str, interval: str) -> tuple[int, int, int] | None:
        return self._store.candle_bounds(pair, interval)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running API and what stands behind it."""

    url: str
    store: MemoryStore
    desk: FakeDesk


@pytest.fixture
def served(walk: Callable[..., Candles]) -> Iterator[Served]:
    """The API on a free port, filled."""
    store = MemoryStore()
    candles = replace_times(walk(CANDLES, seed=11))
    fill_store(store, candles)
    desk = FakeDesk(store)
    with serve(store, desk) as url:
        yield Served(url=url, store=store, desk=desk)


@pytest.fixture
def served_empty() -> Iterator[Served]:
    """The API of a desk that has just started: no candle, no run, no trade."""
    store = MemoryStore()
    agent = Agent(agent_id="desk", name="desk", allowed_instruments=(PAIR,))
    store.put(kinds.AGENTS, "desk", agent, at_ms=START_MS)
    desk = FakeDesk(store)
    with serve(store, desk) as url:
        yield Served(url=url, store=store, desk=desk)


class serve:
    """Run uvicorn in a thread for the length of a with-block; gives the base URL."""

    def __init__(
        self,
        store: MemoryStore,
        desk: FakeDesk,
        reports: EvaluationFiles | None = None,
        *,
        token: str | None = None,
        signal_sources: tuple[tuple[str, str], ...] = (),
        stream_times: StreamTimes = StreamTimes(),  # noqa: B008 - it never changes
        also: Callable[[FastAPI], None] = lambda app: None,
    ) -> None:
        facts = ApiFacts(
            venue="simulator 30x",
            api_token_set=token is not None,
            pairs=(PAIR, "ETH-USDT"),
            intervals=("1m",),
            signal_sources=signal_sources,
            ingestion=ingestion_settings(load_settings({})),
        )
        app = build_api(
            desk,
            store,
            ManualClock(NOW_MS),
            learning=desk,
            candles=StoredCandles(store),
            facts=facts,
            reports=reports,
            assets=load_assets(),
            api_token=token,
            options=ApiOptions(stream_times=stream_times),
        )
        also(app)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        config = uvicorn.Config(
            as_slow_as_asked(app),
            host="127.0.0.1",
            port=self._port,
            log_level="error",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline, "uvicorn did not start"
            time.sleep(0.02)
        return f"http://127.0.0.1:{self._port}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
