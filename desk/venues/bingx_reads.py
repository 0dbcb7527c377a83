"""Reads of BingX at the documented pace: spaced, retried when throttled, stopped when it gets worse."""

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from desk.errors import Throttled
from desk.venues.bingx_answers import Success
from desk.venues.bingx_errors import read_error
from desk.venues.bingx_wire import BingxWire, Parameters, RateBudget
from desk.venues.limiter import Breaker, Limiter, retry_throttled
from desk.venues.turns import SharedLimiter, TurnBook

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


LOW_BUDGET, EMPTY_BUDGET = 100, 20
"""Requests left by the venue's own count (500 in 10 s were seen) at which every process reads at
half pace, and at which none reads at all until the count is renewed: the rest is for orders."""


class BingxReads:
    """The paced way to ask; orders, cancels and look-ups go past it and keep the venue's budget.

    With `turns` the documented rates are shared by every process behind the address; without, this
    process keeps to its static share (`market_share`) of the public ones.
    """

    def __init__(self, wire: BingxWire, turns: TurnBook | None = None) -> None:
        self._wire = wire
        self._turns = turns
        self._address = urlsplit(wire.config.base_url).netloc
        self._limiters: dict[str, Limiter | SharedLimiter] = {}
        self._breaker = Breaker()

    async def public(self, endpoint: str, parameters: Parameters) -> Success:
        """Ask for market data. Raises `VenueUnavailable` (also `Throttled`, `ProtocolError`)."""
        return await self._paced(endpoint, parameters, PUBLIC_RATE_PER_S, private=False)

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
        limiter = self._limiter(endpoint, private=private)
        share = 1.0 if private or self._turns is not None else self._wire.config.market_share
        limiter.set_rate(rate_per_s * share * anchor.speed * HEADROOM)

        async def ask() -> Success:
            await limiter.take()
            return await self._ask(endpoint, parameters, limiter, private=private)

        self._breaker.check(endpoint)
        return await retry_throttled(ask)

    def _limiter(self, endpoint: str, *, private: bool) -> Limiter | SharedLimiter:
        if endpoint not in self._limiters:
            self._limiters[endpoint] = self._new_limiter(endpoint, private=private)
        return self._limiters[endpoint]

    def _new_limiter(self, endpoint: str, *, private: bool) -> Limiter | SharedLimiter:
        if self._turns is None:
            return Limiter(PUBLIC_RATE_PER_S)
        return SharedLimiter(
            self._turns,
            self._address,
            f"{self._address}:{endpoint}",
            PUBLIC_RATE_PER_S,
            own_share=1.0 if private else self._wire.config.market_share,
        )

    async def _ask(
        self,
        endpoint: str,
        parameters: Parameters,
        limiter: Limiter | SharedLimiter,
        *,
        private: bool,
    ) -> Success:
        self._breaker.check(endpoint)
        answer = await self._wire.read(endpoint, parameters, private=private)
        await self._heed(self._wire.budget(), limiter)
        if isinstance(answer, Success):
            self._breaker.record(throttled=False)
            return answer
        error = read_error(answer)
        self._breaker.record(throttled=isinstance(error, Throttled))
        if isinstance(error, Throttled):
            limiter.slow_down()
            if isinstance(limiter, SharedLimiter):
                await limiter.slow_everybody()
        raise error

    async def _heed(self, budget: RateBudget | None, limiter: Limiter | SharedLimiter) -> None:
        """Slow down before the venue complains, where it says how much it still allows."""
        if budget is None or budget.remain >= LOW_BUDGET:
            return
        limiter.slow_down()
        if isinstance(limiter, SharedLimiter):
            hold_ms = budget.renewed_in_ms if budget.remain < EMPTY_BUDGET else 0.0
            await limiter.slow_everybody(slow_ms=budget.renewed_in_ms, hold_ms=hold_ms)
