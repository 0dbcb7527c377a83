"""An exchange of this folder's own, and the desk that trades on it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from actors import heartbeat
from desk.store.valkey import ValkeyStore
from tests.orders.desk_on_the_wire import Gone, Pace, WireDesk, opened
from tests.orders.proxy import Proxy

type Story = Callable[[WireDesk], Awaitable[None]]


@pytest.fixture(scope="package")
def exchange_process(launch: Callable[..., Any]) -> Iterator[Any]:
    simulator = launch(seed=23)
    yield simulator
    simulator.stop()


@pytest.fixture
def exchange(exchange_process: Any) -> Any:
    """A fresh account on a market at the speed of the wall: no orders, no rules, an empty journal."""
    exchange_process.clear_faults()
    exchange_process.clock(server_offset_ms=0)
    exchange_process.control("POST", "habits", {"lift": True, "limits": False})
    exchange_process.reset(seed=23)
    return exchange_process


@pytest.fixture
def play(store: ValkeyStore, exchange: Any) -> Iterator[Callable[..., None]]:
    """Let a story happen to an opened desk, then hold the desk's books to the exchange's.

    `judged=False` leaves the verdict to the test; keywords are those of `Pace`, and `url` another
    way to the exchange.
    """

    def run(story: Story, *, judged: bool = True, url: str = "", **pace: Any) -> None:
        async def told() -> None:
            async with opened(store, exchange, Pace(**pace), url or exchange.url) as desk:
                await story(desk)
                if judged:
                    desk.judge()

        asyncio.run(told())

    with mock.patch.object(heartbeat.os, "_exit", side_effect=Gone):
        yield run


@pytest.fixture
def play_by_proxy(store: ValkeyStore, exchange: Any) -> Iterator[Callable[..., None]]:
    """`play` on a way to the exchange that the story can cut."""

    def run(
        story: Callable[[WireDesk, Proxy], Awaitable[None]], *, judged: bool = True, **pace: Any
    ) -> None:
        async def told() -> None:
            async with (
                Proxy(exchange.url).listening() as proxy,
                opened(store, exchange, Pace(**pace), proxy.url) as desk,
            ):
                await story(desk, proxy)
                if judged:
                    desk.judge()

        asyncio.run(told())

    with mock.patch.object(heartbeat.os, "_exit", side_effect=Gone):
        yield run
