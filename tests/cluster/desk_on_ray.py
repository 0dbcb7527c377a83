"""A running desk as a test sees it, and the policy that keeps it busy."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from actors.commands import BackfillAsk, ReconcileReport, StartRun
from actors.doors import ExecutorDoor, LedgerDoor
from actors.parts.control import control
from actors.seed import AGENT_ID
from actors.version_registry import artifacts_of, register
from actors.wiring import LIVE, PAPER, Wiring
from desk.clock import DAY_MS
from desk.errors import StoreUnavailable
from desk.learning.policy import policy_card
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.features import FEATURES_V1
from desk.runs import DecisionRecord, Job, JobStatus, Mode, Run, RunStatus
from desk.store import kinds, server
from desk.store.valkey import ValkeyStore
from desk.trading.intents import OrderIntent
from desk.trading.ledger import Ledger
from desk.trading.orders import Fill, Leg, Order, Side
from desk.trading.risk import Approved

PAIRS = ("BTC-USDT", "ETH-USDT")
BUSY_VERSION = "busy-v1"


def eventually[T](ask: Callable[[], T | None], *, within_s: float = 60.0, what: str = "") -> T:
    """Ask until the answer is truthy; no fixed sleeps in tests."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        with contextlib.suppress(ConnectionError, StoreUnavailable):
            if answer := ask():
                return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {within_s:g} s: {what or ask}")


@dataclass
class RunningDesk:
    """A running desk as a test sees it: its store, its commands, its processes."""

    wiring: Wiring
    store: ValkeyStore
    simulator: Any
    store_server: server.RunningServer
    run_id: str = ""

    def command(self, work: Callable[[Any], Any]) -> Any:
        """Carry out a command as the operator API does."""
        return asyncio.run(work(control(self.wiring)))

    def pid_of(self, name: str) -> int:
        """Process of an actor, as its supervisor last heard."""
        row = self.store.get(kinds.ACTORS, name)
        assert row is not None
        return row.value.pid

    def kill(self, name: str) -> int:
        """Kill an actor's process with -9 and return its pid."""
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_store(self) -> None:
        """Kill the store's server with -9 and start it again, as the launcher does."""
        os.kill(self.store_server.pid, signal.SIGKILL)
        self.store_server.wait()
        self.store_server = server.start(self.wiring.home)

    def freeze(self, name: str) -> int:
        """Stop an actor's process without ending it and return its pid."""
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGSTOP)
        return pid

    def is_back(self, name: str, old_pid: int) -> bool:
        row = self.store.get(kinds.ACTORS, name)
        return row is not None and row.value.status == "up" and row.value.pid != old_pid

    def fetch_history(self, pair: str) -> None:
        """Backfill a day of a pair and wait for it."""
        clock = self.store.get(kinds.STATE, "clock")
        assert clock is not None
        ask = BackfillAsk(pair=pair, interval="1m", start_ms=clock.value["market_ms"] - DAY_MS)
        job: Job = self.command(
            lambda desk: desk.backfill(ask, actor="test", trace_id=f"trb-{pair}")
        )

        def is_done() -> bool:
            row = self.store.get(kinds.JOBS, job.job_id)
            assert row is not None
            assert row.value.status is not JobStatus.FAILED, row.value.error
            return row.value.status is JobStatus.DONE

        eventually(is_done, what=f"backfill of {pair}")

    def start_run(self) -> Run:
        """Start a paper run of the busy policy; it becomes the run that is looked at."""
        ask = StartRun(
            mode=Mode.PAPER,
            pair="BTC-USDT",
            risk_limit_set_id="default",
            version_id=BUSY_VERSION,
            decision_threshold=0.0,
        )
        run: Run = self.command(
            lambda desk: desk.start_run(AGENT_ID, ask, actor="test", trace_id=f"tr{time.time()}")
        )
        self.run_id = run.run_id
        return run

    def stop_run(self, *, flatten: bool) -> Run:
        return self.command(
            lambda desk: desk.stop_run(
                AGENT_ID, "test", flatten=flatten, actor="test", trace_id="tr-stop"
            )
        )

    def reconcile(self, account: str = PAPER) -> ReconcileReport:
        return self.command(lambda desk: desk.reconcile(account, actor="test", trace_id="tr-rec"))

    def run_row(self) -> Run:
        row = self.store.get(kinds.RUNS, self.run_id)
        assert row is not None
        return row.value

    def decisions(self) -> list[DecisionRecord]:
        """Of the run, newest first."""
        docs = self.store.list(kinds.decisions_of_run(self.run_id), limit=2000)
        return [doc.value for doc in docs]

    def send_live(self, decision_id: str, side: Side, quantity: str) -> Order:
        """Approve and execute one market order on the live account, by its own actors."""
        ledger = self.ledger(LIVE)
        self.put_live_run("run-wire", RunStatus.STOPPED, "BTC-USDT")
        intent = OrderIntent(
            account=LIVE,
            run_id="run-wire",
            decision_id=decision_id,
            pair="BTC-USDT",
            leg=Leg.ENTRY if side is Side.BUY else Leg.EXIT,
            side=side,
            quantity=Decimal(quantity),
            reduce_only=side is Side.SELL,
            reference_price=ledger.marks["BTC-USDT"],
            decided_open_ms=ledger.marked_ms,
            trace_id=f"tr-{decision_id}",
        )

        async def send() -> Order:
            namespace = self.wiring.namespace
            verdict = await LedgerDoor(LIVE, namespace=namespace).approve(intent, "default")
            assert isinstance(verdict, Approved), verdict
            return await ExecutorDoor(LIVE, namespace=namespace).execute(verdict)

        return asyncio.run(send())

    def put_live_run(self, run_id: str, status: RunStatus, pair: str) -> Run:
        """Store a live run of the busy policy under a stop, past the gates of a start."""
        run = Run(
            run_id=run_id,
            agent_id=AGENT_ID,
            account=LIVE,
            mode=Mode.LIVE,
            pair=pair,
            interval="1m",
            version_id=BUSY_VERSION,
            risk_limit_set_id="default",
            decision_threshold=0.0,
            status=status,
            started_ms=self.ledger(LIVE).marked_ms,
            feature_set_id=FEATURES_V1.feature_set_id,
            stop_loss_fraction=Decimal("0.02"),
        )
        self.store.put(kinds.RUNS, run_id, run, at_ms=run.started_ms)
        return run

    def end_run(self, run_id: str) -> None:
        """Let a run decide no more."""
        row = self.store.get(kinds.RUNS, run_id)
        assert row is not None
        ended = replace(row.value, status=RunStatus.STOPPED)
        self.store.put(kinds.RUNS, run_id, ended, at_ms=row.at_ms)

    def orders_of(self, run_id: str, account: str) -> list[Order]:
        """Oldest first."""
        trades = reversed(self.store.trade_ids(account=account, limit=5000))
        rows = (row for trade in trades for row in self.store.orders_of_trade(trade))
        return [row for row in rows if row.run_id == run_id]

    def order(self, client_order_id: str) -> Order:
        found = self.store.order(client_order_id)
        assert found is not None
        return found

    def orders(self) -> list[Order]:
        trades = self.store.trade_ids(account=PAPER, limit=5000)
        return [order for trade in trades for order in self.store.orders_of_trade(trade)]

    def fills(self) -> list[Fill]:
        return [
            fill
            for order in self.orders()
            for fill in self.store.fills_of_order(order.client_order_id)
        ]

    def ledger(self, account: str = PAPER) -> Ledger:
        ledger = self.store.ledger(account)
        assert ledger is not None
        return ledger


