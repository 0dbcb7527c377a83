"""Evaluations: figures from Nautilus alone, held out, repeatable, and blind to what came later."""

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from actors.evaluation import IN_SAMPLE, STAGES, EvaluateAsk, evaluate_version
from actors.promotion import promote_version, promotion_verdict
from actors.study_period import Period
from actors.version_registry import ensure_baseline, version_of
from desk.clock import ManualClock
from desk.engines import nautilus
from desk.errors import BadInput, EvaluationFailed, NotFound
from desk.evaluation.assess import compare
from desk.evaluation.plan import Plan, Replay
from desk.evaluation.report import EvaluationReport
from desk.learning.baseline import BASELINE_VERSION_ID
from desk.learning.study import Dataset
from desk.market.candles import Candles
from desk.runs import Agent, PromotionGate
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.trading.fills import FillCause, LotFill
from desk.trading.intents import Protection
from desk.trading.tape import Market
from tests.learning import planted
from tests.learning.conftest import INSTRUMENT

Cut = Callable[[int, int], Period]
Evaluate = Callable[..., EvaluationReport]


@pytest.fixture
def evaluate(memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path) -> Evaluate:
    ensure_baseline(tmp_path, memory, "desk", 1_000)

    def run(
        first: int = 400, last: int = 2_900, candles: Candles = market, **changes: object
    ) -> EvaluationReport:
        ask = EvaluateAsk(period=period(first, last), version_id=BASELINE_VERSION_ID)
        asked = replace(ask, **changes)  # pyright: ignore[reportArgumentType]
        return evaluate_version(tmp_path, memory, candles, asked, clock=ManualClock(5_000))

    return run


def test_a_report_tells_what_nautilus_found_and_is_stored(
    memory: MemoryStore, evaluate: Evaluate
) -> None:
    report = evaluate()

    doc = memory.get(kinds.EVALUATIONS, report.evaluation_id)
    assert doc is not None
    assert doc.value == report
    assert report.engine == nautilus.ENGINE
    assert report.is_baseline
    assert report.candle_count == 2_500
    assert report.trade_count > 3
    assert report.fill_count >= 2 * report.trade_count
    assert 0.0 <= report.win_rate <= 1.0
    assert 0.0 < report.max_drawdown < 1.0
    assert 0.3 < report.exposure < 1.0
    assert Decimal(report.fees) > 0
    assert Decimal(report.parity_max_abs_diff) <= Decimal("0.01")
    assert Decimal(report.final_balance) - Decimal(report.starting_balance) == Decimal(
        report.net_pnl_after_fees
    )
    assert "E" not in report.parity_max_abs_diff + report.funding
    assert report.verdict == ("fail" if report.reasons else "pass")
    dataset = memory.get(kinds.DATASETS, report.dataset_id)
    assert dataset is not None
    assert dataset.value.sha256 == report.dataset_sha256


def test_a_losing_rule_on_a_random_walk_fails_its_gate(
    memory: MemoryStore, evaluate: Evaluate
) -> None:
    gate = PromotionGate(min_trades=10_000)
    agent = Agent(agent_id="desk", name="d", allowed_instruments=("BTC-USDT",), promotion_gate=gate)
    memory.put(kinds.AGENTS, "desk", agent, at_ms=0)

    report = evaluate()

    assert report.verdict == "fail"
    assert "insufficient_trade_count" in report.reasons
    assert promotion_verdict(memory, BASELINE_VERSION_ID, "BTC-USDT").reasons == report.reasons


def test_the_same_evaluation_gives_the_same_figures(evaluate: Evaluate) -> None:
    assert evaluate() == evaluate()


def test_candles_after_the_period_change_nothing(
    evaluate: Evaluate, market: Candles, walk: Callable[..., Candles]
) -> None:
    other = walk(3_000, seed=77)
    changed = Candles.concat([market.take(slice(0, 2_900)), other.take(slice(2_900, 3_000))])

    assert evaluate(candles=changed) == evaluate()


