"""Calls are spaced, throttled reads are retried a few times, and a bad spell stops them."""

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import ProtocolError, Throttled
from desk.venues.limiter import Breaker, Limiter, full_jitter_s, retry_throttled


class Timer:
    """A monotonic clock that only its own sleep moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, wait_s: float) -> None:
        self.sleeps.append(wait_s)
        self.now_s += wait_s


@given(st.floats(0.5, 100.0), st.integers(2, 20))
def test_calls_never_come_faster_than_the_rate(rate_per_s: float, calls: int) -> None:
    timer = Timer()
    limiter = Limiter(rate_per_s, monotonic=timer, sleep=timer.sleep)

    async def run() -> list[float]:
        moments: list[float] = []
        for _ in range(calls):
            await limiter.take()
            moments.append(timer.now_s)
        return moments

    moments = asyncio.run(run())
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert moments[0] == 100.0
    assert min(gaps) >= 1 / rate_per_s - 1e-6


def test_complaint_halves_the_rate_for_a_while() -> None:
    timer = Timer()
    limiter = Limiter(10.0, slowed_s=3.0, monotonic=timer, sleep=timer.sleep)

    async def seconds_for(calls: int) -> float:
        before_s = timer.now_s
        for _ in range(calls):
            await limiter.take()
        return timer.now_s - before_s

    async def run() -> list[float]:
        await limiter.take()
        plain = await seconds_for(10)
        limiter.slow_down()
        slowed = await seconds_for(10)
        timer.now_s += 3.0
        await limiter.take()
        return [plain, slowed, await seconds_for(10)]

    assert asyncio.run(run()) == pytest.approx([1.0, 1.9, 1.0])


def test_waiting_calls_go_in_the_order_they_asked() -> None:
    async def run() -> list[int]:
        limiter, order = Limiter(200.0), list[int]()

        async def call(number: int) -> None:
            await limiter.take()
            order.append(number)

        await asyncio.gather(*(call(number) for number in range(8)))
        return order

    assert asyncio.run(run()) == list(range(8))


@given(st.integers(0, 60), st.integers(0, 2**32))
def test_jitter_stays_between_nothing_and_its_bound(attempt: int, seed: int) -> None:
    wait_s = full_jitter_s(attempt, random.Random(seed))

    assert 0.0 <= wait_s <= min(0.1 * 2**attempt, 5.0)


def test_throttled_read_is_repeated_until_it_answers() -> None:
    timer, answers = Timer(), [Throttled("a", "slow"), Throttled("a", "slow"), "fine"]

    async def read() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Throttled):
            raise answer
        return str(answer)

    assert asyncio.run(retry_throttled(read, sleep=timer.sleep)) == "fine"
    assert len(timer.sleeps) == 2


def test_retries_have_a_budget() -> None:
    timer, tries = Timer(), list[int]()

    async def read() -> str:
        tries.append(1)
        raise Throttled("a", "slow")

    with pytest.raises(Throttled):
        asyncio.run(retry_throttled(read, sleep=timer.sleep, tries=5))

    assert len(tries) == 5


def test_other_errors_are_not_retried() -> None:
    timer = Timer()

    async def read() -> str:
        raise ProtocolError("a", "html")

    with pytest.raises(ProtocolError):
        asyncio.run(retry_throttled(read, sleep=timer.sleep))

    assert timer.sleeps == []


def test_breaker_opens_over_a_fifth_throttled_and_closes_after_its_pause() -> None:
    timer = Timer()
    breaker = Breaker(monotonic=timer)

    for throttled in [True, True, *[False] * 8]:
        breaker.check("a")
        breaker.record(throttled=throttled)
    breaker.check("a")
    breaker.record(throttled=True)

    with pytest.raises(Throttled, match="60 s"):
        breaker.check("a")
    timer.now_s += 60.0
    breaker.check("a")


def test_breaker_forgets_what_is_older_than_its_window() -> None:
    timer = Timer()
    breaker = Breaker(monotonic=timer)

    for _ in range(9):
        breaker.record(throttled=True)
    timer.now_s += 31.0
    for _ in range(12):
        breaker.record(throttled=False)

    breaker.check("a")
