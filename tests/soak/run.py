"""An hour of accelerated trading under random kills and faults, judged at every look: `make soak`.

A whole desk, started as an operator starts it, trades on paper and at the exchange. Its processes are
killed at random, each at some times only: at the others its memory is watched.
Prints a table, writes `bench/results/soak.json`, and fails on any breach.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from desk.cli.progress import bars
from desk.errors import DeskError
from desk.runs import RunStatus
from desk.store import kinds
from desk.trading.orders import Order
from tests.orders.verdict import PLACED, judge, orders_of
from tests.processes import head_of
from tests.soak import history, processes, schedule
from tests.soak.desk import STEP_S, Soaked, SoakFailed, eventually, start
from tests.soak.memory import Watched
from tests.soak.schedule import HEAD, Blow
from tests.soak.told import Found, is_judged_by_the_wall, report, show

PROJECT = Path(__file__).parents[2]
RESULT = PROJECT / "bench" / "results" / "soak.json"
LOGS = RESULT.with_name("soak-logs")
"""Of a desk that ended by itself, or whose soak failed."""
BACK_S, QUIET_S = 240.0, 240.0
"""Each process of Ray takes its whole head along."""
END_LOOKS, END_LOOK_EVERY_S = 3, 10.0
WATCH_EVERY_S, BOOKS_EVERY_S = 10.0, 60.0
FAULT_S = 6.0
UNKILLED = frozenset({"launcher", "simulator"})
"""Nobody watches the launcher of a laptop's desk; the exchange is not ours to kill."""
FAULTS: dict[str, dict[str, object]] = {
    "maintenance": {"match": {}, "action": {"kind": "http", "status": 503}},
    "answers lost": {
        "match": {"method": "POST", "path": "trade/order", "probability": 0.5},
        "action": {"kind": "drop_response"},
    },
    "requests lost": {"match": {"probability": 0.3}, "action": {"kind": "drop_request"}},
    "slow": {"match": {"probability": 0.5}, "action": {"kind": "delay", "ms": 1_500}},
    "carried out twice": {
        "match": {"method": "POST", "path": "trade/order"},
        "action": {"kind": "duplicate"},
    },
    "candles stand still": {"match": {"path": "klines"}, "action": {"kind": "candles_frozen"}},
}


