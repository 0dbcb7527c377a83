"""A live account that trades at the simulator, as `desk up` starts it: every part real, each a process.

Without the parts that no order passes: supervisor, feeds, gap monitor, observer, the operator API.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import SecretStr

from tests.cluster.conftest import serving  # sets Ray's environment, which it reads when imported
from tests.cluster.desk_on_ray import register_rule
from tests.conftest import SimulatorProcess, launch_simulator

# isort: split
import ray

from actors import tree
from actors.boot import read_clock
from actors.candle_messages import CandleClosed
from actors.decision_loop import DecisionLoop
from actors.names import CANDLE_POLLER, ORDER_EXECUTOR, RECONCILER, RISK_LEDGER
from actors.seed import AGENT_ID, seed
from actors.wiring import LIVE, Wiring
from desk.engines.private_ray import START_TRIES
from desk.market.features import FEATURES_V1
from desk.runs import DecisionRecord, Mode, Run, RunStatus
from desk.store import kinds, server
from desk.store.valkey import ValkeyStore
from desk.trading import risk

PAIR = "BTC-USDT"
RUN_ID, VERSION = "run-bench", "flip-v1"
ROLES = (RISK_LEDGER.name, ORDER_EXECUTOR.name, RECONCILER.name, CANDLE_POLLER.name)
SUBMIT = "/trade/order"
WITHIN_S = 120.0
REST_S, LOOK_S = 0.5, 0.05
"""A driver that looks into the store while a decision is under way takes its time away."""


class StampedLoop(DecisionLoop):
    """The decision loop, which notes when it heard of each candle."""

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        self._heard_ns: dict[int, int] = {}

    @ray.method(max_task_retries=0)
    async def on_candle_closed(self, closed: CandleClosed) -> None:
        self._heard_ns.setdefault(closed.open_ms, time.monotonic_ns())
        await super().on_candle_closed(closed)  # pyright: ignore[reportCallIssue, reportGeneralTypeIssues] - a plain method here

    async def heard_ns(self, open_ms: int) -> int | None:
        """By the monotonic clock; None: nobody told it."""
        return self._heard_ns.get(open_ms)


@dataclass
class TradingDesk:
    """A running desk and what a bench asks of it."""

    store: ValkeyStore
    store_url: str
    simulator: SimulatorProcess
    loop: Any
    seen: int = 0
    """Requests of the simulator's journal that were read."""
    arrivals: dict[str, int] = field(default_factory=dict[str, int])
    """When each order came to the simulator, by its client order id, or by the floor's number."""

    def next_decision(self, after_ms: int) -> DecisionRecord:
        """The newest decision on a later candle, once its orders have come to their end."""
        until_s = time.monotonic() + WITHIN_S
        time.sleep(REST_S)
        while time.monotonic() < until_s:
            time.sleep(LOOK_S)
            newest = self.store.list(kinds.decisions_of_run(RUN_ID), limit=1)
            if not newest or newest[0].value.open_ms <= after_ms or newest[0].version < 2:
                continue
            if not self.store.active_orders(LIVE):
                return newest[0].value
        raise TimeoutError(f"no decision in {WITHIN_S:g} s")

    def read_journal(self) -> None:
        """Note what came to the simulator since the last time."""
        for entry in self.simulator.journal(self.seen):
            self.seen = entry["sequence"]
            if entry["method"] == "POST" and entry["path"].endswith(SUBMIT):
                given = entry["params"]
                name = given.get("clientOrderID", "").lower() or f"floor-{given['floor']}"
                self.arrivals.setdefault(name, entry["receive_ns"])


def next_order_s(desk: TradingDesk, after_ms: int) -> tuple[int, float | None]:
    """Wait for the next decision; its candle, and the seconds from hearing of it to its order's bytes
    at the simulator. None for one without an order."""
    decision = desk.next_decision(after_ms)
    desk.read_journal()
    untyped: Any = ray
    heard_ns = untyped.get(desk.loop.heard_ns.remote(decision.open_ms), timeout=WITHIN_S)
    if not decision.client_order_ids or heard_ns is None:
        return decision.open_ms, None
    return decision.open_ms, (desk.arrivals[decision.client_order_ids[0]] - heard_ns) / 1e9