def test_twice_the_size_pays_about_twice_the_fees(evaluate: Evaluate) -> None:
    one, two = (
        Decimal(evaluate(size_quote=size).fees) for size in (Decimal(1_000), Decimal(2_000))
    )

    assert float(two / one) == pytest.approx(2.0, rel=0.02)


def test_funding_is_paid_at_its_boundary(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path
) -> None:
    ensure_baseline(tmp_path, memory, "desk", 1_000)
    rates = [(int(stamp), Decimal("0.0001")) for stamp in market.open_ms[500:2_500:60]]

    report = evaluate_version(
        tmp_path,
        memory,
        market,
        EvaluateAsk(period=period(400, 2_900), version_id=BASELINE_VERSION_ID),
        clock=ManualClock(5_000),
        rates=rates,
    )

    assert Decimal(report.funding) != 0
    assert Decimal(report.parity_max_abs_diff) <= Decimal("0.01")


def test_no_decision_is_taken_below_the_threshold_or_out_of_distribution(
    evaluate: Evaluate,
) -> None:
    assert evaluate(decision_threshold=1.0).trade_count == 0
    assert evaluate(feature_limit=0.001).trade_count == 0
    assert evaluate(decision_threshold=1.0).verdict == "fail"


def test_an_evaluation_on_training_candles_cannot_pass(
    memory: MemoryStore, evaluate: Evaluate, period: Cut
) -> None:
    evaluate()
    trained = period(100, 1_000)
    dataset = Dataset(
        dataset_id="ds-t",
        pair="BTC-USDT",
        interval="1m",
        start_ms=trained.start_ms,
        end_ms=trained.end_ms,
        sha256="",
        rows=900,
        missing=0,
        feature_set_id="",
        lookback=240,
    )
    memory.put(kinds.DATASETS, "ds-t", dataset, at_ms=0)
    version = replace(
        version_of(memory, BASELINE_VERSION_ID),
        dataset_id="ds-t",
        training_start_ms=trained.start_ms,
        training_end_ms=trained.end_ms,
    )
    memory.put(kinds.VERSIONS, BASELINE_VERSION_ID, version, at_ms=0)

    assert IN_SAMPLE in evaluate(999, 2_900).reasons
    assert IN_SAMPLE not in evaluate(1_000, 2_900).reasons


