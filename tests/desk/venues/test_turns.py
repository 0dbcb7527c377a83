"""One process among others that share an address: its most urgent read first, alone without a store."""

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from desk.errors import StoreUnavailable, VenueUnavailable
from desk.store.memory import MemoryStore
from desk.venues import turns
from desk.venues.bingx_wire import rate_budget
from desk.venues.turns import SharedLimiter, TurnBook, Urgency, urgency
from desk.wallclock import monotonic_s

RATE_PER_S = 200.0
SPACING_S = 1 / RATE_PER_S


class Away:
    """A store that does not answer."""

    def __init__(self) -> None:
        self.asked = 0

    def ask_turn(self, *_: object, **__: object) -> float:
        self.asked += 1
        raise StoreUnavailable("away")

    def leave_turns(self, lane: str, taker: str) -> None:
        raise StoreUnavailable("away")

    def hinder_turns(self, *_: object, **__: object) -> None:
        raise StoreUnavailable("away")


def process(book: TurnBook, name: str, **options: Any) -> SharedLimiter:
    chosen = {"own_share": 0.25, **options}
    return SharedLimiter(book, "venue", "venue:klines", RATE_PER_S, taker=name, **chosen)


def test_processes_that_share_an_address_stay_a_spacing_apart_and_get_as_many_turns() -> None:
    store = MemoryStore()
    moments: list[tuple[float, str]] = []

    async def read(limiter: SharedLimiter, name: str) -> None:
        for _ in range(10):
            await limiter.take()
            moments.append((monotonic_s(), name))

    async def run() -> None:
        await asyncio.gather(*(read(process(store, name), name) for name in "abcd"))

    asyncio.run(run())

    moments.sort()
    assert Counter(name for _, name in moments) == Counter(dict.fromkeys("abcd", 10))
    assert moments[-1][0] - moments[0][0] >= 38 * SPACING_S
    early = [name for _, name in moments[:20]]
    assert max(Counter(early).values()) <= 8  # nobody is served twice while others wait


def test_the_most_urgent_read_of_a_process_takes_its_turn() -> None:
    order: list[str] = []

    async def read(limiter: SharedLimiter, level: Urgency) -> None:
        with urgency(level):
            await limiter.take()
        order.append(level.name)

    async def run() -> None:
        limiter = process(MemoryStore(), "a")
        await limiter.take()
        await asyncio.gather(
            read(limiter, Urgency.BACKFILL),
            read(limiter, Urgency.LONGER),
            read(limiter, Urgency.HEAL),
            read(limiter, Urgency.NEWEST),
        )

    asyncio.run(run())
    assert order == ["NEWEST", "HEAL", "LONGER", "BACKFILL"]


def test_a_read_that_has_waited_long_takes_its_turn_before_urgent_ones_that_never_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "AGED_S", 20 * SPACING_S)
    served: list[str] = []

    async def read(limiter: SharedLimiter, level: Urgency) -> None:
        with urgency(level):
            await limiter.take()
        served.append(level.name)

    async def newest_for_ever(limiter: SharedLimiter) -> None:
        while len(served) < 200:
            await read(limiter, Urgency.NEWEST)

    async def run() -> None:
        store = MemoryStore()
        ours, theirs = process(store, "a"), process(store, "b")
        pollers = [newest_for_ever(limiter) for limiter in (ours, theirs) for _ in range(4)]
        await asyncio.gather(read(ours, Urgency.BACKFILL), read(theirs, Urgency.HEAL), *pollers)

    asyncio.run(run())

    found = {name: served.index(name) for name in ("BACKFILL", "HEAL")}
    assert min(found.values()) >= 10, "not before it has waited"
    assert max(found.values()) < 100, "and long before the others end"


def test_an_urgent_read_does_not_sleep_through_the_wait_of_a_lesser_one() -> None:
    async def run() -> float:
        store = MemoryStore()
        limiter = process(store, "a")
        for other in range(200):  # each waits for one turn before a backfill of ours
            store.ask_turn(
                "venue", "venue:klines", f"b{other:03}", priority=Urgency.LONGER, spacing_ms=5.0
            )

        async def backfill() -> None:
            with urgency(Urgency.BACKFILL):
                await limiter.take()

        waiting = asyncio.create_task(backfill())
        await asyncio.sleep(5 * SPACING_S)
        began_s = monotonic_s()
        await limiter.take()
        waiting.cancel()
        return monotonic_s() - began_s

    assert asyncio.run(run()) < 100 * SPACING_S


def test_a_read_that_was_given_up_leaves_no_turn_waiting() -> None:
    async def run() -> None:
        limiter = process(MemoryStore(), "a")
        await limiter.take()
        given_up = asyncio.create_task(limiter.take())
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait_for(limiter.take(), 5.0)

    asyncio.run(run())


def test_without_a_store_a_process_keeps_to_its_static_share() -> None:
    book = Away()

    async def run() -> list[float]:
        limiter = process(book, "a")
        moments: list[float] = []
        for _ in range(8):
            await limiter.take()
            moments.append(monotonic_s())
        assert limiter.is_alone
        return moments

    moments = asyncio.run(run())
    assert moments[-1] - moments[0] >= 6.5 * SPACING_S / 0.25
    assert book.asked == 1  # and it does not knock at every read


def test_the_store_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "STORE_RETRY_S", 0.0)
    book = Away()

    async def run() -> None:
        limiter = process(book, "a")
        await limiter.take()
        await limiter.take()

    asyncio.run(run())
    assert book.asked == 2


def test_a_read_that_gets_no_turn_says_so_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", 0.05)
    store = MemoryStore()
    store.hinder_turns("venue", hold_ms=10_000)

    async def run() -> None:
        await process(store, "a").take()

    with pytest.raises(VenueUnavailable, match="no turn within"):
        asyncio.run(run())


def test_one_limiter_serves_one_event_loop_after_another() -> None:
    limiter = process(MemoryStore(), "a")
    asyncio.run(limiter.take())
    asyncio.run(limiter.take())


def test_turns_follow_each_other_no_faster_than_the_rate() -> None:
    async def run() -> list[float]:
        limiter = process(MemoryStore(), "a")
        moments: list[float] = []
        for _ in range(5):
            await limiter.take()
            moments.append(monotonic_s())
        return moments

    gaps = [later - earlier for earlier, later in pairwise(asyncio.run(run()))]
    assert sum(gaps) >= 3.5 * SPACING_S


NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("expire", "renewed_in_ms"),
    [
        (str(NOW_MS + 2_500), 2_500.0),
        (str(NOW_MS // 1000 + 4), 4_000.0),
        ("7", 7_000.0),
        (str(NOW_MS - 1), 0.0),
        ("99999999", 60_000.0),
    ],
)
def test_the_rate_headers_are_read_whatever_unit_they_count_in(
    expire: str, renewed_in_ms: float
) -> None:
    headers = {"X-RateLimit-Requests-Remain": "12", "X-RateLimit-Requests-Expire": expire}

    budget = rate_budget(headers, NOW_MS)

    assert budget is not None
    assert budget.remain == 12
    assert budget.renewed_in_ms == pytest.approx(renewed_in_ms)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-requests-remain": "12"},
        {"x-ratelimit-requests-remain": "many", "x-ratelimit-requests-expire": "1"},
        {"x-ratelimit-requests-remain": "12", "x-ratelimit-requests-expire": "nan"},
    ],
)
def test_rate_headers_that_are_absent_or_unreadable_change_nothing(headers: dict[str, str]) -> None:
    assert rate_budget(headers, NOW_MS) is None
