"""A tiny venue that answers what a test says, over real HTTP, for the adapter's own rules."""

import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from desk.trading.orders import Leg, Order, Side
from desk.venues.bingx import BingxVenue
from desk.venues.bingx_wire import BingxConfig
from desk.wallclock import wall_ms


@dataclass
class Canned:
    """Answers by `METHOD path`, each the `data` of a success or one of these.

    A tuple `(status, body)` or `(status, body, content_type)` as it stands, where a negative status
    drops the connection; an iterator, used up answer by answer; a function of the request.
    """

    answers: dict[str, Any]
    requests: list[web.BaseRequest] = field(default_factory=list)

    def count(self, key: str) -> int:
        """How many requests of `METHOD path` arrived."""
        return sum(_key(request) == key for request in self.requests)

    def query(self, key: str) -> dict[str, str]:
        """Decoded parameters of the last request of `METHOD path`."""
        return dict(next(r for r in reversed(self.requests) if _key(r) == key).query)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        answer: Any = self.answers.get(_key(request), (404, "no such path"))
        if isinstance(answer, Iterator):
            answer = next(answer)
        if callable(answer):
            answer = answer(request)
        if not isinstance(answer, tuple):
            answer = (200, json.dumps({"code": 0, "msg": "", "data": answer}))
        spelt_out: tuple[Any, ...] = (*answer, "application/json")
        status, body, content_type = spelt_out[:3]
        if status < 0:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return web.Response(status=status, text=body, content_type=content_type)


@pytest.fixture
def canned_venue() -> Callable[..., AbstractAsyncContextManager[tuple[BingxVenue, Canned]]]:
    """Open `canned_venue({"GET swap/v2/user/positions": [...]}, **config)` as (venue, canned)."""

    @asynccontextmanager
    async def open_venue(
        answers: dict[str, Any], **config: Any
    ) -> AsyncGenerator[tuple[BingxVenue, Canned]]:
        clock = {"GET swap/v2/server/time": lambda _: {"serverTime": wall_ms()}}
        canned = Canned({**clock, **answers})
        runner = web.ServerRunner(web.Server(canned.handle), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        defaults: dict[str, Any] = {
            "base_url": f"http://{host}:{port}",
            "api_key": "a-key",
            "secret": "a-secret",
            "market_share": 1e6,
        }
        venue = BingxVenue(BingxConfig(**{**defaults, **config}))
        try:
            yield venue, canned
        finally:
            await venue.close()
            await runner.cleanup()

    return open_venue


@pytest.fixture
def make_order() -> Callable[..., Order]:
    """Return a market order of 0.01 BTC; keywords replace its fields."""

    def make(**changes: Any) -> Order:
        fields: dict[str, Any] = {
            "client_order_id": "t1abcdefghijklmnopqrstuvwx",
            "account": "live",
            "run_id": "run",
            "decision_id": "decision",
            "trade_id": "trade",
            "pair": "BTC-USDT",
            "leg": Leg.ENTRY,
            "side": Side.BUY,
            "quantity": Decimal("0.01"),
            "reduce_only": False,
            "reference_price": Decimal(40_000),
            "decided_open_ms": 0,
            "created_ms": 0,
            "trace_id": "trace",
        }
        return Order(**{**fields, **changes})

    return make


def _key(request: web.BaseRequest) -> str:
    return f"{request.method} {request.path.removeprefix('/openApi/')}"
