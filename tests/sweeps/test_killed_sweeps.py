"""A sweep whose every process is killed loses at most one checkpoint interval; one that is done trains nothing."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from desk.learning.sweep_results import SweepRecord
from desk.market.candles import Candles
from desk.store import kinds, server
from desk.store.sweeps import SweepJournal
from desk.store.valkey import ValkeyStore
from tests.sweeps.homes import command, environment, furnish, run_desk, small, write

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1_500)]

EVERY, TOTAL, TRIALS = 2_048, 4_096, 2
RAY_STARTS = 3
WITHIN_S = 600.0
"""Of one command: on a busy machine Ray takes minutes to start."""


@pytest.fixture
def furnished_home(home: Path, walk: Callable[..., Candles]) -> Path:
    """A home whose store is started by the commands themselves."""
    running = server.start(home)
    store = ValkeyStore(running.url)
    store.load_functions()
    furnish(home, store, walk(2_000, seed=5))
    store.close()
    server.stop(running)
    return home


def test_all_processes_killed_cost_one_interval_and_a_done_sweep_trains_nothing(
    furnished_home: Path,
) -> None:
    home, journal = furnished_home, SweepJournal(furnished_home)
    budget = {"steps_per_trial": TOTAL, "checkpoint_every_steps": EVERY, "trials": TRIALS}
    file = str(write(home / "small.yaml", small(budget=budget, finalists=1)))

    kill_everything_once(home, file, lambda: bool(points(journal)))
    safe = points(journal)
    before = trained(journal)
    (left,) = journal.sweeps("small")
    resumed = resume(home, file)

    assert 0 < safe < TRIALS * TOTAL
    assert not left.is_done
    assert resumed.returncode == 0, resumed.stderr
    answer = json.loads(resumed.stdout)
    assert (answer["sweep_id"], answer["status"]) == (left.sweep_id, "done")
    assert points(journal) == TRIALS * TOTAL
    # What is journaled is never trained again; what was under way is lost, one interval a trial.
    assert trained(journal) - before <= TRIALS * TOTAL - safe
    assert trained(journal) <= TRIALS * TOTAL + EVERY
    confirmed = answer["finalists"][0]
    assert float(confirmed["parity_max_abs_diff"]) <= 0.01
    assert answer["leaderboard"][0]["version_id"] == confirmed["version_id"]
    assert answer["policies_tried"] == TRIALS

    spent, drafts = trained(journal), versions(home)
    again = run_desk(home, "tune", file, "--json", within_s=WITHIN_S)

    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["leaderboard"] == answer["leaderboard"]
    assert trained(journal) == spent
    assert versions(home) == drafts
    assert confirmed["version_id"] in drafts


def kill_everything_once(home: Path, file: str, is_time: Callable[[], Any]) -> None:
    """Run the sweep and kill -9 the command, its Ray and its store as soon as something is journaled."""
    process = subprocess.Popen(
        command("tune", file),
        env=environment(home),
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    until_s = time.monotonic() + WITHIN_S
    while not is_time():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < until_s, "nothing was journaled"
        time.sleep(0.05)
    for pid in descendants(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(timeout=30)
    assert process.stderr is not None
    process.stderr.close()


def resume(home: Path, file: str) -> subprocess.CompletedProcess[str]:
    """Go on with it, and again where a busy machine did not let Ray start."""
    ended = run_desk(home, "tune", file, "--resume", "--json", within_s=WITHIN_S)
    for _ in range(RAY_STARTS - 1):
        if "timed out during startup" not in ended.stderr:
            break
        ended = run_desk(home, "tune", file, "--resume", "--json", within_s=WITHIN_S)
    return ended


def descendants(pid: int) -> list[int]:
    """A process and all that it started, parents first, from the kernel's list."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(words[1]), []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def points(journal: SweepJournal) -> int:
    """Steps that are safe in the journal, all trials together."""
    found = journal.sweeps("small")
    return sum(trial.steps for trial in journal.trials(found[0]).values()) if found else 0


def trained(journal: SweepJournal) -> int:
    """Steps that were really trained."""
    (record,) = journal.sweeps("small")
    return _steps(journal, record)


def _steps(journal: SweepJournal, record: SweepRecord) -> int:
    return sum(line.to_steps - line.from_steps for line in journal.trainings(record.sweep_id))


def versions(home: Path) -> set[str]:
    """Ids of the registered drafts, but for the shipped rule."""
    running = server.start(home)
    store = ValkeyStore(running.url)
    found = {doc.key for doc in store.list(kinds.VERSIONS) if not doc.value.is_baseline}
    store.close()
    server.stop(running)
    return found
