"""The bare hops of a decision: one Serve handle call, two actor calls, three durable writes, one POST.

Nothing is computed or checked. The writes lie where ours lie: one in the loop's process, one in the
ledger's, one in the executor's before the order leaves. Each is a row of an order's size, by the same
client and on the same server as ours, off the event loop as ours.
"""

import asyncio
import time
from importlib import import_module
from typing import Any

import aiohttp
import ray

from desk.store.valkey import ValkeyStore

APP = "bare"
DURABLE_WRITES = 3
ROW_BYTES = 1_000
"""About an order with its event."""
PATH = "/openApi/swap/v2/trade/order"


class BareReplica:
    """Answers at once."""

    async def decide(
        self, _version_id: str, _observation: list[float], _threshold: float
    ) -> tuple[float, float]:
        return (0.0, 1.0)


class BareActor:
    """The ledger and the executor without their work: a durable write, then the venue if there is one."""

    def __init__(self, store_url: str, venue_url: str = "") -> None:
        self._store, self._venue_url = ValkeyStore(store_url), venue_url
        self._session: aiohttp.ClientSession | None = None

    async def call(self, number: int) -> int:
        """Write; with a venue, post an order that it refuses unread: its arrival is what counts."""
        await asyncio.to_thread(write, self._store, number)
        if self._venue_url:
            self._session = self._session or aiohttp.ClientSession()
            asked = {"floor": str(number), "symbol": "BTC-USDT", "signature": "0" * 64}
            async with self._session.post(self._venue_url + PATH, params=asked) as answer:
                await answer.read()
        return number


class BareLoop:
    """The decision loop without its decision."""

    def __init__(self, store_url: str, ledger: Any, executor: Any) -> None:
        self._store, self._ledger, self._executor = ValkeyStore(store_url), ledger, executor
        self._handle = import_module("ray.serve").get_deployment_handle("Bare", APP)

    async def hear(self, number: int, observation: list[float]) -> int:
        """One pass; returns when it began, in ns of the monotonic clock."""
        began_ns = time.monotonic_ns()
        await self._handle.decide.remote("bare", observation, 0.0)
        await asyncio.to_thread(write, self._store, number)
        await self._ledger.call.remote(number)
        await self._executor.call.remote(number)
        return began_ns


def write(store: ValkeyStore, number: int) -> None:
    """A durable write and nothing else."""
    row = {"v": number, "row": b"x" * ROW_BYTES}
    store.connection.money.hset(f"bench:floor:{number % 1000}", mapping=row)


def start_bare(store_url: str, venue_url: str) -> Any:
    """Deploy and start them with the options of ours; returns the loop's handle."""
    serve: Any = import_module("ray.serve")
    deployment = serve.deployment(
        BareReplica,
        name="Bare",
        num_replicas=2,
        max_ongoing_requests=64,
        ray_actor_options={"num_cpus": 0},
    )
    serve.run(deployment.bind(), name=APP, route_prefix=None)
    options = {"num_cpus": 0, "max_concurrency": 8}
    actor: Any = ray.remote(BareActor).options(**options)
    ledger, executor = actor.remote(store_url), actor.remote(store_url, venue_url)
    loop: Any = ray.remote(BareLoop).options(**options)
    return loop.remote(store_url, ledger, executor)
