"""A whole desk on real parts: Ray, the embedded store, the simulator over HTTP; one per test file."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from actors.boot import start_actors, stop_actors
from actors.seed import seed
from actors.wiring import PolicyMode, Wiring
from desk.store import server
from desk.store.valkey import ValkeyStore
from tests.cluster.desk_on_ray import PAIRS, RunningDesk, register_busy_policy

SPEED = 60.0


@pytest.fixture(scope="module")
def desk(ray_session: None, launch: Callable[..., Any]) -> Iterator[RunningDesk]:
    """Store, simulator and actors, with three days of history and a paper run that trades often."""
    home = Path(tempfile.mkdtemp(prefix="rd-desk-"))
    embedded, simulator = server.start(home), launch(speed=SPEED, seed=11)
    store = ValkeyStore(embedded.url)
    wiring = Wiring(
        store_url=embedded.url,
        home=home,
        venue_url=simulator.url,
        pairs=PAIRS,
        intervals=("1m",),
        namespace=f"test-{os.getpid()}",
        api_key=SecretStr("sim-key"),
        secret_key=SecretStr("sim-secret"),
        policy_mode=PolicyMode.LOCAL,
        archive_every_s=0.0,
    )
    seed(store, home, PAIRS)
    register_busy_policy(store, home)
    start_actors(wiring)
    running = RunningDesk(wiring=wiring, store=store, simulator=simulator, store_server=embedded)
    for pair in PAIRS:
        running.fetch_history(pair)
    running.start_run()
    yield running
    stop_actors(wiring)
    store.close()
    server.stop(running.store_server)
    simulator.stop()
    shutil.rmtree(home)
