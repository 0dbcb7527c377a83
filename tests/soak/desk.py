"""The desk that a soak is held on: started as an operator starts it, seen from outside."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from actors.run_file import RunFile
from actors.seed import AGENT_ID
from actors.wiring import LIVE
from desk.cli.launch import free_port
from desk.drills.exchange import Simulator
from desk.errors import DeskError
from desk.market.features import FEATURES_V1
from desk.runs import Mode, Run, RunStatus, resume
from desk.store import kinds
from desk.store.valkey import ValkeyStore
from desk.trading import risk
from tests.cluster.desk_on_ray import BUSY_VERSION, register_busy_policy
from tests.soak.journal import OrderJournal

PAIRS = {"paper": "ETH-USDT", "live": "PAXG-USDT"}
LIMITS = "soak"
START_S, STEP_S = 420.0, 0.5


class SoakFailed(Exception):
    """The soak could not be run; what it found is a breach instead."""


@dataclass(slots=True, kw_only=True)
class Soaked:
    """A running desk, as the soak sees it: from outside, by its store and the exchange."""

    home: Path
    process: subprocess.Popen[bytes]
    store: ValkeyStore
    simulator: Simulator
    orders: OrderJournal

    def log_tail(self) -> str:
        """The launcher's last words."""
        return (self.home.parent / "up.log").read_text()[-3_000:]

    def keep_logs(self, folder: Path) -> None:
        """Copy what the desk and its Ray wrote, in place of those kept before."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.home / "logs", folder)
        shutil.copy(self.home.parent / "up.log", folder)

    def state(self) -> Any:
        """Books of the exchange."""
        return self.simulator.state()

    def journal(self, after: int) -> list[dict[str, Any]]:
        """The orders that the exchange received later than that."""
        return self.orders.after(after)

    def runs(self) -> list[Run]:
        """Those that have not ended."""
        ended = {RunStatus.STOPPED, RunStatus.FAILED}
        return [doc.value for doc in self.store.list(kinds.RUNS) if doc.value.status not in ended]

    def resume(self) -> int:
        """As an operator does who knows why: every paused run goes on. Returns how many were paused."""
        paused = 0
        for doc in self.store.list(kinds.RUNS):
            if doc.value.status is RunStatus.PAUSED:
                paused += 1
                with suppress(DeskError):
                    self.store.put(
                        kinds.RUNS,
                        doc.key,
                        resume(doc.value),
                        at_ms=doc.at_ms,
                        expected_version=doc.version,
                    )
        return paused


def start(ends: ExitStack, speed: float) -> Soaked:
    """`desk up` in a home of its own; with two runs that trade often, on paper and at the exchange."""
    folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="rd-soak-")))
    home, desk = folder / "home", str(Path(sys.prefix) / "bin" / "desk")
    ours = ("BINGX_", "DESK_", "SIM_", "RAY_", "API_TOKEN", "REDIS_URL")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)} | {
        "DESK_HOME": str(home),
        "PORT": str(free_port()),
        "SIM_SPEED": f"{speed:g}",
        # The busy policy is always as good as certain, which is a drift wherever one is looked for.
        "DRIFT_CONFIDENCE_DELTA": "1.0",
        # A desk that still fetches years of history fills its store for hours.
        "BINGX_BACKFILL_MAX_BATCHES": "1",
    }
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [desk, "up"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    ends.callback(end, process, [desk, "down"], environment)
    try:
        running = eventually(lambda: RunFile.read(home), START_S, "the desk is up", process)
    except SoakFailed as failed:
        raise SoakFailed(f"{failed}; {(folder / 'up.log').read_text()[-2000:]}") from None
    ready = json.loads((home / "run" / "simulator.json").read_text())
    store, simulator = ValkeyStore(running.store_url), Simulator(str(ready["control_url"]))
    ends.callback(store.close)
    ends.callback(simulator.close)
    orders = OrderJournal(simulator)
    desk_ = Soaked(home=home, process=process, store=store, simulator=simulator, orders=orders)
    eventually(lambda: first_run_decides(desk_), START_S, "the first run decides", process)
    register_busy_policy(store, home)
    for account in PAIRS:
        begin(desk_, account)
    return desk_


def end(process: subprocess.Popen[bytes], down: list[str], environment: dict[str, str]) -> None:
    subprocess.run(down, env=environment, timeout=180, check=False, capture_output=True)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def first_run_decides(desk: Soaked) -> bool:
    return any(run.last_decided_open_ms for run in desk.runs())


def begin(desk: Soaked, account: str) -> None:
    """Put a small run of the busy policy where a start that passed every gate would put it."""
    [first, *_] = [run for run in desk.runs() if run.version_id != BUSY_VERSION]
    small = replace(risk.default_limits(), set_id=LIMITS, max_position_size=Decimal(100))
    desk.store.put(kinds.RISK_LIMITS, LIMITS, small, at_ms=1)
    run = replace(
        first,
        run_id=f"soak-{account}",
        agent_id=AGENT_ID,
        account=account,
        mode=Mode.LIVE if account == LIVE else Mode.PAPER,
        pair=PAIRS[account],
        version_id=BUSY_VERSION,
        risk_limit_set_id=LIMITS,
        decision_threshold=0.0,
        feature_set_id=FEATURES_V1.feature_set_id,
        stop_loss_fraction=Decimal("0.02"),
        status=RunStatus.RUNNING,
        pause_reason="",
        last_decided_open_ms=0,
    )
    desk.store.put(kinds.RUNS, run.run_id, run, at_ms=run.started_ms)


def eventually[T](
    ask: Callable[[], T | None], within_s: float, what: str, process: subprocess.Popen[bytes]
) -> T:
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s and process.poll() is None:
        with suppress(DeskError, OSError):
            if answer := ask():
                return answer
        time.sleep(STEP_S)
    raise SoakFailed(f"not within {within_s:g} s: {what}")
