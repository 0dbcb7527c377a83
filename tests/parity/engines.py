"""The executions of the fill specification side by side; what counts as agreement is the product's word."""

from collections.abc import Sequence

import numpy as np

from desk.engines import nautilus
from desk.engines.executions import CASH
from desk.evaluation import fast
from desk.evaluation.cases import Case
from desk.evaluation.parity import KERNEL, NAUTILUS, PAPER, hold_against
from desk.evaluation.plan import Replay, replay
from desk.learning.arrays import MarketArrays
from desk.venues import paper_replay


def assert_nautilus_agrees(case: Case) -> Replay:
    """Equal fills and funding, balance exactly by our fold and to 1e-6 by its own books."""
    twin = replay(case.market, case.plan, CASH)

    assert_holds(NAUTILUS, nautilus.evaluate(case.market, case.plan, CASH), twin, case)
    return twin


def assert_kernel_agrees(case: Case) -> Replay:
    """Equal fills, fees and funding to half a rounding step, balance to half a cent."""
    market, plan = case.market, case.plan
    twin = replay(market, plan, CASH)
    features = np.zeros((len(market.tape), 1), dtype=np.float32)
    ours = fast.run_plan(MarketArrays.from_market(market, features), plan, float(CASH))
    done = ours.as_replay(market)

    assert_holds(KERNEL, done, twin, case)
    assert [fill.is_maker for fill in done.fills] == [fill.is_maker for fill in twin.fills]
    assert ours.equity[-1] == ours.balance
    return twin


def assert_paper_agrees(case: Case, *, killed_on: Sequence[int] = ()) -> Replay:
    """Equal fills and exactly equal balance, whatever the deliveries and deaths on the way."""
    twin = replay(case.market, case.plan, CASH)
    done = paper_replay.replay(case.market, case.plan, CASH, killed_on=set(killed_on))

    assert_holds(PAPER, done, twin, case)
    assert [fill.is_maker for fill in done.fills] == [fill.is_maker for fill in twin.fills]
    return twin


def assert_holds(engine: str, done: Replay, twin: Replay, case: Case) -> None:
    agreement = hold_against(
        engine, done, twin, cash=CASH, instrument=case.market.instrument, candles=len(case.plan)
    )
    assert agreement.holds, agreement
    assert agreement.fills == len(done.fills)
    assert agreement.funding_amounts == len(done.funding)
