"""A live run on a Ray of several nodes, whose trading nodes die and hang; prints what was seen.

A process of its own, since a process knows one Ray: `python -m tests.nodes.scenario`. Every node is a
raylet with its own actors, all on this machine, kept by us as a service manager would keep them.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from desk.cli.launch import free_port
from desk.cli.ray_cluster import node_environment, token_file

FOLDER = Path(tempfile.mkdtemp(prefix="rd-nodes-"))
# Read when Ray is imported, which everything below does.
os.environ |= node_environment(token_file(FOLDER)) | {
    "RAY_TMPDIR": str(FOLDER / "ray"),
    # A dead node is declared so after three of these, not after half a minute.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
(FOLDER / "ray").mkdir()

from actors.names import ORDER_EXECUTOR, RISK_LEDGER  # noqa: E402
from actors.wiring import LIVE, PolicyMode  # noqa: E402
from desk.wallclock import wall_ms  # noqa: E402
from tests.cluster.conftest import running_desk  # noqa: E402
from tests.cluster.desk_on_ray import RunningDesk, eventually  # noqa: E402
from tests.cluster.live_run import (  # noqa: E402
    compared_since,
    decided_since,
    live_orders_filled,
    start_live_run,
    stop_live_run,
)
from tests.conftest import launch_simulator  # noqa: E402
from tests.orders.verdict import judge  # noqa: E402
from tests.processes import descendants  # noqa: E402

TRIES = 5
START_S = 90.0
BACK_S = 180.0
SPEED = 20.0
TRADING = json.dumps({"trading": 1000})


@dataclass
class Nodes:
    """The raylets of this cluster, by the name we gave them."""

    address: str = ""
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *options: str) -> None:
        """Start a node and wait for it; one that Ray gives up at its start is started again."""
        where = (
            ["--head", f"--port={free_port()}", "--dashboard-host=127.0.0.1"]
            if not self.address
            else [f"--address={self.address}"]
        )
        command = [
            str(Path(sys.prefix) / "bin" / "ray"),
            "start",
            "--block",
            "--node-ip-address=127.0.0.1",
            f"--temp-dir={FOLDER / 'ray'}" if not self.address else "--num-gpus=0",
            "--object-store-memory=100000000",
            "--disable-usage-stats",
            *where,
            *options,
        ]
        for _ in range(TRIES):
            before = self.count()
            with (FOLDER / f"{name}.log").open("ab") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            self.running[name] = process
            until_s = time.monotonic() + START_S
            while time.monotonic() < until_s and process.poll() is None:
                if self._is_up(before):
                    return
                time.sleep(0.5)
            self.end(name)
        raise RuntimeError(f"{name} did not start: {(FOLDER / f'{name}.log').read_text()[-2000:]}")

    def _is_up(self, before: int) -> bool:
        if self.address:
            return self.count() > before
        found = FOLDER / "ray" / "ray_current_cluster"
        if not found.exists():
            return False
        self.address = found.read_text().strip()
        connect(self.address)
        return True

    def count(self) -> int:
        """Nodes that Ray counts as alive."""
        if not self.address:
            return 0
        import ray

        return sum(node["Alive"] for node in ray.nodes())

    def raylet(self, name: str) -> int:
        """The process that speaks for a node."""
        for pid in descendants(self.running[name].pid):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "raylet":
                return pid
        raise RuntimeError(f"{name} has no raylet")

    def end(self, name: str) -> None:
        """Kill a node and every process of it at once."""
        process = self.running.pop(name)
        for pid in {process.pid, *descendants(process.pid)}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(10)

    def end_all(self) -> None:
        for name in list(self.running):
            self.end(name)


def connect(address: str) -> None:
    import ray

    untyped: Any = ray
    untyped.init(address=address, namespace="tests", log_to_driver=False, logging_level="ERROR")


@contextmanager
def cluster() -> Generator[Nodes]:
    nodes = Nodes()
    try:
        nodes.start("head", "--num-cpus=0")
        yield nodes
    except BaseException:
        traceback.print_exc()  # now: a driver whose head is gone is ended by Ray without a word
        raise
    finally:
        nodes.end_all()
        shutil.rmtree(FOLDER, ignore_errors=True)


def trading_is_back(desk: RunningDesk, old: dict[str, int], began_ms: int) -> None:
    """Wait until the account's actors are others, have compared, decide and trade."""
    for name, pid in old.items():
        eventually(lambda: desk.is_back(name, pid), within_s=BACK_S, what=f"{name} elsewhere")  # noqa: B023
    back_ms = wall_ms()
    eventually(lambda: compared_since(desk, back_ms), within_s=90, what="a comparison")
    eventually(lambda: decided_since(desk, began_ms), within_s=90, what="a decision")
    eventually(lambda: live_orders_filled(desk, back_ms), within_s=120, what="a fill")


def told(words: dict[str, object]) -> None:
    print(json.dumps(words), flush=True)


def moved_after(nodes: Nodes, desk: RunningDesk, loss: Callable[[], None], *, event: str) -> None:
    """Lose a node with all trading actors on it, and see them trade on the other one."""
    names = [RISK_LEDGER.of(LIVE), ORDER_EXECUTOR.of(LIVE)]
    old = {name: desk.pid_of(name) for name in names}
    began_s, began_ms = time.monotonic(), wall_ms()
    loss()
    trading_is_back(desk, old, began_ms)
    told({"event": event, "back_s": round(time.monotonic() - began_s, 1), "nodes": nodes.count()})


def main() -> None:
    with cluster() as nodes:
        nodes.start("first", "--num-cpus=0", f"--resources={TRADING}")
        with running_desk(launch_simulator(speed=SPEED, seed=11), PolicyMode.LOCAL) as desk:
            start_live_run(desk)
            eventually(lambda: live_orders_filled(desk, 0), within_s=120, what="live fills")
            nodes.start("second", "--num-cpus=0", f"--resources={TRADING}")
            moved_after(nodes, desk, lambda: nodes.end("first"), event="killed")

            nodes.start("third", "--num-cpus=0", f"--resources={TRADING}")
            raylet = nodes.raylet("second")
            # Its actors run on and do not know: only the store's epoch holds them back.
            moved_after(nodes, desk, lambda: os.kill(raylet, signal.SIGSTOP), event="cut off")
            os.kill(raylet, signal.SIGCONT)
            stop_live_run(desk)
            states = judge(desk.store, desk.simulator)
            told({"event": "judged", "orders": dict(states)})


if __name__ == "__main__":
    main()
