"""Thousands of storms in virtual time: no order lost, doubled or guessed, and every story repeatable.

`RAYDESK_DST_SEEDS` is how many fresh seeds are played, `RAYDESK_DST_FIRST` the first of them; without
it the window moves on every day. A seed that failed is written to `regressions.txt` by hand and then
played first, for ever.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.dst.world import play

PROJECT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("RAYDESK_DST_SEEDS", "10000"))
NIGHTLY_SEEDS = 100_000
REPEATED = 1_000
"""Played twice, under two hash seeds."""
DAY_S = 86_400
FIRST = int(os.environ.get("RAYDESK_DST_FIRST", str(int(time.time()) // DAY_S * 1_000_000)))
LIMIT_S = 1_500
NIGHTLY_LIMIT_S = 4 * 3600
WORKERS = max(2, min(os.cpu_count() or 2, 16))


@dataclass
class Storms:
    """What all workers found."""

    seeds: int = 0
    events: int = 0
    failures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    hashes: dict[int, str] = field(default_factory=dict[int, str])

    def add(self, row: dict[str, Any]) -> None:
        self.seeds += row["seeds"]
        self.events += row["events"]
        self.failures |= row["failures"]
        self.hashes |= {row["first"] + at: one for at, one in enumerate(row["hashes"])}


def started(first: int, count: int, *, hash_seed: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.dst.run", "--first", str(first), "--count", str(count)]
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    return subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
    )


def finished(worker: "subprocess.Popen[str]", within_s: float) -> dict[str, Any]:
    try:
        said, _ = worker.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        worker.kill()
        raise
    assert worker.returncode in (0, 1), said[-2000:]
    return json.loads(said.splitlines()[-1])


def played(first: int, count: int, *, hash_seed: int, within_s: float = LIMIT_S) -> Storms:
    """Play a window of seeds on every core."""
    shares = [count // WORKERS + (at < count % WORKERS) for at in range(WORKERS)]
    begins = [first + sum(shares[:at]) for at in range(WORKERS)]
    workers = [
        started(begin, share, hash_seed=hash_seed)
        for begin, share in zip(begins, shares, strict=True)
        if share
    ]
    storms = Storms()
    for worker in workers:
        storms.add(finished(worker, within_s))
    return storms


def judged(storms: Storms, count: int) -> None:
    """Fail with the command that plays the first failing seed again."""
    assert storms.seeds == count
    if storms.failures:
        seed, breaches = next(iter(storms.failures.items()))
        pytest.fail(
            f"{len(storms.failures)} of {count} seeds failed; the first: {'; '.join(breaches)}\n"
            f"python -m tests.dst.run --first {seed} --count 1 --tell\n"
            f"then add {seed} to tests/dst/regressions.txt",
            pytrace=False,
        )


def regressions() -> list[int]:
    lines = (Path(__file__).parent / "regressions.txt").read_text().splitlines()
    return [int(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


@pytest.fixture(scope="module")
def storms() -> Storms:
    """The fresh window, played once for all tests of this file."""
    return played(FIRST, SEEDS, hash_seed=1)


@pytest.mark.parametrize("seed", regressions())
def test_a_seed_that_once_failed_holds(seed: int) -> None:
    assert play(seed).breaches == ()


@pytest.mark.timeout(LIMIT_S)
def test_fresh_seeds_break_no_promise(storms: Storms) -> None:
    judged(storms, SEEDS)


@pytest.mark.timeout(LIMIT_S)
def test_the_same_seed_tells_the_same_story_under_another_hash_seed(storms: Storms) -> None:
    count = min(REPEATED, SEEDS)

    again = played(FIRST, count, hash_seed=2)

    assert again.hashes == {seed: storms.hashes[seed] for seed in again.hashes}
    assert len(again.hashes) == count


def test_different_seeds_tell_different_stories() -> None:
    assert len({play(seed).trace_hash for seed in range(20)}) == 20


@pytest.mark.nightly
@pytest.mark.timeout(NIGHTLY_LIMIT_S)
def test_a_hundred_thousand_fresh_seeds_break_no_promise(
    record_testsuite_property: Any,
) -> None:
    storms = played(FIRST + 100_000, NIGHTLY_SEEDS, hash_seed=1, within_s=NIGHTLY_LIMIT_S)

    digest = sha256("".join(storms.hashes[seed] for seed in sorted(storms.hashes)).encode())
    record_testsuite_property("dst_digest", digest.hexdigest())
    record_testsuite_property("dst_events", storms.events)
    judged(storms, NIGHTLY_SEEDS)
