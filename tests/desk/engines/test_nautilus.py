"""The witness gives a number it stands behind, or none."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from desk.engines import nautilus
from desk.errors import EvaluationFailed
from desk.evaluation.plan import Plan, flat_at_the_end, fold, replay
from desk.market.candles import Candles
from desk.market.interval import INTERVAL_MS
from desk.trading.fills import FillCause, FillSpec, quote_ticks
from desk.trading.instruments import Instrument
from desk.trading.tape import Market

CASH = Decimal(10_000)
BTC = Instrument(
    pair="BTC-USDT",
    tick=Decimal("0.1"),
    lot=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=20,
)


@pytest.mark.parametrize("interval", INTERVAL_MS)
def test_regression_9_a_decision_on_a_closed_candle_meets_the_next_open(
    walk: Callable[..., Candles], interval: str
) -> None:
    spec = FillSpec(interval=interval)
    market = Market.of(walk(60, interval=interval), BTC, spec)
    tape = market.tape
    plan = Plan.of_targets([5 if n == 20 else -5 if n == 40 else None for n in range(60)])

    done = nautilus.evaluate(market, flat_at_the_end(plan), CASH)

    first = done.fills[0]
    assert first.filled_ms == tape.close_ms[20] + 1_000 == tape.open_ms[21] + 1_000
    assert first.price_ticks == quote_ticks(int(tape.open[21]), spec)[1]
    assert [fill.lots for fill in done.fills] == [5, -5, -5, 5]


def test_regression_9_candles_after_a_fill_do_not_change_it(walk: Callable[..., Candles]) -> None:
    candles = walk(60)
    raised = {
        name: np.where(np.arange(60) > 30, getattr(candles, name) * 1.2, getattr(candles, name))
        for name in ("open", "high", "low", "close")
    }
    plan = flat_at_the_end(Plan.of_targets([n % 3 if n % 4 == 0 else None for n in range(60)]))

    before, after = (
        nautilus.evaluate(Market.of(tape, BTC, FillSpec()), plan, CASH).fills
        for tape in (candles, replace(candles, **raised))
    )

    end_ms = int(candles.open_ms[31])
    early = [fill for fill in before if fill.filled_ms < end_ms]
    assert len(early) > 5
    assert early == [fill for fill in after if fill.filled_ms < end_ms]
    assert before != after


def test_regression_7_a_run_that_breaks_inside_is_no_result(walk: Callable[..., Candles]) -> None:
    market = Market.of(walk(60), BTC, FillSpec())
    beyond_any_size = 10**19 // 4
    plan = flat_at_the_end(Plan.of_targets([beyond_any_size, *[None] * 59]))

    with pytest.raises(EvaluationFailed, match=r"nautilus_trader .* failed"):
        nautilus.evaluate(market, plan, CASH)


def test_regression_7_an_order_that_the_engine_refuses_is_no_result(
    walk: Callable[..., Candles], monkeypatch: pytest.MonkeyPatch
) -> None:
    market = Market.of(walk(60), BTC, FillSpec())
    plan = flat_at_the_end(Plan.of_targets([5, *[None] * 59]))
    quantity = nautilus._Units.quantity

    def too_fine(units: nautilus._Units, lots: int) -> object:
        made = quantity(units, lots)
        return type(made)(made.as_decimal() + Decimal("0.00001"), 5) if lots == 5 else made

    monkeypatch.setattr(nautilus._Units, "quantity", too_fine)

    with pytest.raises(EvaluationFailed, match="precision"):
        nautilus.evaluate(market, plan, CASH)


def test_regression_7_a_candle_that_was_not_seen_is_no_result(
    walk: Callable[..., Candles], monkeypatch: pytest.MonkeyPatch
) -> None:
    market = Market.of(walk(60), BTC, FillSpec())
    monkeypatch.setattr(nautilus._Replay, "on_start", lambda _: None)

    with pytest.raises(EvaluationFailed, match="saw 0 of 60 candles"):
        nautilus.evaluate(market, Plan.of_targets([None] * 60), CASH)


def test_a_plan_of_another_length_is_no_result(walk: Callable[..., Candles]) -> None:
    with pytest.raises(EvaluationFailed, match="2 rows for 60 candles"):
        nautilus.evaluate(Market.of(walk(60), BTC, FillSpec()), Plan.of_targets([1, None]), CASH)


def test_no_order_is_too_large_for_the_market_it_meets(walk: Callable[..., Candles]) -> None:
    coin = replace(BTC, pair="PEPE-USDT", lot=Decimal(1000), tick=Decimal("0.1"))
    market = Market.of(walk(60), coin, FillSpec())
    plan = flat_at_the_end(Plan.of_targets([2_000, *[None] * 59]))

    done = nautilus.evaluate(market, plan, Decimal(10**13))

    assert [fill.lots for fill in done.fills] == [2_000, -2_000]


def test_shared_read_only_arrays_are_taken(walk: Callable[..., Candles]) -> None:
    market = Market.of(walk(60), BTC, FillSpec())
    plan = flat_at_the_end(Plan.of_targets([5, *[None] * 59]))
    for column in (market.tape.open, market.tape.open_ms, plan.decided, plan.target_lots):
        column.setflags(write=False)

    assert len(nautilus.evaluate(market, plan, CASH).fills) == 2


def test_many_engines_in_one_process_give_equal_results(walk: Callable[..., Candles]) -> None:
    market = Market.of(walk(200), BTC, FillSpec())
    plan = flat_at_the_end(Plan.of_targets([n % 5 - 2 if n % 3 == 0 else None for n in range(200)]))

    runs = [nautilus.evaluate(market, plan, CASH) for _ in range(4)]

    assert all(
        [replace(fill, order_id="") for fill in run.fills]
        == [replace(fill, order_id="") for fill in runs[0].fills]
        and run.balance == runs[0].balance
        for run in runs
    )


@pytest.mark.parametrize(("tick", "lot"), [("0.5", "1"), ("0.00001", "10"), ("1", "0.01")])
def test_any_tick_and_lot_agree_with_the_twin(
    walk: Callable[..., Candles], tick: str, lot: str
) -> None:
    coin = replace(BTC, tick=Decimal(tick), lot=Decimal(lot))
    walked = walk(300)
    scale = 0.0001 if tick == "0.00001" else 1.0
    prices = {name: getattr(walked, name) * scale for name in ("open", "high", "low", "close")}
    market = Market.of(replace(walked, **prices), coin, FillSpec())
    plan = flat_at_the_end(Plan.of_targets([n % 5 - 2 if n % 3 == 0 else None for n in range(300)]))

    twin, witness = replay(market, plan, CASH), nautilus.evaluate(market, plan, CASH)

    assert [(f.lots, f.price_ticks, f.fee) for f in witness.fills] == [
        (f.lots, f.price_ticks, f.fee) for f in twin.fills
    ]
    assert fold(witness.fills, witness.funding, CASH, coin) == twin.balance


def test_an_exit_is_told_by_its_cause(walk: Callable[..., Candles]) -> None:
    market = Market.of(walk(200), BTC, FillSpec())
    close = market.tape.close
    plan = flat_at_the_end(Plan.of_targets([10, *[None] * 199]))
    plan = replace(plan, stop_ticks=close - 300, is_liquidation=np.ones(200, dtype=np.bool_))

    done = nautilus.evaluate(market, plan, CASH)

    assert [fill.cause for fill in done.fills] == [FillCause.ORDER, FillCause.LIQUIDATION]
    assert done.fills[1].order_id == ""