@contextlib.contextmanager
def trading(speed: float) -> Generator[TradingDesk]:
    """A live run whose policy goes in and out at every other candle; ended with the block."""
    home = Path(tempfile.mkdtemp(prefix="rd-bench-"))
    with contextlib.ExitStack() as ends:
        ends.callback(shutil.rmtree, home, ignore_errors=True)
        running = server.start(home)
        ends.callback(server.stop, running)
        simulator = launch_simulator(speed=speed, seed=11)
        ends.callback(simulator.stop)
        ends.callback(ray.shutdown)
        _start_ray()
        store = ValkeyStore(running.url)
        ends.callback(store.close)
        store.load_functions()
        wiring = Wiring(
            store_url=running.url,
            home=home,
            venue_url=simulator.url,
            pairs=(PAIR,),
            intervals=("1m",),
            namespace=f"bench-{os.getpid()}",
            api_key=SecretStr("sim-key"),
            secret_key=SecretStr("sim-secret"),
            market_data_backfill=True,
            backfill_max_batches=1,
            archive_every_s=0.0,
        )
        _furnish(store, wiring)
        ends.enter_context(serving(wiring))
        actors = [tree.start(spec, wiring) for spec in tree.children(wiring) if spec.role in ROLES]
        spec = replace(tree.loop_child(wiring, _run(store)), actor=ray.remote(StampedLoop))
        actors.append(tree.start(spec, wiring))
        ends.callback(_kill, actors)
        yield TradingDesk(store, running.url, simulator, actors[-1])


def _start_ray() -> None:
    """A busy machine needs more than one try."""
    for left in range(START_TRIES - 1, -1, -1):
        try:
            ray.init(
                address="local",
                num_cpus=os.cpu_count(),
                resources={tree.TRADING: 1_000},
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception:  # Ray raises plain Exceptions
            ray.shutdown()
            if not left:
                raise
        else:
            return


def _furnish(store: ValkeyStore, wiring: Wiring) -> None:
    """Rows that an operator would have made; limits that no bench reaches."""
    asyncio.run(read_clock(wiring))
    seed(store, wiring.home, wiring.pairs)
    _register_flipping_policy(store, wiring.home)
    wide = replace(
        risk.default_limits(),
        max_position_size=Decimal(500),
        max_daily_loss=Decimal(5_000),
        max_drawdown=Decimal(1),
    )
    store.put(kinds.RISK_LIMITS, wide.set_id, wide, at_ms=1)
    policy = replace(
        risk.default_live_policy(LIVE),
        max_daily_loss=Decimal(1),
        max_drawdown=Decimal(1),
        circuit_breaker_loss=Decimal(1),
    )
    store.put(kinds.ACCOUNT_POLICIES, LIVE, policy, at_ms=1)


def _run(store: ValkeyStore) -> Run:
    run = Run(
        run_id=RUN_ID,
        agent_id=AGENT_ID,
        account=LIVE,
        mode=Mode.LIVE,
        pair=PAIR,
        interval="1m",
        version_id=VERSION,
        risk_limit_set_id="default",
        decision_threshold=0.0,
        status=RunStatus.RUNNING,
        started_ms=1,
        feature_set_id=FEATURES_V1.feature_set_id,
    )
    store.put(kinds.RUNS, run.run_id, run, at_ms=1)
    return run


def _register_flipping_policy(store: ValkeyStore, home: Path) -> None:
    """A trained one's size; its outputs see nothing but the position: long when flat, flat when long."""
    size, hidden = FEATURES_V1.size + 1, 64
    rng = np.random.default_rng(3)
    first = rng.normal(0.0, 0.01, (hidden, size)).astype(np.float32)
    first[0] = 0.0
    first[0, -1] = 1.0
    second = np.zeros((hidden, hidden), dtype=np.float32)
    second[0, 0] = 1.0
    third = np.zeros((3, hidden), dtype=np.float32)
    third[1, 0] = 40.0
    layers = {"weight": (first, second, third), "bias": ()}
    tensors = {f"layers.{number}.weight": rows for number, rows in enumerate(layers["weight"])}
    tensors |= {
        f"layers.{number}.bias": np.zeros(len(rows), dtype=np.float32)
        for number, rows in enumerate(layers["weight"])
    }
    tensors["layers.2.bias"] = np.array([-40.0, 0.0, 10.0], dtype=np.float32)
    register_rule(store, home, VERSION, "flip_rule", tensors)


def _kill(actors: list[Any]) -> None:
    for actor in reversed(actors):
        ray.kill(actor, no_restart=True)
