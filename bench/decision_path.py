"""Candle event to order bytes at the simulator, beside the bare hops of the same way.

Every candle is decided on once and the floor runs once after it, when its order has ended: both see
the same machine, the same server of the store and the same simulator. Ours begins when the decision
loop hears of the candle, the floor when its loop is called; both end when the POST has come to the
simulator, by the monotonic clock that all processes of a machine share.
"""

from collections.abc import Iterator
from statistics import median
from typing import Any

import ray

from bench.bare_hops import DURABLE_WRITES, start_bare
from bench.figures import Figure, quantile
from bench.trading_desk import TradingDesk, trading
from desk.market.features import FEATURES_V1
from desk.runs import DecisionRecord

SPEED = 60.0
"""A candle a second."""
SAMPLES = 240
WARM_UP = 10
MOST_CANDLES = 2 * SAMPLES
MOST = {"p50": (0.5, 1.3), "p99": (0.99, 1.5)}


def figures() -> Iterator[Figure]:
    """p50 and p99 of both, over the same candles."""
    with trading(SPEED) as desk:
        ours, bare, decided = _measure(desk)
    notes: dict[str, float | str] = {
        "samples": len(ours),
        "floor": f"1 Serve handle call, 2 actor calls, {DURABLE_WRITES} durable writes, 1 POST",
        **{f"{name}_p50_ms": value for name, value in _stages(decided).items()},
    }
    for name, (fraction, most) in MOST.items():
        mine, floor = (quantile(seconds, fraction) * 1e3 for seconds in (ours, bare))
        yield Figure(
            name=f"candle event to order bytes at the venue, {name}",
            ours=mine,
            floor=floor,
            unit="ms",
            floor_name="the bare hops",
            goal=f"<= {most:g}",
            met=mine <= most * floor,
            notes=notes,
        )


def _measure(desk: TradingDesk) -> tuple[list[float], list[float], list[DecisionRecord]]:
    untyped: Any = ray
    bare_loop = start_bare(desk.store_url, desk.simulator.url)
    observation = [0.5] * (FEATURES_V1.size + 1)
    ours: list[float] = []
    bare: list[float] = []
    decided: list[DecisionRecord] = []
    open_ms = 0
    for number in range(MOST_CANDLES + WARM_UP):
        decision = desk.next_decision(open_ms)
        open_ms = decision.open_ms
        floor_ns = untyped.get(bare_loop.hear.remote(number, observation), timeout=60.0)
        desk.read_journal()
        heard_ns = untyped.get(desk.loop.heard_ns.remote(open_ms), timeout=60.0)
        if number < WARM_UP or not decision.client_order_ids or heard_ns is None:
            continue
        arrived_ns = desk.arrivals[decision.client_order_ids[0]]
        ours.append((arrived_ns - heard_ns) / 1e9)
        bare.append((desk.arrivals[f"floor-{number}"] - floor_ns) / 1e9)
        decided.append(decision)
        if len(ours) == SAMPLES:
            break
    else:
        reasons = {one.hold_reason for one in decided}
        raise AssertionError(f"{len(ours)} of {SAMPLES} candles brought an order: {reasons}")
    return ours, bare, decided


def _stages(decided: list[DecisionRecord]) -> dict[str, float]:
    names = sorted({name for one in decided for name in one.latency_ms})
    return {name: median(one.latency_ms.get(name, 0.0) for one in decided) for name in names}
