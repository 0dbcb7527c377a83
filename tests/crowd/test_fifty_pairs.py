"""Fifty pairs behind one address, at the documented rate: judged by the exchange's own journal.

`RAYDESK_CROWD_MINUTES` sets how many market minutes are watched (30 is what is promised), at
`RAYDESK_CROWD_SPEED` times the wall's speed, with the intervals of `RAYDESK_CROWD_INTERVALS`. The pollers' own classes run in two processes without
Ray: fifty actor processes would need more memory than a small machine has. In the longer tier, as a
machine that is busy with something else cannot follow a market of this speed.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.candle_poller import OFFSET_MS
from desk.clock import MINUTE_MS
from desk.store.valkey import ValkeyStore
from desk.venues.bingx_reads import HEADROOM, PUBLIC_RATE_PER_S

PROJECT = Path(__file__).parents[2]
PAIRS = 50
PROCESSES = 2
MINUTES = int(os.environ.get("RAYDESK_CROWD_MINUTES", "30"))
SPEED = float(os.environ.get("RAYDESK_CROWD_SPEED", "15"))
WARM_UP = 4
"""Market minutes in which the pollers read their first pages."""
FLOOR_MS = OFFSET_MS + round(PAIRS / (PUBLIC_RATE_PER_S * HEADROOM) * 1000)
"""Every pair has had one turn."""
JITTER_S = 0.15
"""Wall seconds between an open turn and the request at the venue, on a slow machine."""
KLINES = "/openApi/swap/v3/quote/klines"


class Crowd:
    """The pollers' processes."""

    def __init__(self, store_url: str, venue_url: str, pairs: list[str]) -> None:
        placed = [f"{index}@{pair}" for index, pair in enumerate(pairs)]
        self.processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.crowd.pollers", store_url, venue_url),
                    ",".join(placed[number::PROCESSES]),
                ],
                cwd=PROJECT,
                env={**os.environ, "PYTHONPATH": str(PROJECT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for number in range(PROCESSES)
        ]
        for process in self.processes:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["pollers"] == PAIRS // PROCESSES

    def end(self) -> list[dict[str, int]]:
        """What each process says of itself at its end."""
        answers = [process.communicate(timeout=30)[0] for process in self.processes]
        return [json.loads(answer.splitlines()[-1]) for answer in answers]


def lateness_ms(entries: list[dict[str, Any]], first_ms: int, last_ms: int) -> dict[str, list[int]]:
    """Market ms from each candle's close to the first answered read that asked for it, by pair."""
    first_read: dict[tuple[str, int], int] = {}
    for entry in entries:
        is_read = entry["path"] == KLINES and entry["params"].get("interval") == "1m"
        if is_read and entry["code"] == 0 and entry["answered"]:
            closed_ms = entry["market_ms"] // MINUTE_MS * MINUTE_MS
            key = (entry["params"]["symbol"], closed_ms)
            first_read[key] = min(first_read.get(key, entry["market_ms"]), entry["market_ms"])
    late: dict[str, list[int]] = defaultdict(list)
    for pair in {pair for pair, _ in first_read}:
        for closed_ms in range(first_ms, last_ms, MINUTE_MS):
            reads = [at for (name, _), at in first_read.items() if name == pair and at >= closed_ms]
            late[pair].append(min(reads, default=last_ms + 10 * MINUTE_MS) - closed_ms)
    return late


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_fifty_pairs_keep_up_at_one_request_a_second(
    start_simulator: Callable[..., Any], store: ValkeyStore
) -> None:
    sim = start_simulator(extra_pairs=PAIRS - 3, speed=SPEED, limits="on")
    pairs = sorted(sim.state()["prices"])
    crowd = Crowd(store.url, sim.url, pairs)

    began_ms = sim.control("GET", "clock")["market_ms"]
    first_ms = (began_ms // MINUTE_MS + WARM_UP) * MINUTE_MS
    last_ms = first_ms + MINUTES * MINUTE_MS
    time.sleep((last_ms + MINUTE_MS - began_ms) / SPEED / 1000)
    entries = sim.journal()
    said = crowd.end()

    late = lateness_ms(entries, first_ms, last_ms)
    klines = [entry for entry in entries if entry["path"] == KLINES]
    longer = Counter(entry["params"]["interval"] for entry in klines)
    refused = [entry for entry in klines if entry["code"] != 0]
    worst_ms = max(max(values) for values in late.values())
    grown = [(each["after"] - each["before"]) / (PAIRS // PROCESSES) / 2**20 for each in said]
    print(
        f"\n{PAIRS} pairs, {MINUTES} minutes at speed {SPEED:g}: worst {worst_ms / 1000:.1f} s of"
        f" market time after the close (floor {FLOOR_MS / 1000:.1f} s), {len(klines)} reads,"
        f" {len(refused)} refused; {dict(longer)}; {max(grown):.1f} MiB per poller on top of"
        f" {max(each['before'] for each in said) / 2**20:.0f} MiB per process; {said}"
    )
    assert len(late) == PAIRS
    assert worst_ms <= FLOOR_MS + JITTER_S * 1000 * SPEED
    assert len(refused) <= len(klines) / 100
    assert all(each["turns_crashed"] == each["work_failed"] == 0 for each in said)
    for pair in pairs:
        stored = store.read_candles(pair, "1m", first_ms - MINUTE_MS, last_ms - MINUTE_MS)
        assert len(stored) == MINUTES
