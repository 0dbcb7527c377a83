"""The parity tests can fail: each rule, changed by the smallest step on one side, is noticed."""

from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest

from desk.clock import MINUTE_MS
from desk.engines import nautilus
from desk.engines.executions import CASH
from desk.evaluation.cases import INSTRUMENT, START_MS, Case
from desk.evaluation.plan import Plan
from desk.market.candles import Candles, Floats, Ints
from desk.trading import fills
from desk.trading.fills import Exits, FillSpec, PathOrder, TickCandle
from desk.trading.tape import Market
from tests.parity.engines import assert_nautilus_agrees


@pytest.fixture(scope="module")
def world() -> Case:
    """A hundred and fifty hostile candles on which every rule matters."""
    rng, count = np.random.default_rng(11), 150
    close = 1_000 + np.cumsum(rng.integers(-4, 5, count))
    open_ = close - rng.integers(-4, 5, count)
    high = np.maximum(open_, close) + rng.integers(0, 5, count)
    low = np.minimum(open_, close) - rng.integers(0, 5, count)
    candles = Candles(
        open_ms=START_MS + MINUTE_MS * np.arange(count),
        open=prices(open_),
        high=prices(high),
        low=prices(low),
        close=prices(close),
        volume=np.ones(count),
    )
    rates = [(START_MS + minute * MINUTE_MS, Decimal("0.0007")) for minute in range(0, count, 7)]
    market = Market.of(candles, INSTRUMENT, FillSpec(), rates)
    side = rng.choice([-1, 1], count)
    plan = Plan(
        decided=rng.random(count) < 0.6,
        target_lots=side * rng.choice([0, 1, 3, 5], count),
        stop_ticks=close - side * rng.integers(1, 5, count),
        take_ticks=close + side * rng.integers(1, 5, count),
        is_liquidation=rng.random(count) < 0.3,
    )
    return Case(market=market, plan=plan)


def prices(ticks: Ints) -> Floats:
    return ticks.astype(np.float64) * float(INSTRUMENT.tick)


def test_without_a_mutation_they_agree(world: Case) -> None:
    assert len(assert_nautilus_agrees(world).fills) > 75


def half_up(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    return (quantity * price * rate).quantize(Decimal("1e-8"), ROUND_HALF_UP)


def low_first(candle: TickCandle, path: PathOrder) -> tuple[int, int]:
    return candle.low, candle.high


def cheaper_ask(open_ticks: int, spec: FillSpec) -> tuple[int, int]:
    return open_ticks, open_ticks


def one_order(held: int, target: int) -> list[tuple[int, bool]]:
    return [(target - held, False)]


@pytest.mark.parametrize(
    ("module", "name", "mutant"),
    [
        (fills, "commission", half_up),
        (fills, "_extremes", low_first),
        (fills, "quote_ticks", cheaper_ask),
        (fills, "QUOTE_DELAY_MS", 0),
        (nautilus, "_LATENCY_NS", 1_500_000_000),
        (nautilus, "legs", one_order),
        (nautilus, "_STOP", "OTHER"),
    ],
)
def test_a_rule_that_differs_on_one_side_is_noticed(
    world: Case, monkeypatch: pytest.MonkeyPatch, module: object, name: str, mutant: object
) -> None:
    monkeypatch.setattr(module, name, mutant)

    with pytest.raises(AssertionError):
        assert_nautilus_agrees(world)


def test_a_settlement_one_event_late_is_noticed(
    world: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    fund = fills._Step.fund

    def inclusive(self: fills._Step, due: fills.Due, *, until_ms: int) -> bool:
        return fund(self, due, until_ms=until_ms - 1)

    monkeypatch.setattr(fills._Step, "fund", inclusive)

    with pytest.raises(AssertionError):
        assert_nautilus_agrees(world)


def test_a_stop_one_tick_off_is_noticed(world: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    exits = Plan.exits

    def shifted(self: Plan, index: int) -> Exits | None:
        found = exits(self, index)
        return replace(found, stop_ticks=found.stop_ticks - 1) if found else None

    witness = nautilus.evaluate(world.market, world.plan, CASH)
    monkeypatch.setattr(Plan, "exits", shifted)
    monkeypatch.setattr(nautilus, "evaluate", lambda *_: witness)

    with pytest.raises(AssertionError):
        assert_nautilus_agrees(world)
