"""A simulator at a known moment, the unmodified ccxt client, and hand-signed requests."""

import asyncio
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import ccxt.async_support as ccxt
import pytest

START_MS = 1_750_000_000_000  # 2025-06-15 15:06:40 UTC
SECTIONS = "fund spot swap contract wallets user subAccount account copyTrading cswap api"  # of ccxt's urls


@pytest.fixture
def sim(shared_simulator: Any) -> Any:
    """The shared simulator, reset: market frozen at START_MS, habits as at the start."""
    shared_simulator.control("POST", "clock", {"freeze": True, "pin_server_ms": None})
    shared_simulator.reset(seed=7, market_ms=START_MS)
    shared_simulator.control("POST", "habits", {"limits": False, "limit_factor": 1.0})
    return shared_simulator


@pytest.fixture
def start_ms() -> int:
    return START_MS


def _client(url: str, key: str, secret: str) -> Any:
    exchange = ccxt.bingx(
        {
            "apiKey": key,
            "secret": secret,
            "enableRateLimit": False,
            "options": {"defaultType": "swap"},
        }
    )
    base = dict.fromkeys(SECTIONS.split(), f"{url}/openApi")
    exchange.urls |= {"test": base, "api": base}  # pyright: ignore[reportOperatorIssue] - untyped in ccxt
    exchange.set_sandbox_mode(True)
    exchange.number = str
    return exchange


@pytest.fixture
def with_client() -> Callable[..., Any]:
    """Run a coroutine function on the unmodified ccxt client of a simulator, markets loaded."""

    def run(
        sim: Any,
        script: Callable[[Any], Awaitable[Any]],
        *,
        key: str = "sim-key",
        secret: str = "sim-secret",
    ) -> Any:
        async def drive() -> Any:
            exchange = _client(sim.url, key, secret)
            try:
                answer = await exchange.swapV2PublicGetQuoteContracts()
                exchange.set_markets(exchange.parse_markets(answer["data"]))
                return await script(exchange)
            finally:
                await exchange.close()

        return asyncio.run(drive())

    return run


class Venue:
    """Hand-signed requests to a simulator; `sim` is its control plane."""

    def __init__(self, sim: Any, *, key: str = "sim-key", secret: str = "sim-secret") -> None:
        self.sim = sim
        self.key = key
        self.secret = secret

    def call(
        self,
        method: str,
        path: str,
        params: dict[str, Any] | None = None,
        *,
        key: str | None = "",
        secret: str | None = "",
        stamp: int | None = -1,
        timeout: float = 10.0,
    ) -> tuple[int, Any]:
        """Send one request and return (HTTP status, parsed or raw body).

        An empty `key` or `secret` is this venue's own, None leaves it out; so does `stamp` None.
        """
        values = {name: str(value) for name, value in (params or {}).items()}
        if stamp is not None:
            values["timestamp"] = str(int(time.time() * 1000) if stamp == -1 else stamp)
        query = urllib.parse.urlencode(values)
        if secret is not None:
            text = "&".join(f"{name}={value}" for name, value in values.items())
            signed = hmac.new((secret or self.secret).encode(), text.encode(), hashlib.sha256)
            query += f"&signature={signed.hexdigest()}"
        request = urllib.request.Request(f"{self.sim.url}/openApi/{path}?{query}", method=method)
        if key is not None:
            request.add_header("X-BX-APIKEY", key or self.key)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, _parsed(answer.read().decode())
        except urllib.error.HTTPError as problem:
            with problem:
                return problem.code, _parsed(problem.read().decode())

    def data(self, method: str, path: str, params: dict[str, Any] | None = None) -> Any:
        """The `data` of a request that must succeed."""
        status, body = self.call(method, path, params)
        assert (status, body["code"]) == (200, 0), body
        return body["data"]

    def code(self, method: str, path: str, params: dict[str, Any] | None = None) -> int:
        return self.call(method, path, params)[1]["code"]

    def place(self, **params: Any) -> tuple[int, Any]:
        """Send an order: by default a market buy of 0.01 BTC."""
        order = {"symbol": "BTC-USDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        return self.call("POST", "swap/v2/trade/order", {**order, "positionSide": "BOTH", **params})

    def buy(self, **params: Any) -> dict[str, Any]:
        """Place an order and return its created row; it must be accepted."""
        status, body = self.place(**params)
        assert (status, body["code"]) == (200, 0), body
        return body["data"]["order"]

    def order(self, order_id: Any, symbol: str = "BTC-USDT") -> dict[str, Any]:
        params = {"symbol": symbol, "orderId": order_id}
        return self.data("GET", "swap/v2/trade/order", params)["order"]

    def positions(self) -> list[dict[str, Any]]:
        return self.data("GET", "swap/v2/user/positions")

    def candles(self, **params: Any) -> list[dict[str, Any]]:
        query = {"symbol": "BTC-USDT", "interval": "1m", **params}
        return self.data("GET", "swap/v3/quote/klines", query)

    def price(self, pair: str = "BTC-USDT") -> float:
        """Price now, by the control plane."""
        return float(self.sim.state()["prices"][pair])

    def account(self) -> Any:
        return self.sim.state()["accounts"][0]


@pytest.fixture
def venue(sim: Any) -> Venue:
    return Venue(sim)


@pytest.fixture
def venue_of() -> Callable[..., Venue]:
    """Hand-signed requests to any simulator."""
    return Venue


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
