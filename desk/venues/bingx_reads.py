"""Reads of BingX at the documented pace: spaced, retried when throttled, stopped when it gets worse."""

from collections.abc import Mapping
from types import MappingProxyType

from desk.errors import Throttled
from desk.venues.bingx_answers import Success
from desk.venues.bingx_errors import read_error
from desk.venues.bingx_wire import BingxWire, Parameters
from desk.venues.limiter import Breaker, Limiter, retry_throttled

PUBLIC_RATE_PER_S = 1.0
"""Documented for every market data endpoint, per address; times the venue's market speed."""

HEADROOM = 0.9
"""Share of a documented rate that is used: calls spaced evenly here arrive bunched at the venue."""

PRIVATE_RATE_PER_S: Mapping[str, float] = MappingProxyType(
    {
        "swapV2PrivateGetUserPositions": 3.0,
        "swapV3PrivateGetUserBalance": 3.0,
        "swapV2PrivateGetTradeOpenOrders": 3.0,
    }
)
"""Documented per account and address (the stricter value); `PRIVATE_DEFAULT_PER_S` for the rest."""
PRIVATE_DEFAULT_PER_S = 2.0


class BingxReads:
    """The paced way to ask; orders, cancels and look-ups go past it and keep the venue's budget."""

    def __init__(self, wire: BingxWire) -> None:
        self._wire = wire
        self._limiters: dict[str, Limiter] = {}
        self._breaker = Breaker()

    async def public(self, endpoint: str, parameters: Parameters) -> Success:
        """Ask for market data. Raises `VenueUnavailable` (also `Throttled`, `ProtocolError`)."""
        rate_per_s = PUBLIC_RATE_PER_S * self._wire.config.market_share
        return await self._paced(endpoint, parameters, rate_per_s, private=False)

    async def private(self, endpoint: str, parameters: Parameters) -> Success:
        """Ask for the account's data. Raises as `public`."""
        rate_per_s = PRIVATE_RATE_PER_S.get(endpoint, PRIVATE_DEFAULT_PER_S)
        return await self._paced(endpoint, parameters, rate_per_s, private=True)

    def back_off(self) -> None:
        """An order met the venue's limit: reads come at half their rate, and stop if that goes on."""
        self._breaker.record(throttled=True)
        for limiter in self._limiters.values():
            limiter.slow_down()

    async def _paced(
        self, endpoint: str, parameters: Parameters, rate_per_s: float, *, private: bool
    ) -> Success:
        anchor = await self._wire.anchor()
        limiter = self._limiters.setdefault(endpoint, Limiter(rate_per_s))
        limiter.set_rate(rate_per_s * anchor.speed * HEADROOM)

        async def ask() -> Success:
            await limiter.take()
            return await self._ask(endpoint, parameters, limiter, private=private)

        self._breaker.check(endpoint)
        return await retry_throttled(ask)

    async def _ask(
        self, endpoint: str, parameters: Parameters, limiter: Limiter, *, private: bool
    ) -> Success:
        self._breaker.check(endpoint)
        answer = await self._wire.read(endpoint, parameters, private=private)
        if isinstance(answer, Success):
            self._breaker.record(throttled=False)
            return answer
        error = read_error(answer)
        self._breaker.record(throttled=isinstance(error, Throttled))
        if isinstance(error, Throttled):
            limiter.slow_down()
        raise error