def test_regression_7_a_failed_engine_leaves_no_report(
    memory: MemoryStore, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Replay:
        raise EvaluationFailed("nautilus_trader failed: planted")

    monkeypatch.setattr(nautilus, "evaluate", broken)

    with pytest.raises(EvaluationFailed, match="planted"):
        evaluate()
    assert memory.list(kinds.EVALUATIONS) == []


@pytest.mark.parametrize("cents", ["0.011", "0.01"])
def test_a_parity_difference_above_a_cent_is_stored_and_refuses_the_promotion(
    memory: MemoryStore,
    evaluate: Evaluate,
    market: Candles,
    monkeypatch: pytest.MonkeyPatch,
    cents: str,
) -> None:
    is_refused = Decimal(cents) > Decimal("0.01")
    gate = PromotionGate(min_trades=1, min_win_rate=0.0, min_net_pnl=-1e9, max_drawdown=1.0)
    agent = Agent(agent_id="desk", name="d", allowed_instruments=("BTC-USDT",), promotion_gate=gate)
    memory.put(kinds.AGENTS, "desk", agent, at_ms=0)
    honest = nautilus.evaluate

    def off(market: Market, plan: Plan, cash: Decimal) -> Replay:
        done = honest(market, plan, cash)
        return replace(done, balance=done.balance + Decimal(cents))

    monkeypatch.setattr(nautilus, "evaluate", off)
    trending = replace(planted.trending(len(market), seed=52), open_ms=market.open_ms)

    report = evaluate(candles=trending)
    verdict = promote_version(
        memory, BASELINE_VERSION_ID, pair="BTC-USDT", actor="operator", now_ms=6_000
    )

    stored = memory.get(kinds.EVALUATIONS, report.evaluation_id)
    after = memory.get(kinds.AGENTS, "desk")
    assert stored is not None
    assert after is not None
    assert Decimal(stored.value.parity_max_abs_diff) == Decimal(cents)
    assert verdict.reasons == stored.value.reasons == (("parity_broken",) if is_refused else ())
    assert after.value.active_version_id == ("" if is_refused else BASELINE_VERSION_ID)


def test_a_tearsheet_shows_the_report_and_fetches_nothing(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path
) -> None:
    ensure_baseline(tmp_path, memory, "desk", 1_000)
    ask = EvaluateAsk(period=period(400, 2_900), version_id=BASELINE_VERSION_ID)
    sheet = tmp_path / "sheet.html"

    report = evaluate_version(tmp_path, memory, market, ask, clock=ManualClock(5_000), sheet=sheet)

    page = sheet.read_text()
    assert report.evaluation_id in page
    assert report.net_pnl_after_fees in page
    assert page.count("<polyline") == 2
    rows = page.split("<h2>Trades", 1)[1].count("<tr><td>")
    assert rows == report.trade_count > 3
    assert not re.search(r"https?:|<script|url\(|@import|src=", page)


def test_what_is_missing_is_named(evaluate: Evaluate, market: Candles) -> None:
    with pytest.raises(NotFound, match="version v9"):
        evaluate(version_id="v9")
    with pytest.raises(BadInput, match="period"):
        evaluate(candles=market.take(np.arange(0, 3_000, 2)))


def test_stages_are_told_in_order(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path
) -> None:
    ensure_baseline(tmp_path, memory, "desk", 1_000)
    told: list[int] = []

    evaluate_version(
        tmp_path,
        memory,
        market,
        EvaluateAsk(period=period(400, 700), version_id=BASELINE_VERSION_ID),
        clock=ManualClock(5_000),
        progress=lambda stage, _: told.append(stage),
    )

    assert told == list(range(STAGES + 1))


def test_parity_sees_a_missing_fill_and_a_cent() -> None:
    fill = LotFill(
        order_id="1-0",
        cause=FillCause.ORDER,
        lots=10,
        price_ticks=400_000,
        fee=Decimal("0.02"),
        realized_pnl=Decimal(0),
        is_maker=False,
        filled_ms=1,
    )
    cash = Decimal(1_000)
    twin = Replay(fills=(fill,), funding=(), balance=cash - fill.fee)
    dearer = replace(twin, fills=(replace(fill, fee=Decimal("0.04")),), balance=twin.balance)
    missing = replace(twin, fills=())

    assert compare(twin, twin, cash, INSTRUMENT).holds
    assert compare(dearer, twin, cash, INSTRUMENT).max_abs_diff == Decimal("0.02")
    assert not compare(dearer, twin, cash, INSTRUMENT).holds
    assert not compare(missing, twin, cash, INSTRUMENT).holds


def test_a_report_of_a_run_with_exits_tells_them_and_every_engine_has_them(
    evaluate: Evaluate,
) -> None:
    plain = evaluate()
    protection = Protection(
        stop_loss_fraction=Decimal("0.002"), take_profit_fraction=Decimal("0.004")
    )

    report = evaluate(protection=protection, leverage=20)

    assert (plain.stop_loss_fraction, plain.take_profit_fraction, plain.leverage) == (None,) * 3
    assert (report.stop_loss_fraction, report.take_profit_fraction) == ("0.002", "0.004")
    assert report.leverage == 20
    assert report.evaluation_id != plain.evaluation_id
    assert report.fill_count > plain.fill_count
    assert Decimal(report.parity_max_abs_diff) <= Decimal("0.01")


def test_a_liquidation_fails_an_evaluation(evaluate: Evaluate) -> None:
    assert "liquidated" in evaluate(leverage=100).reasons


def test_a_leverage_that_the_pair_does_not_have_is_refused(evaluate: Evaluate) -> None:
    with pytest.raises(BadInput, match="leverage: was 5000"):
        evaluate(leverage=5_000)


def test_prices_off_the_tick_are_refused(evaluate: Evaluate, market: Candles) -> None:
    high = market.high.copy()
    high[700] += 0.05

    with pytest.raises(BadInput, match=r"^candles: 1 high prices, .* off the tick of 0\.1"):
        evaluate(candles=replace(market, high=high))