def register_busy_policy(store: ValkeyStore, home: Path) -> None:
    """A contrarian of one linear layer, so that a test sees an order every few candles."""
    weight = np.zeros((3, FEATURES_V1.size + 1), dtype=np.float32)
    weight[:, FEATURES_V1.index("close_zscore_15")] = [8.0, 0.0, -8.0]
    bias = np.array([0.0, 3.0, 0.0], dtype=np.float32)
    tensors = {"layers.0.weight": weight, "layers.0.bias": bias}
    register_rule(store, home, BUSY_VERSION, "contrarian_rule", tensors)


def register_rule(
    store: ValkeyStore,
    home: Path,
    version_id: str,
    algorithm: str,
    tensors: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]],
) -> None:
    """Register the weights of a rule as a draft version on the first feature set."""
    card = policy_card(
        version_id=version_id,
        algorithm=algorithm,
        is_baseline=False,
        hyperparameters={},
        software={},
    )
    version = AgentVersion(
        version_id=version_id,
        agent_id=AGENT_ID,
        name=version_id,
        algorithm=algorithm,
        is_baseline=False,
        status=VersionStatus.DRAFT,
        artifact_uri="",
        artifact_sha256="",
        artifact_bytes=0,
        feature_set_id=FEATURES_V1.feature_set_id,
        created_ms=1,
    )
    register(store, artifacts_of(home), version, card, tensors)
