"""A whole desk on real parts: Ray, the embedded store, the simulator over HTTP; one per test file."""

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from actors.boot import start_actors, stop_actors
from actors.parts.decisions import SERVE_APP
from actors.seed import seed
from actors.wiring import PolicyMode, Wiring
from desk.store import server
from desk.store.valkey import ValkeyStore
from serve_apps import policy
from tests.cluster.desk_on_ray import PAIRS, RunningDesk, register_busy_policy

SPEED = 60.0
CALM_SPEED = 10.0
"""Six seconds for a candle: time enough for a decision while Ray starts processes on two cores."""


@pytest.fixture(scope="module")
def desk(ray_session: None, launch: Callable[..., Any]) -> Iterator[RunningDesk]:
    """Store, simulator and actors, with three days of history and a paper run that trades often."""
    with running_desk(launch(speed=SPEED, seed=11), PolicyMode.LOCAL) as running:
        yield running


@pytest.fixture(scope="module")
def desk_on_serve(ray_session: None, launch: Callable[..., Any]) -> Iterator[RunningDesk]:
    """The same with its policy on Serve, on a slower market."""
    with running_desk(launch(speed=CALM_SPEED, seed=11), PolicyMode.SERVE) as running:
        yield running


@contextmanager
def running_desk(
    simulator: Any, policy_mode: PolicyMode, *, has_run: bool = True, **changes: Any
) -> Generator[RunningDesk]:
    """Everything but the operator API, with other wiring where asked for; ended with the block."""
    home = Path(tempfile.mkdtemp(prefix="rd-desk-"))
    embedded = server.start(home)
    with ExitStack() as ends:
        # Whatever fails, nothing stays behind: the next desk would find this one's actors by name.
        ends.callback(shutil.rmtree, home)
        ends.callback(simulator.stop)
        store = ValkeyStore(embedded.url)
        wiring = Wiring(
            store_url=embedded.url,
            home=home,
            venue_url=simulator.url,
            intervals=("1m",),
            namespace=f"test-{os.getpid()}",
            api_key=SecretStr("sim-key"),
            secret_key=SecretStr("sim-secret"),
            policy_mode=policy_mode,
            archive_every_s=0.0,
            # The busy policy is always as good as certain, which is a drift wherever one is looked for.
            **{"pairs": PAIRS, "drift_confidence_delta": 1.0, **changes},
        )
        running = RunningDesk(
            wiring=wiring, store=store, simulator=simulator, store_server=embedded
        )
        ends.callback(lambda: server.stop(running.store_server))
        ends.callback(store.close)
        seed(store, home, wiring.pairs)
        register_busy_policy(store, home)
        if policy_mode is PolicyMode.SERVE:
            ends.enter_context(serving(wiring))
        ends.callback(stop_actors, wiring)
        start_actors(wiring)
        if has_run:
            for pair in PAIRS:
                running.fetch_history(pair)
            running.start_run()
        yield running


@contextmanager
def serving(wiring: Wiring) -> Generator[None]:
    """The policy's replicas, as `desk up` deploys them."""
    from ray import serve

    serve.start(proxy_location="Disabled")
    try:
        policies = policy.application(wiring.store_url, wiring.home, replicas=2)
        serve.run(policies, name=SERVE_APP, route_prefix=None)
        yield
    finally:
        serve.shutdown()
