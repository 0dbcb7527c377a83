"""`desk dataset`: the whole command on a store and an exchange of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from actors.commands import BackfillAsk
from desk.cli import dataset
from desk.cli.application import WRONG_INPUT, app
from desk.cli.progress import JobFailed
from desk.clock import DAY_MS, MINUTE_MS, to_iso
from desk.market.feature_sets import make_feature_set
from desk.market.features import FEATURES_V1
from desk.market.funding_features import FundingColumn, FundingColumns
from desk.store import kinds, server
from desk.store.feature_sets import keep_feature_set
from desk.store.valkey import ValkeyStore

PAIR = "BTC-USDT"
NOW_MS = 1_750_000_000_000 // DAY_MS * DAY_MS
"""A whole day: files, pages and candles begin where one would guess."""
START_MS, END_MS = NOW_MS - 2_000 * MINUTE_MS, NOW_MS - 300 * MINUTE_MS
BOUNDS = ("--start", to_iso(START_MS), "--end", to_iso(END_MS))


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

    def run(self, *words: str) -> Result:
        """The command in this process: starting one takes seconds."""
        return CliRunner(env=self.environment).invoke(app, ["dataset", *words])

    def build(self, *words: str) -> Any:
        return self.told("build", PAIR, *BOUNDS, *words)

    def told(self, *words: str) -> Any:
        answer = self.run(*words, "--json")
        assert answer.exit_code == 0, answer.output
        return json.loads(re.split("^(?=[{[])", answer.stdout, maxsplit=1, flags=re.MULTILINE)[1])

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
    # The exchange leaves out the candle at the start it is given: the adapter asks 1 ms earlier.
    assert min(start for start, _ in asked) == first_ms - 1
    assert max(end for _, end in asked) < END_MS
    assert terminal.build() == made
    assert terminal.pages() == []
    assert terminal.told("list") == [made]
    child = terminal.build("--stride", "5", "--parent", made["dataset_id"])
    shown = terminal.told("show", child["dataset_id"])
    assert [one["dataset_id"] for one in shown["ancestors"]] == [made["dataset_id"]]
    assert [job["kind"] for job in shown["source_runs"]] == ["backfill"]
    assert [one["problem"] for one in terminal.told("verify")] == ["", ""]
    [file] = (terminal.home / "datasets").glob(f"{made['dataset_id']}*")
    file.write_bytes(b"half")
    spoilt = terminal.run("verify", made["dataset_id"])
    assert spoilt.exit_code == 1
    assert "cannot be read" in spoilt.output


def test_the_settlements_that_features_look_at_are_fetched_with_the_candles(
    terminal: Terminal,
) -> None:
    columns = (FundingColumn(rule="funding_rate"), FundingColumn(rule="funding_mean", windows=(6,)))
    paid = make_feature_set(
        "paid", FEATURES_V1.features, funding=FundingColumns(columns=columns, max_age_min=540)
    )
    keep_feature_set(terminal.store, paid, now_ms=1, created_by="test")
    words = ("--features", paid.feature_set_id)

    made = terminal.build(*words)

    due = [doc.value for doc in terminal.store.list(kinds.funding_rates(PAIR))]
    step_ms = 8 * 60 * MINUTE_MS
    assert len([one for one in due if one.due_ms <= START_MS]) >= 6, "for the first row"
    assert {one.due_ms % step_ms for one in due} == {0}
    assert {one.read_ms for one in due} == {None}
    assert list(made["signals_sha256"]) == ["bingx:funding"]
    before = terminal.sim.state()["requests"]
    assert terminal.build(*words) == made
    assert not [
        entry for entry in terminal.sim.journal(before) if entry["path"].endswith("fundingRate")
    ]
    [problem] = [one["problem"] for one in terminal.told("verify")]
    assert problem == ""


def test_ctrl_c_keeps_what_was_fetched_and_the_same_command_goes_on(terminal: Terminal) -> None:
    whole = terminal.build()
    terminal.store.connection.money.flushall()
    terminal.store.load_functions()
    shutil.rmtree(terminal.home / "history")
    terminal.pages()
    hold = terminal.sim.fault({"kind": "delay", "ms": 60_000}, path="klines", nth=5)
    child = subprocess.Popen(
        terminal.command("dataset", "build", PAIR, *BOUNDS),
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
    assert sorted(doc.value.status.value for doc in terminal.store.list(kinds.JOBS)) == [
        "cancelled",
        "done",
    ]
    assert again["sha256"] == whole["sha256"]
    assert max(end for _, end in terminal.pages()) < END_MS - 400 * MINUTE_MS


def test_words_that_do_not_fit_are_one_sentence_and_fetch_nothing(terminal: Terminal) -> None:
    wrong = {
        "stride": ("--stride", "0"),
        "window": ("--window", "3"),
        "interval": ("--interval", "7m"),
        "interval: was '1w'": ("--interval", "1w"),
        "--features": ("--features", "none"),
        "ds-nothing": ("--parent", "ds-nothing"),
        "--start": ("--start", "yesterday"),
        "start": ("--start", "2025-06-14T00:00:30"),
        "--end": ("--end", "2025-06-16"),
    }

    for named, words in wrong.items():
        refused = terminal.run("build", PAIR, *BOUNDS, *words).exception
        assert isinstance(refused, WRONG_INPUT), (words, refused)
        assert named in str(refused)
        assert "\n" not in str(refused)
    backwards = terminal.command("dataset", "build", PAIR, *BOUNDS, "--end", "2025-06-01")
    answer = subprocess.run(
        backwards, env=terminal.environment, capture_output=True, text=True, check=False
    )

    assert (answer.returncode, len(answer.stderr.strip().splitlines())) == (2, 1)
    assert "start" in answer.stderr
    assert terminal.pages() == []
    assert terminal.store.list(kinds.JOBS) == []


def first_page_is_stored(terminal: Terminal) -> bool:
    return any(doc.value.done for doc in terminal.store.list(kinds.JOBS))


def until(is_so: Callable[[], bool], *, within_s: float = 45.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


class Answering:
    """The API of a running desk: it takes a backfill and says these things of it, one a look."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = list(statuses)
        self.posted: list[tuple[str, Any]] = []

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        self.posted.append((path, body))
        return self.get(path)

    def get(self, _path: str) -> dict[str, Any]:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return {"job_id": "job1", "status": status, "error": "the venue was away", "detail": ""}


def test_a_running_desk_fetches_by_its_own_pollers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "POLL_S", 0.0)
    ask = BackfillAsk(pair=PAIR, interval="1m", start_ms=START_MS, end_ms=END_MS)
    backfill = ("/ops/ingestion/bingx/backfill", asdict(ask) | {"max_batches": None})
    done, failed, endless = (
        Answering("queued", "running", "done"),
        Answering("failed"),
        Answering("running"),
    )
    looks: list[str] = []

    def tell(job: dict[str, Any]) -> bool:
        looks.append(job["status"])
        return len(looks) > 5

    dataset._fetch_by_desk(done, ask, tell)  # pyright: ignore[reportArgumentType]
    with pytest.raises(JobFailed, match="the venue was away"):
        dataset._fetch_by_desk(failed, ask, tell)  # pyright: ignore[reportArgumentType]
    with pytest.raises(dataset._Cancelled):
        dataset._fetch_by_desk(endless, ask, tell)  # pyright: ignore[reportArgumentType]

    [(path, body)] = done.posted
    assert (path, body | {"max_batches": None}) == backfill
    assert looks[:2] == ["queued", "running"]
    assert endless.posted[-1] == ("/jobs/job1/cancel", None)
