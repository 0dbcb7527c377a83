"""`desk up` on a Ray that something else keeps running: it joins, survives the loss of the head, leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from desk.cli.ray_cluster import TRADING_PLACES, node_environment, token_file
from desk.store import server
from tests.processes import descendants
from tests.system.conftest import DESK, RunningDesk, free_port

pytestmark = [pytest.mark.cluster, pytest.mark.nightly, pytest.mark.timeout(900)]
TRIES = 5
BACK_S = 90.0
RAYS_OWN = re.compile(r"Serve|Proxy|IDLE|Agent")
"""What a head runs without any desk."""


class Head:
    """A Ray head as its service keeps it: one place, started again when it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.environment = os.environ | node_environment(token_file(folder))
        self.address = f"127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for attempt in range(TRIES):
            ray_dir = self._folder / f"r{time.monotonic_ns()}"
            ray_dir.mkdir()
            command = [
                str(Path(sys.executable).parent / "ray"),
                *("start", "--head", "--block", "--node-ip-address=127.0.0.1"),
                *(f"--port={self._port}", f"--temp-dir={ray_dir}", "--num-cpus=1"),
                f"--resources={json.dumps(TRADING_PLACES)}",
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={free_port()}"),
                f"--ray-client-server-port={free_port()}",
                *("--object-store-memory=100000000", "--disable-usage-stats"),
            ]
            with (self._folder / f"head{attempt}.log").open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=self.environment | {"RAY_TMPDIR": str(ray_dir)},
                )
            until_s = time.monotonic() + 60
            while time.monotonic() < until_s and self._process.poll() is None:
                if (ray_dir / "ray_current_cluster").exists():
                    return
                time.sleep(0.2)
            self.kill()
        raise AssertionError("Ray did not start")

    def kill(self) -> None:
        assert self._process is not None
        for pid in {self._process.pid, *descendants(self._process.pid)}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(10)

    def actors(self) -> set[str]:
        """Titles of the workers that this head runs."""
        assert self._process is not None
        titles = set[str]()
        for pid in descendants(self._process.pid):
            with suppress(OSError):
                titles.add(Path(f"/proc/{pid}/cmdline").read_bytes().decode().strip("\0 "))
        return {title for title in titles if title.startswith("ray::")}


@pytest.fixture
def head() -> Iterator[Head]:
    with tempfile.TemporaryDirectory(prefix="rd-") as folder:  # sockets need a short path
        made = Head(Path(folder))
        made.start()
        yield made
        made.kill()


@pytest.fixture
def external_store(tmp_path: Path) -> Iterator[str]:
    running = server.start(tmp_path / "elsewhere")
    yield running.url
    server.stop(running)


def actors_up(desk: RunningDesk) -> list[Any]:
    rows: list[Any] = desk.get("/ops/actors")["items"]
    return rows if rows and all(row["status"] == "up" for row in rows) else []


@pytest.mark.catalogue("I17")
def test_a_desk_joins_a_ray_outlives_its_head_and_leaves_it_as_it_was(
    head: Head, external_store: str, tmp_path: Path
) -> None:
    ours = ("BINGX_", "DESK_", "SIM_", "API_TOKEN", "REDIS_URL")
    environment = {
        name: value for name, value in head.environment.items() if not name.startswith(ours)
    } | {
        "DESK_HOME": str(tmp_path / "home"),
        "PORT": str(free_port()),
        "DESK_RAY_ADDRESS": head.address,
        "REDIS_URL": external_store,
        "BINGX_MARKET_DATA_PAIRS": "BTC-USDT",
    }
    log = tmp_path / "up.log"
    with log.open("ab") as out:
        launcher = subprocess.Popen(
            [str(DESK), "up", "--no-run"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{environment['PORT']}"
    desk = RunningDesk(home=tmp_path / "home", url=url, environment=environment, log=log)
    try:
        desk.eventually(lambda: "actors and API" in log.read_text(), within_s=400)
        before = {row["pid"] for row in desk.eventually(lambda: actors_up(desk), within_s=240)}

        head.kill()
        began_s = time.monotonic()
        head.start()
        after = desk.eventually(
            lambda: [row for row in actors_up(desk) if row["pid"] not in before], within_s=240
        )
        assert len(after) == len(before)
        took_s = time.monotonic() - began_s
        print(f"back {took_s:.0f} s after the loss of the head")

        assert desk.command("down").returncode == 0
        with pytest.raises(httpx2.HTTPError):
            desk.get("/healthz")
        left = {title for title in head.actors() if not RAYS_OWN.search(title)}
        assert not left, left
    finally:
        if launcher.poll() is None:
            os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait(10)
        subprocess.run([str(DESK), "down"], env=environment, timeout=120, check=False)
    assert took_s <= BACK_S
