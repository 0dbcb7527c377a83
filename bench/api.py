"""The operator API on Ray Serve: open event streams beside health, reads beside a bare application.

Clients, proxy, replicas and store share the machine, as they do where one machine is all there is.
"""

import asyncio
import time
from collections.abc import Iterator

import httpx2

from bench.api_server import BARE, PAIR, Bench, served
from bench.figures import Figure, median, quantile
from desk.store.port import Event
from desk.store.valkey import ValkeyStore

STREAMS = 40
UPDATES_PER_S = 10
UPDATES = 100
HEALTH_EVERY_S = 0.1
TOPIC = "bench"
MOST_DELAY_MS = 50.0
MOST_HEALTH_MS = 100.0
READS = {
    "agents": "/agents",
    "summary": "/ops/trading/summary",
    "trades": "/trades",
    "500 candles": f"/market-data/candles?pair={PAIR}&interval=1m&limit=500",
}
CLIENTS = (1, 16)
CALLS = 400
"""Of each read and each number of clients; the bare application gets as many, turn by turn."""
WARM_UP = 20
WITHIN_S = 60.0


def figures() -> Iterator[Figure]:
    """Streams first, on a server that is warm from one call of everything."""
    with served() as bench:
        asyncio.run(_once(bench))
        delays_s, health_s = asyncio.run(_streams(bench))
        yield from _of_streams(delays_s, health_s)
        for clients in CLIENTS:
            for name, path in READS.items():
                ours, bare = asyncio.run(_reads(bench.url, path, clients))
                yield from _of_reads(name, clients, ours, bare)


def _of_streams(delays_s: list[float], health_s: list[float]) -> Iterator[Figure]:
    delay_ms, health_ms = median(delays_s) * 1e3, quantile(health_s, 0.99) * 1e3
    yield Figure(
        name=f"event delay, {STREAMS} streams, {UPDATES_PER_S} updates/s, median",
        ours=delay_ms,
        floor=MOST_DELAY_MS,
        unit="ms",
        floor_name="goal",
        goal=f"<= {MOST_DELAY_MS:g} ms",
        met=delay_ms <= MOST_DELAY_MS and len(delays_s) == STREAMS * UPDATES,
        notes={"p99_ms": quantile(delays_s, 0.99) * 1e3, "messages": len(delays_s)},
    )
    yield Figure(
        name="healthz beside these streams, p99",
        ours=health_ms,
        floor=MOST_HEALTH_MS,
        unit="ms",
        floor_name="goal",
        goal=f"<= {MOST_HEALTH_MS:g} ms",
        met=health_ms <= MOST_HEALTH_MS,
        notes={"p50_ms": median(health_s) * 1e3, "calls": len(health_s)},
    )


def _of_reads(name: str, clients: int, ours: list[float], bare: list[float]) -> Iterator[Figure]:
    readers = "1 client" if clients == 1 else f"{clients} clients"
    for label, fraction in (("p50", 0.5), ("p99", 0.99)):
        mine, floor = (quantile(seconds, fraction) * 1e3 for seconds in (ours, bare))
        yield Figure(
            name=f"read {name}, {readers}, {label}",
            ours=mine,
            floor=floor,
            unit="ms",
            floor_name="bare FastAPI on Serve",
            goal="none",
            met=True,
            notes={"calls": len(ours)},
        )


async def _once(bench: Bench) -> None:
    async with httpx2.AsyncClient(base_url=bench.url, timeout=WITHIN_S) as client:
        for path in (*READS.values(), "/healthz", f"{BARE}/bytes/100"):
            for _ in range(WARM_UP):
                await client.get(path)


async def _streams(bench: Bench) -> tuple[list[float], list[float]]:
    """Seconds from each update's writing to its arrival, over all streams, and of each health call."""
    limits = httpx2.Limits(max_connections=STREAMS + 4)
    async with httpx2.AsyncClient(base_url=bench.url, timeout=WITHIN_S, limits=limits) as client:
        greeted = asyncio.Semaphore(0)
        listening = [asyncio.create_task(_listen(client, greeted, UPDATES)) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await asyncio.wait_for(greeted.acquire(), WITHIN_S)
        ended = asyncio.Event()
        health = asyncio.create_task(_ask_health(client, ended))
        await asyncio.to_thread(_update, bench.store)
        heard = await asyncio.wait_for(asyncio.gather(*listening), WITHIN_S)
        ended.set()
        return [delay for one in heard for delay in one], await health


async def _listen(
    client: httpx2.AsyncClient, greeted: asyncio.Semaphore, count: int
) -> list[float]:
    delays_s: list[float] = []
    async with client.stream("GET", "/events", params={"topics": TOPIC}) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line == "event: hello":
                greeted.release()
            elif '"sent_ns":' in line:
                arrived_ns = time.monotonic_ns()
                sent_ns = int(line.partition('"sent_ns":')[2].partition("}")[0])
                delays_s.append((arrived_ns - sent_ns) / 1e9)
                if len(delays_s) == count:
                    return delays_s
    return delays_s


async def _ask_health(client: httpx2.AsyncClient, ended: asyncio.Event) -> list[float]:
    seconds: list[float] = []
    while not ended.is_set():
        began_s = time.perf_counter()
        await client.get("/healthz")
        seconds.append(time.perf_counter() - began_s)
        await asyncio.sleep(HEALTH_EVERY_S)
    return seconds


def _update(store: ValkeyStore) -> None:
    """Write the updates at their pace, whatever the readers do."""
    began_s = time.monotonic()
    for number in range(UPDATES):
        time.sleep(max(began_s + number / UPDATES_PER_S - time.monotonic(), 0.0))
        data = {"sent_ns": time.monotonic_ns()}
        store.emit(Event(topic=TOPIC, key="bench", data=data, at_ms=1))


async def _reads(url: str, path: str, clients: int) -> tuple[list[float], list[float]]:
    """Seconds of each call of ours and of the bare application, by so many clients at once."""
    ours: list[float] = []
    bare: list[float] = []
    limits = httpx2.Limits(max_connections=clients)
    async with httpx2.AsyncClient(base_url=url, timeout=WITHIN_S, limits=limits) as client:
        first = await client.get(path)
        first.raise_for_status()
        floor = f"{BARE}/bytes/{len(first.content)}"

        async def work() -> None:
            for _ in range(CALLS // clients):
                for where, seconds in ((path, ours), (floor, bare)):
                    began_s = time.perf_counter()
                    answer = await client.get(where)
                    seconds.append(time.perf_counter() - began_s)
                    answer.raise_for_status()

        await asyncio.gather(*(work() for _ in range(clients)))
    return ours, bare
