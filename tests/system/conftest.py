"""One whole desk, started as an operator starts it, for every test of this folder."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

PROJECT = Path(__file__).parents[2]
DESK = Path(sys.prefix) / "bin" / "desk"
START_S = 180.0
SPEED = "60"


@dataclass(frozen=True, kw_only=True)
class RunningDesk:
    """A desk of its own home and port."""

    home: Path
    url: str
    environment: dict[str, str]
    log: Path

    def get(self, path: str) -> Any:
        answer = httpx2.get(self.url + path, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def command(self, *words: str, within_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run `desk …` against this desk."""
        return subprocess.run(
            [str(DESK), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def eventually[T](self, ask: Callable[[], T | None], *, within_s: float = 60.0) -> T:
        """Repeat until the answer is true, or fail with the launcher's output."""
        deadline = time.monotonic() + within_s
        last: object = None
        while time.monotonic() < deadline:
            try:
                found = ask()
            except httpx2.HTTPError as away:
                found, last = None, away
            if found:
                return found
            time.sleep(0.25)
        raise AssertionError(f"not within {within_s:g} s ({last}); {self.log.read_text()[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def desk_environment() -> Iterator[dict[str, str]]:
    """Environment of a desk with a home and a port of its own; the home ends with the session."""
    with tempfile.TemporaryDirectory(prefix="rd-sys-") as folder:
        ours = ("BINGX_", "DESK_", "SIM_", "RAY_", "API_TOKEN", "REDIS_URL")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        yield kept | {
            "DESK_HOME": f"{folder}/home",
            "PORT": str(free_port()),
            "SIM_SPEED": SPEED,
            "COLUMNS": "160",
        }


@pytest.fixture(scope="module")
def launched(
    desk_environment: dict[str, str],
) -> Iterator[Callable[[], tuple[RunningDesk, subprocess.Popen[bytes]]]]:
    """Start `desk up`, wait until the API answers; every process is ended at the end."""
    started: list[subprocess.Popen[bytes]] = []
    home = Path(desk_environment["DESK_HOME"])
    log = home.parent / "up.log"

    def launch() -> tuple[RunningDesk, subprocess.Popen[bytes]]:
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(DESK), "up"],
                env=desk_environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        started.append(process)
        url = f"http://127.0.0.1:{desk_environment['PORT']}"
        desk = RunningDesk(home=home, url=url, environment=desk_environment, log=log)
        desk.eventually(lambda: desk.get("/healthz"), within_s=START_S)
        return desk, process

    yield launch
    subprocess.run(
        [str(DESK), "down"], env=desk_environment, timeout=120, check=False, capture_output=True
    )
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.fixture
def desk(
    launched: Callable[[], tuple[RunningDesk, subprocess.Popen[bytes]]],
    shared: "list[tuple[RunningDesk, subprocess.Popen[bytes]]]",
) -> RunningDesk:
    """The desk that the tests of this folder share, in any order; started anew if one has ended it."""
    if not shared or shared[-1][1].poll() is not None:
        shared.append(launched())
    running = shared[-1][0]
    running.eventually(lambda: running.get("/ops/trading/summary")["runs"], within_s=START_S)
    return running


@pytest.fixture(scope="module")
def shared() -> "list[tuple[RunningDesk, subprocess.Popen[bytes]]]":
    """Every desk that was started to be shared; the last one is the running one."""
    return []
