"""The event stream: nothing missed, nothing out of place, and an end to everything."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from desk.store.memory import MemoryStore
from desk.store.port import Event, Stream
from serve_apps import events as events_module
from serve_apps.event_ids import Place
from serve_apps.events import EventHub, TooManyStreams
from serve_apps.sse import Listener, StreamTimes, stream
from tests.serve_apps.scene import HERE, TOKEN, Scene

FAST = StreamTimes(ping_s=60, end_s=60, coalesce_s=0.02)
EVERYTHING = Listener(
    topics=frozenset(),
    last_event_id=None,
    server_version="1",
    login_expires_ms=None,
    is_still_logged_in=lambda: True,
)


@dataclass(frozen=True)
class Message:
    """One server-sent event as a browser sees it."""

    entry_id: str
    topic: str
    data: Any


def parse(raw: bytes) -> Message | None:
    fields = dict(line.split(": ", 1) for line in raw.decode().strip().splitlines())
    if "event" not in fields:
        return None
    return Message(fields["id"], fields["event"], json.loads(fields["data"]))


class Browser:
    """Reads one stream."""

    def __init__(self, messages: AsyncGenerator[bytes]) -> None:
        self._messages = messages

    async def next(self) -> Message:
        while True:
            found = parse(await anext(self._messages))
            if found is not None:
                return found

    async def take(self, count: int) -> list[Message]:
        return [await self.next() for _ in range(count)]

    async def rest(self) -> list[bytes]:
        return [raw async for raw in self._messages]


def happen(
    store: MemoryStore, topic: str, key: str = "k", where: Stream = Stream.OPS, **data: Any
) -> str:
    return store.emit(Event(topic=topic, key=key, data=data, at_ms=1, stream=where))


def hub_of(store: MemoryStore, max_streams: int = 32) -> EventHub:
    return EventHub(store, max_streams=max_streams, block_ms=20)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await story()

    asyncio.run(bounded())


def listening(hub: EventHub, listener: Listener = EVERYTHING, times: StreamTimes = FAST) -> Any:
    return aclosing(stream(hub, listener, times))


def test_a_page_is_greeted_and_then_hears_what_happens_in_every_stream() -> None:
    async def story() -> None:
        store = MemoryStore()
        happen(store, "run", n=0)
        async with listening(hub_of(store)) as messages:
            browser = Browser(messages)
            hello = await browser.next()
            happen(store, "order", where=Stream.ORDERS, n=1)
            happen(store, "position", where=Stream.RISK, n=2)

            heard = await browser.take(2)

        assert (hello.topic, hello.data["server_version"]) == ("hello", "1")
        assert hello.data["last_id"] == hello.entry_id
        assert sorted(message.data["data"]["n"] for message in heard) == [1, 2]

    run(story)


def test_a_page_resumes_after_the_last_event_it_saw() -> None:
    async def story() -> None:
        store = MemoryStore()
        hub = hub_of(store)
        async with listening(hub) as messages:
            browser = Browser(messages)
            await browser.next()
            happen(store, "order", where=Stream.ORDERS, n=1)
            seen = await browser.next()
        happen(store, "order", where=Stream.ORDERS, n=2)
        happen(store, "run", n=3)

        back = replace(EVERYTHING, last_event_id=seen.entry_id)
        async with listening(hub, back) as messages:
            browser = Browser(messages)
            hello = await browser.next()
            missed = await browser.take(2)
            happen(store, "order", where=Stream.ORDERS, n=4)
            live = await browser.next()

        assert hello.topic == "hello"
        assert sorted(message.data["data"]["n"] for message in missed) == [2, 3]
        assert live.data["data"]["n"] == 4

    run(story)


@pytest.mark.parametrize("cut_after", range(6))
def test_wherever_a_stream_is_cut_no_change_of_state_is_lost(cut_after: int) -> None:
    async def story() -> None:
        store = MemoryStore()
        hub = hub_of(store)
        heard: set[int] = set()
        async with listening(hub, times=replace(FAST, coalesce_s=0.0)) as messages:
            browser = Browser(messages)
            last_id = (await browser.next()).entry_id
            for number in range(6):
                happen(store, "candle" if number % 2 else "order", n=number)
            for _ in range(cut_after):
                message = await browser.next()
                last_id = message.entry_id
                heard.add(message.data["data"]["n"])
        back = replace(EVERYTHING, last_event_id=last_id)
        async with listening(hub, back) as messages:
            browser = Browser(messages)
            await browser.next()
            while not {0, 2, 4, 5} <= heard:
                heard.add((await browser.next()).data["data"]["n"])

    run(story)


def test_candles_of_one_key_are_thinned_out_and_the_newest_wins() -> None:
    async def story() -> None:
        store = MemoryStore()
        slow = replace(FAST, coalesce_s=0.3)
        async with listening(hub_of(store), times=slow) as messages:
            browser = Browser(messages)
            await browser.next()
            for number in range(50):
                happen(store, "candle", "BTC-USDT:1m", n=number)
                happen(store, "candle", "ETH-USDT:1m", n=number)
            happen(store, "order", n=99)

            heard = await browser.take(3)

        assert [message.topic for message in heard] == ["order", "candle", "candle"]
        assert [message.data["data"]["n"] for message in heard[1:]] == [49, 49]

    run(story)


def test_a_change_of_state_that_overtakes_a_held_candle_does_not_lose_it_on_a_cut() -> None:
    async def story() -> None:
        store = MemoryStore()
        hub = hub_of(store)
        held = replace(FAST, coalesce_s=30.0)
        async with listening(hub, times=held) as messages:
            browser = Browser(messages)
            await browser.next()
            happen(store, "candle", "BTC-USDT:1m", n=1)
            happen(store, "order", n=2)
            overtaking = await browser.next()
        assert overtaking.topic == "order"

        back = replace(EVERYTHING, last_event_id=overtaking.entry_id)
        async with listening(hub, back) as messages:
            browser = Browser(messages)
            await browser.next()
            topics = {message.topic for message in await browser.take(2)}

        assert topics == {"candle", "order"}

    run(story)


def test_only_the_topics_that_were_asked_for_are_sent() -> None:
    async def story() -> None:
        store = MemoryStore()
        wanted = replace(EVERYTHING, topics=frozenset({"order", "candle:BTC-USDT:1m"}))
        async with listening(hub_of(store), wanted) as messages:
            browser = Browser(messages)
            await browser.next()
            happen(store, "run", n=1)
            happen(store, "candle", "ETH-USDT:1m", n=2)
            happen(store, "candle", "BTC-USDT:1m", n=3)
            first = await browser.next()
            happen(store, "order", n=4)
            second = await browser.next()

        assert [first.data["data"]["n"], second.data["data"]["n"]] == [3, 4]

    run(story)


@pytest.mark.parametrize(
    "last_id", ["garbage", "1-0", "1-0_2-0", "x_y_z", "9" * 99, "\u0661-0_1-0_1-0"]
)
def test_an_id_that_is_not_ours_means_read_everything_again(last_id: str) -> None:
    async def story() -> None:
        back = replace(EVERYTHING, last_event_id=last_id)
        async with listening(hub_of(MemoryStore()), back) as messages:
            hello, again = await Browser(messages).take(2)

        assert (hello.topic, again.topic) == ("hello", "resync")

    run(story)


def test_an_id_older_than_what_is_kept_means_read_everything_again() -> None:
    async def story() -> None:
        store = MemoryStore()
        for number in range(10):
            happen(store, "order", where=Stream.ORDERS, n=number)
        store.trim_events(Stream.ORDERS, 2)
        last_id = str(Place.of({Stream.ORDERS: "3-0"}))
        async with listening(hub_of(store), replace(EVERYTHING, last_event_id=last_id)) as messages:
            _, again = await Browser(messages).take(2)

        assert (again.topic, again.data["reason"]) == ("resync", "too_old")

    run(story)


def test_a_page_that_does_not_keep_up_is_told_to_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        monkeypatch.setattr(events_module, "QUEUE_EVENTS", 5)
        store = MemoryStore()
        async with listening(hub_of(store)) as messages:
            browser = Browser(messages)
            await browser.next()
            for number in range(50):
                happen(store, "order", n=number)
            topics = [parse(raw) for raw in await browser.rest()]

        last = topics[-1]
        assert last is not None
        assert (last.topic, last.data["reason"]) == ("resync", "lagged")

    run(story)


def test_a_stream_pings_and_ends_so_that_no_replica_waits_for_it() -> None:
    async def story() -> None:
        times = StreamTimes(ping_s=0.02, end_s=0.15)
        async with listening(hub_of(MemoryStore()), times=times) as messages:
            raw = await Browser(messages).rest()

        assert raw[0] == b"retry: 2000\n\n"
        assert raw.count(b": ping\n\n") >= 2

    run(story)


def test_a_stream_ends_with_its_login() -> None:
    async def story() -> None:
        over = replace(EVERYTHING, is_still_logged_in=lambda: False)
        times = StreamTimes(ping_s=0.01, end_s=60)
        async with listening(hub_of(MemoryStore()), over, times) as messages:
            raw = await Browser(messages).rest()

        assert b": ping\n\n" not in raw

    run(story)


def test_places_are_bounded_and_given_back() -> None:
    async def story() -> None:
        hub = hub_of(MemoryStore(), max_streams=1)
        async with listening(hub) as first:
            await anext(first)
            with pytest.raises(TooManyStreams):
                await anext(stream(hub, EVERYTHING, FAST))
        assert hub.open_streams == 0
        async with listening(hub) as again:
            await anext(again)

    run(story)


def test_over_http_a_stream_is_resumed_by_header_or_by_query(scene: Scene) -> None:
    app = scene.app(stream_times=StreamTimes(end_s=0.2, coalesce_s=0.0))
    with TestClient(app, base_url=HERE, client=("127.0.0.1", 1)) as client:
        first = client.get("/events")
        happen(scene.store, "order", where=Stream.ORDERS, n=7)
        last_id = first.text.split("id: ")[1].split("\n")[0]
        by_header = client.get("/events", headers={"Last-Event-ID": last_id})
        by_query = client.get("/events", params={"last_event_id": last_id})

    assert first.headers["content-type"].startswith("text/event-stream")
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["x-accel-buffering"] == "no"
    for answer in (by_header, by_query):
        assert '"n":7' in answer.text
        assert "event: resync" not in answer.text


def test_over_http_one_stream_too_many_is_503(scene: Scene) -> None:
    with TestClient(scene.app(max_streams=0), base_url=HERE, client=("127.0.0.1", 1)) as client:
        answer = client.get("/events")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "10"


def test_the_greeting_tells_when_a_cookie_login_ends(scene: Scene) -> None:
    app = scene.app(token=TOKEN, stream_times=StreamTimes(end_s=0.05))
    with TestClient(app, base_url="https://127.0.0.1", follow_redirects=False) as client:
        client.post("/login", data={"password": TOKEN})
        hello = client.get("/events").text

    assert '"login_expires_ms":18' in hello
