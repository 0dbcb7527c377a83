"""Every execution of the fill rules agrees on real candles of a perpetual with its real funding."""

from collections.abc import Callable

import numpy as np
import pytest

from desk.evaluation.cases import Case, random_plan, without_liquidations
from desk.trading.fills import FillSpec, PathOrder
from desk.trading.tape import Market
from tests.parity.engines import assert_kernel_agrees, assert_nautilus_agrees, assert_paper_agrees

type Real = Callable[..., Market]


@pytest.mark.parametrize("path", PathOrder)
@pytest.mark.parametrize("with_exits", [False, True])
@pytest.mark.parametrize("interval", ["1m", "5m"])
def test_nautilus_kernel_and_twin_agree(
    real_market: Real, path: PathOrder, with_exits: bool, interval: str
) -> None:
    spec = FillSpec(path=path, interval=interval)
    market = real_market(slice(1_000, 9_000), spec=spec, holes_seed=5)
    plan = random_plan(market, seed=3, share=0.1, with_exits=with_exits)

    twin = assert_nautilus_agrees(Case(market=market, plan=plan))
    assert_kernel_agrees(Case(market=market, plan=plan))

    assert len(twin.fills) > 60
    assert twin.funding


@pytest.mark.parametrize("seed", range(10))
def test_golden_thousands_of_rows_with_orders_on_every_settlement(
    real_market: Real, seed: int
) -> None:
    market = real_market(slice(seed * 4_000, (seed + 1) * 4_000), spec=FillSpec())
    plan = random_plan(market, seed=seed, share=0.03, with_exits=True)

    case = Case(market=market, plan=plan)
    twin = assert_nautilus_agrees(case)
    assert_kernel_agrees(case)

    boundaries = {due.due_ms + 1_000 for due in market.dues}
    assert boundaries & {fill.filled_ms for fill in twin.fills}


def test_candles_that_overflow_the_engines_distances_agree_in_scaled_units(
    real_market: Real,
) -> None:
    market = real_market(slice(0, 43_000), spec=FillSpec(interval="12h"))
    tape = market.tape
    plan = random_plan(market, seed=1, share=1.0, with_exits=True)

    twin = assert_nautilus_agrees(Case(market=market, plan=plan))
    assert_kernel_agrees(Case(market=market, plan=plan))

    assert (tape.high - tape.open).max() > 9_000
    assert len(twin.fills) > 50
    assert any(due.due_ms not in tape.open_ms for due in market.dues)


@pytest.mark.parametrize("with_exits", [False, True])
def test_the_paper_venue_agrees_through_deaths(real_market: Real, with_exits: bool) -> None:
    market = real_market(slice(2_000, 2_900), spec=FillSpec())
    plan = random_plan(market, seed=4, share=0.1, with_exits=with_exits)
    killed_on = np.random.default_rng(2).integers(0, len(plan), 40).tolist()

    case = without_liquidations(Case(market=market, plan=plan))
    twin = assert_paper_agrees(case, killed_on=killed_on)

    assert len(twin.fills) > 60
    assert twin.funding


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10))
def test_the_paper_venue_agrees_on_forty_thousand_rows(real_market: Real, seed: int) -> None:
    market = real_market(slice(seed * 4_000, (seed + 1) * 4_000), spec=FillSpec())
    plan = random_plan(market, seed=seed, share=0.03, with_exits=True)

    assert_paper_agrees(without_liquidations(Case(market=market, plan=plan)))
