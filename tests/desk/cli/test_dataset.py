"""`desk dataset`: the whole command on a store and an exchange of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from desk.clock import DAY_MS, MINUTE_MS, to_iso
from desk.market.features import FEATURES_V1
from desk.store import kinds, server
from desk.store.valkey import ValkeyStore

PAIR = "BTC-USDT"
NOW_MS = 1_750_000_000_000 // DAY_MS * DAY_MS
"""A whole day: files, pages and candles begin where one would guess."""
START_MS, END_MS = NOW_MS - 2_000 * MINUTE_MS, NOW_MS - 300 * MINUTE_MS


class Terminal:
    """A home with a store that runs, an exchange that stands still, and the command."""

    def __init__(self, home: Path, sim: Any) -> None:
        self.home, self.sim = home, sim
        self.store = ValkeyStore(server.start(home).url)
        self.store.load_functions()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", "from desk.cli.application import main; main()", *words]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        return {
            **kept,
            "DESK_HOME": str(self.home),
            "BINGX_BASE_URL": self.sim.url,
            "PORT": "1",
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def build(self, *words: str) -> dict[str, Any]:
        bounds = ("--start", to_iso(START_MS), "--end", to_iso(END_MS))
        answer = self.run("dataset", "build", PAIR, *bounds, *words, "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout[answer.stdout.index("{") :])

    def pages(self) -> list[tuple[int, int]]:
        """Ranges that the exchange was asked for since the last look."""
        found = [
            (int(entry["params"]["startTime"]), int(entry["params"]["endTime"]))
            for entry in self.sim.journal()
            if entry["path"].endswith("klines")
        ]
        self.sim.reset(market_ms=NOW_MS)
        return found


@pytest.fixture
def terminal(shared_simulator: Any) -> Iterator[Terminal]:
    shared_simulator.clock(freeze=True)
    shared_simulator.reset(market_ms=NOW_MS)
    home = Path(tempfile.mkdtemp(prefix="rd-"))
    opened = Terminal(home, shared_simulator)
    yield opened
    opened.store.close()
    running = server.find(home)
    if running is not None:
        server.stop(running)
    shutil.rmtree(home)
    shared_simulator.clear_faults()
    shared_simulator.clock(freeze=False)
    shared_simulator.reset()


def test_a_dataset_is_fetched_frozen_listed_shown_and_verified(terminal: Terminal) -> None:
    made = terminal.build()

    asked = terminal.pages()
    first_ms = START_MS - (FEATURES_V1.lookback - 1) * MINUTE_MS
    assert (made["rows"], made["missing"]) == (1_700, 0)
    assert min(start for start, _ in asked) == first_ms
    assert max(end for _, end in asked) < END_MS
    assert terminal.build() == made
    assert terminal.pages() == []
    listed = terminal.run("dataset", "list", "--json")
    assert json.loads(listed.stdout) == [made]
    child = terminal.build("--stride", "5", "--parent", made["dataset_id"])
    shown = json.loads(terminal.run("dataset", "show", child["dataset_id"], "--json").stdout)
    assert [one["dataset_id"] for one in shown["ancestors"]] == [made["dataset_id"]]
    assert [job["kind"] for job in shown["source_runs"]] == ["backfill"]
    assert terminal.run("dataset", "verify").returncode == 0
    [file] = (terminal.home / "datasets").glob(f"{made['dataset_id']}*")
    file.write_bytes(b"half")
    spoilt = terminal.run("dataset", "verify", made["dataset_id"])
    assert spoilt.returncode == 1
    assert "build it again" in spoilt.stdout


def test_ctrl_c_keeps_what_was_fetched_and_the_same_command_goes_on(terminal: Terminal) -> None:
    whole = terminal.build()
    terminal.store.connection.money.flushall()
    terminal.store.load_functions()
    shutil.rmtree(terminal.home / "history")
    terminal.pages()
    hold = terminal.sim.fault({"kind": "delay", "ms": 60_000}, path="klines", nth=5)
    bounds = ("--start", to_iso(START_MS), "--end", to_iso(END_MS))
    child = subprocess.Popen(
        terminal.command("dataset", "build", PAIR, *bounds),
        env=terminal.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: first_page_is_stored(terminal))
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=30)
    terminal.sim.control("DELETE", f"faults?id={hold}")
    terminal.pages()

    again = terminal.build()

    assert child.returncode == 1
    assert "cancelled" in said
    assert [doc.value.status.value for doc in terminal.store.list(kinds.JOBS)] == [
        "done",
        "cancelled",
    ]
    assert again["sha256"] == whole["sha256"]
    assert max(end for _, end in terminal.pages()) < END_MS - 1_000 * MINUTE_MS


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--stride", "0"), "stride"),
        (("--window", "3"), "window"),
        (("--interval", "7m"), "interval"),
        (("--interval", "1w"), "interval"),
        (("--features", "none"), "--features"),
        (("--parent", "ds-nothing"), "ds-nothing"),
        (("--start", "yesterday"), "--start"),
        (("--start", "2025-06-14T00:00:30"), "start"),
        (("--end", "2025-06-01"), "start"),
        (("--end", "2025-06-16"), "--end"),
    ],
)
def test_words_that_do_not_fit_are_one_sentence_and_fetch_nothing(
    terminal: Terminal, words: tuple[str, ...], named: str
) -> None:
    bounds = ("--start", to_iso(START_MS), "--end", to_iso(END_MS))

    answer = terminal.run("dataset", "build", PAIR, *bounds, *words)

    assert answer.returncode == 2, answer.stderr
    assert named in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert terminal.pages() == []
    assert terminal.store.list(kinds.JOBS) == []


def first_page_is_stored(terminal: Terminal) -> bool:
    return any(doc.value.done for doc in terminal.store.list(kinds.JOBS))


def until(is_so: Callable[[], bool], *, within_s: float = 45.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)
