"""Learners stand still while somebody decides, and never for good."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from desk.engines import standstill
from desk.engines.standstill import Standstill
from tests.actors.stage import Stage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are known by /proc")

LEARNS = """
from desk.engines import standstill

standstill.enlist()
print("listed", flush=True)
while True:
    pass
"""
DECIDES = """
import time
from desk.engines.standstill import Standstill

Standstill().begin()
print("decides", flush=True)
time.sleep(60)
"""

type Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start processes that share a folder of learners with this one; all end with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    started: list[subprocess.Popen[str]] = []

    def run(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline(), "it did not come up"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def stands(process: subprocess.Popen[str], *, still: bool) -> bool:
    """Wait until it does, or for a second."""
    until_s = time.monotonic() + 1.0
    while time.monotonic() < until_s:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if (state == "T") is still:
            return True
        time.sleep(0.005)
    return False


def test_learners_stand_still_until_the_last_decision_of_several_is_made(start: Start) -> None:
    learners = [start(LEARNS), start(LEARNS)]
    first, second = Standstill(), Standstill()

    first.begin()
    second.begin()
    assert all(stands(one, still=True) for one in learners)
    first.end()
    first.end()
    standstill.resume()
    assert all(stands(one, still=True) for one in learners)
    second.end()

    assert all(stands(one, still=False) for one in learners)


def test_whoever_dies_while_it_decides_leaves_no_learner_standing(start: Start) -> None:
    learner = start(LEARNS)
    loop = start(DECIDES)
    assert stands(learner, still=True)
    standstill.resume()
    assert stands(learner, still=True)

    loop.send_signal(signal.SIGKILL)
    loop.wait()
    standstill.resume()

    assert stands(learner, still=False)


def test_a_process_that_got_the_number_of_a_dead_learner_is_left_alone(start: Start) -> None:
    start(LEARNS)
    other = start("print('up', flush=True)\nwhile True:\n    pass\n")
    left = standstill.folder() / str(other.pid)
    left.write_text("12345")
    dead = standstill.folder() / "999999999"
    dead.write_text("12345")

    decision = Standstill()
    decision.begin()

    assert stands(other, still=False)
    assert not left.exists()
    assert not dead.exists()
    decision.end()


def test_a_learner_that_begins_takes_away_what_dead_ones_have_left(start: Start) -> None:
    dead = start(LEARNS)
    dead.kill()
    dead.wait()
    learner = start(LEARNS)

    listed = {file.name for file in standstill.folder().iterdir() if file.name.isdigit()}

    assert listed == {str(learner.pid)}


def test_a_folder_of_somebody_else_says_nothing(start: Start) -> None:
    learner = start(LEARNS)
    here = standstill.folder()
    moved = here.rename(here.with_name("elsewhere"))
    here.symlink_to(moved)

    decision = Standstill()
    decision.begin()
    assert stands(learner, still=False)
    decision.end()


def test_where_nobody_learns_nothing_is_held(start: Start) -> None:
    del start
    decision = Standstill()
    decision.begin()
    decision.end()
    standstill.resume()
    assert not standstill.folder().exists()


@pytest.mark.parametrize("is_slow", [False, True])
def test_learners_stand_still_for_a_decision_and_for_a_slow_one_only_so_long(
    start: Start, monkeypatch: pytest.MonkeyPatch, *, is_slow: bool
) -> None:
    learner, stage, seen = start(LEARNS), Stage(), list[bool]()
    monkeypatch.setattr(standstill, "MOST_S", 0.1 if is_slow else 60.0)

    async def deciding(*_: object) -> None:
        seen.append(await asyncio.to_thread(stands, learner, still=not is_slow))

    monkeypatch.setattr(stage.loop, "_decide", deciding)
    stage.tell(stage.next_candle())

    assert seen == [True]
    assert stands(learner, still=False)


def test_the_next_turn_of_a_loop_lets_go_on_whom_a_killed_loop_has_stopped(start: Start) -> None:
    learner, stage = start(LEARNS), Stage()
    loop = start(DECIDES)
    loop.kill()
    loop.wait()
    assert stands(learner, still=True)

    asyncio.run(stage.loop.turn())

    assert stands(learner, still=False)
