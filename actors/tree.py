"""The actors as data: which there are, how each is started, in which order."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.candle_poller import CandlePollerActor
from actors.candle_pollers import CandlePollersActor
from actors.decision_loop import DecisionLoopActor
from actors.feed_sync import FeedSyncActor
from actors.gap_monitor import GapMonitorActor
from actors.market_feeds import ACTIVITY, PRICES, MarketFeedPollerActor
from actors.names import (
    CANDLE_POLLER,
    DECISION_LOOP,
    FEED_POLLER,
    FEED_SYNC,
    GAP_MONITOR,
    OBSERVER,
    ORDER_EXECUTOR,
    RECONCILER,
    RISK_LEDGER,
    SIGNAL_POLLER,
)
from actors.observer import ObserverActor
from actors.order_executor import OrderExecutorActor
from actors.parts.decisions import loop_parts
from actors.parts.feed_sync import feed_sync_parts
from actors.parts.feeds import feed_parts
from actors.parts.gaps import gap_parts
from actors.parts.live_money import (
    live_executor_parts,
    live_ledger_parts,
    live_reconciler_parts,
)
from actors.parts.money import (
    paper_executor_parts,
    paper_ledger_parts,
    paper_reconciler_parts,
)
from actors.parts.observer import observer_parts
from actors.parts.poller import group_parts, poller_parts
from actors.parts.signals import signal_parts
from actors.reconciler import ReconcilerActor
from actors.risk_ledger import RiskLedgerActor
from actors.signal_poller import SignalPollerActor
from actors.wiring import LIVE, PAPER, Wiring
from desk.ids import Pair
from desk.logs import in_own_process
from desk.runs import Run

TRADING = "trading"
"""Custom resource of the nodes that trade."""
MONEY_CONCURRENCY = 256
"""Each order that is on the wire keeps one call of its ledger and one of its executor waiting: an exchange
that is slow for every run of an account must not keep a heartbeat from being answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One actor: its name, its class, and what builds its parts in its own process."""

    name: str
    role: str
    actor: Any
    """`ray.remote(Shell)`; its options are given here and nowhere else."""
    build: Callable[[], object]
    max_concurrency: int = 32
    pairs: tuple[Pair, ...] = ()
    """Whose candles it polls: no run on them goes on without it."""


def children(wiring: Wiring) -> list[ChildSpec]:
    """Every standing child, in the order of starting; stop in reverse.

    Money first: an executor settles what it finds before a poller brings the next candle.
    """
    specs = [spec for account in wiring.accounts for spec in money_children(wiring, account)]
    specs += [
        ChildSpec(
            name=CANDLE_POLLER.of(key),
            role=CANDLE_POLLER.name,
            actor=CandlePollerActor if key in pairs else CandlePollersActor,
            build=partial(poller_parts, wiring, key)
            if key in pairs
            else partial(group_parts, wiring, pairs),
            pairs=pairs,
        )
        for key, pairs in wiring.poller_places.items()
    ]
    specs += [
        ChildSpec(
            name=FEED_POLLER.of(group),
            role=FEED_POLLER.name,
            actor=MarketFeedPollerActor,
            build=partial(feed_parts, wiring, group),
        )
        for group in (PRICES, ACTIVITY)
    ]
    gaps = ChildSpec(
        name=GAP_MONITOR.of(),
        role=GAP_MONITOR.name,
        actor=GapMonitorActor,
        build=partial(gap_parts, wiring),
    )
    observer = ChildSpec(
        name=OBSERVER.of(),
        role=OBSERVER.name,
        actor=ObserverActor,
        build=partial(observer_parts, wiring),
    )
    return [*specs, gaps, observer, *signal_children(wiring), *feed_sync_children(wiring)]


def feed_sync_children(wiring: Wiring) -> list[ChildSpec]:
    """The sync of TradingView feeds, where there are any."""
    if not wiring.tradingview_feeds:
        return []
    return [
        ChildSpec(
            name=FEED_SYNC.of(),
            role=FEED_SYNC.name,
            actor=FeedSyncActor,
            build=partial(feed_sync_parts, wiring),
        )
    ]


def signal_children(wiring: Wiring) -> list[ChildSpec]:
    """The poller of channels, where there are any."""
    if not wiring.telegram_channels:
        return []
    return [
        ChildSpec(
            name=SIGNAL_POLLER.of(),
            role=SIGNAL_POLLER.name,
            actor=SignalPollerActor,
            build=partial(signal_parts, wiring),
        )
    ]


def money_children(wiring: Wiring, account: str) -> list[ChildSpec]:
    """Ledger, executor and reconciler of an account, in the order of starting."""
    builders: dict[str, tuple[Callable[[Wiring], object], ...]] = {
        PAPER: (paper_ledger_parts, paper_executor_parts, paper_reconciler_parts),
        LIVE: (live_ledger_parts, live_executor_parts, live_reconciler_parts),
    }
    roles = (RISK_LEDGER, ORDER_EXECUTOR, RECONCILER)
    actors = (RiskLedgerActor, OrderExecutorActor, ReconcilerActor)
    return [
        ChildSpec(
            name=role.of(account),
            role=role.name,
            actor=actor,
            build=partial(build, wiring),
            max_concurrency=MONEY_CONCURRENCY,
        )
        for role, actor, build in zip(roles, actors, builders[account], strict=True)
    ]


def loop_child(wiring: Wiring, run: Run) -> ChildSpec:
    """The decision loop of a run."""
    return ChildSpec(
        name=DECISION_LOOP.of(run.run_id),
        role=DECISION_LOOP.name,
        actor=DecisionLoopActor,
        build=partial(loop_parts, wiring, run.run_id, run.account),
        max_concurrency=8,
    )


def start(spec: ChildSpec, wiring: Wiring) -> ActorHandle[Any]:
    """Start an actor, or return the living one of that name.

    Ray restarts a dead process for ever; nothing is ever called again by itself.
    """
    return spec.actor.options(
        name=spec.name,
        namespace=wiring.namespace,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        resources=trading_resource(),
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=spec.max_concurrency,
    ).remote(partial(in_own_process, spec.build))


def trading_resource() -> dict[str, float]:
    """What a trading actor asks for where the cluster has nodes for it."""
    return {TRADING: 1.0} if ray.cluster_resources().get(TRADING, 0.0) else {}