class Soak:
    """Deals the blows, waits until the desk trades on, and looks at its books all the time."""

    def __init__(
        self, desk: Soaked, *, seed: int, seconds: float, kills: int, tell: Callable[[str], None]
    ) -> None:
        self._desk, self._rng, self._tell = desk, random.Random(seed), tell
        self._blows = schedule.blows(seed, seconds, kills)
        self._seconds, self._began_s = seconds, time.monotonic()
        self._watched_s = self._looked_s = float("-inf")
        self.history, self.memory, self.found = history.History(), Watched(), Found()

    def run(self) -> None:
        """To the end of its time. Raises `SoakFailed` where the desk itself ended."""
        for blow in self._blows:
            while self._now_s() < blow.at_s:
                self._look()
                time.sleep(STEP_S)
            self._deal(blow)
        while self._now_s() < self._seconds:
            self._look()
            time.sleep(STEP_S)

    def _is_mortal(self, name: str) -> bool:
        part = schedule.part_at(self._now_s(), self._seconds)
        early = processes.takes_head(name) or is_judged_by_the_wall(name)
        return name not in UNKILLED and schedule.is_mortal(name, part, only_at_first=early)

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    # --- blows ----------------------------------------------------------------------------------

    def _deal(self, blow: Blow) -> None:
        pids = processes.named(self._desk.home, self._desk.store)
        if blow.takes_head:
            name, victims = HEAD, head_of(self._desk.home)
        else:
            mortal = {pid: known for pid, known in pids.items() if self._is_mortal(known)}
            chosen = schedule.choose(self._rng, list(mortal.values()))
            if chosen is None:
                return
            name, victims = chosen, [pid for pid, known in mortal.items() if known == chosen]
        fault = self._rng.choice(sorted(FAULTS)) if blow.with_fault else ""
        if fault:
            self._desk.simulator.add_rules([FAULTS[fault]])
            self.found.faults[fault] += 1
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.found.kills[name] += 1
        self._tell(f"{name} killed{f', {fault}' if fault else ''}")
        self._await_trading(name, fault)

    def _await_trading(self, name: str, fault: str) -> None:
        """Until every run has decided on a candle that it had not seen; what the exchange did ends first."""
        began_s = time.monotonic()
        marks: dict[str, int] | None = None
        while time.monotonic() < began_s + BACK_S:
            if fault and time.monotonic() > began_s + FAULT_S:
                self._desk.simulator.remove_rules()
                fault = ""
            with suppress(DeskError):
                self._desk.resume()
                now = {run.run_id: run.last_decided_open_ms for run in self._desk.runs()}
                if marks is None and not fault:
                    marks = now
                elif marks is not None and all(now[run] > marks[run] for run in marks):
                    self.found.back_s.setdefault(name, []).append(time.monotonic() - began_s)
                    return
            self._look()
            time.sleep(STEP_S)
        self.found.breaches.append(f"{name} was killed, and in {BACK_S:g} s not all runs decided")

    # --- looks ----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Follow the orders, now and then measure memory and check the books; a store that is away is
        looked at the next time."""
        if self._desk.process.poll() is not None:
            raise SoakFailed(f"`desk up` has ended: {self._desk.log_tail()}")
        with suppress(DeskError):
            self.history.follow(self._desk.store)
            if self._now_s() - self._watched_s >= WATCH_EVERY_S:
                self._watched_s = self._now_s()
                self._watch()
            if self._now_s() - self._looked_s >= BOOKS_EVERY_S:
                self._looked_s = self._now_s()
                self._check_books()

    def _watch(self) -> None:
        self._desk.orders.read()
        for pid, name in processes.named(self._desk.home, self._desk.store).items():
            if self._is_mortal(name):
                continue
            size = processes.own_bytes(pid)
            if size is not None:
                self.memory.read(name, pid, self._now_s(), size)

    def _check_books(self) -> None:
        for account in history.ACCOUNTS:
            breaches = history.breaches_of(self._desk.store, account)
            if breaches is None:
                self.found.missed_looks += 1
                continue
            self.found.looks += 1
            self.found.breaches += [f"{account}: {text}" for text in breaches]
        for doc in self._desk.store.list(kinds.ALERTS, limit=500):
            if doc.value.code in history.NEVER:
                self.found.breaches.append(f"alert {doc.key}: {doc.value.detail}")

    # --- the end --------------------------------------------------------------------------------

    def judge(self) -> None:
        """Let everything come to rest, then compare the books with the exchange's, order by order."""
        self._desk.simulator.remove_rules()
        for doc in self._desk.store.list(kinds.RUNS):
            ended = replace(doc.value, status=RunStatus.STOPPED)
            self._desk.store.put(kinds.RUNS, doc.key, ended, at_ms=doc.at_ms)
        try:
            eventually(lambda: not self._under_way(), QUIET_S, "rest", self._desk.process)
        except SoakFailed:
            under_way = ", ".join(f"{one.client_order_id} {one.state}" for one in self._under_way())
            self.found.breaches.append(f"{QUIET_S:g} s after the end still under way: {under_way}")
        self.history.follow(self._desk.store)
        self._check_books()
        self.found.breaches += self.history.breaches
        if (wrong := self._compared()) is not None:
            self.found.breaches.append(f"at the end: {wrong}")
        for account in history.ACCOUNTS:
            states = Counter(one.state.value for one in orders_of(self._desk.store, account))
            self.found.orders[account] = states
            if not states["filled"]:
                self.found.breaches.append(
                    f"{account}: nothing was filled: this soak proves nothing"
                )

    def _compared(self) -> str | None:
        """How the books differ from the exchange's; None: in nothing. One look is many reads, between
        which something may still move: what is really lost or doubled is so at every look."""
        for look in range(END_LOOKS):
            try:
                judge(self._desk.store, self._desk)
            except AssertionError as wrong:
                if look == END_LOOKS - 1:
                    return str(wrong)
                self._tell(f"compared: {wrong}")
                time.sleep(END_LOOK_EVERY_S)
            else:
                break
        return None

    def _under_way(self) -> list[Order]:
        """What is neither ended nor rests at its venue."""
        active = [one for name in history.ACCOUNTS for one in self._desk.store.active_orders(name)]
        return [one for one in active if one.state not in PLACED]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, of the wall")
    parser.add_argument("--kills", type=int, default=0, help="how many; two a minute when left out")
    parser.add_argument("--seed", type=int, default=1, help="of the blows and of their times")
    parser.add_argument("--speed", type=float, default=30.0, help="of the market against the wall")
    options = parser.parse_args()
    if not 1 <= options.minutes <= 24 * 60:
        parser.error(f"--minutes was {options.minutes:g}, expected 1 to 1440")
    kills = options.kills or max(2, round(2 * options.minutes))
    if not 2 <= kills <= 10 * options.minutes:
        parser.error(f"--kills was {kills}, expected 2 to 10 a minute")
    console = Console(stderr=True)
    with ExitStack() as ends:
        console.print("starting a desk")
        desk: Soaked | None = None
        try:
            desk = start(ends, options.speed)
            progress = ends.enter_context(bars(console))
            task = progress.add_task("soak", total=round(options.minutes * 60), detail="")
            soak = Soak(
                desk,
                seed=options.seed,
                seconds=options.minutes * 60,
                kills=kills,
                tell=lambda text: progress.update(
                    task, completed=round(time.monotonic() - began_s), detail=text
                ),
            )
            began_s = time.monotonic()
            soak.run()
            soak.judge()
            if soak.found.breaches:
                desk.keep_logs(LOGS)
        except SoakFailed as failed:
            console.print(f"[red]{failed}[/]")
            if desk is not None:
                desk.keep_logs(LOGS)
                console.print(f"its logs: {LOGS}")
            return 2
        asked = {"minutes": options.minutes, "speed": options.speed, "seed": options.seed}
        told = asked | report(soak.found, soak.memory, soak.history.moves, options.speed)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(told, indent=1))
    show(told, console)
    return 1 if told["breaches"] else 0


if __name__ == "__main__":
    sys.exit(main())
