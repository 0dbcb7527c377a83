"""What a stored evaluation is weighed against: the right rivals, folds that count, its own trials."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.evaluation import IN_SAMPLE, EvaluateAsk, evaluate_version, files_of
from actors.evidence import WeighAsk, previously_promoted, trained_rows, trials_of
from actors.study_period import Period
from actors.version_registry import artifacts_of, ensure_baseline, register, version_of
from desk.clock import ManualClock
from desk.errors import BadInput, NotFound, StoreCorrupt
from desk.evaluation.evidence import FLAT, HOLD, PREVIOUS, TREND
from desk.evaluation.overfitting import Trials
from desk.evaluation.report import EvaluationReport
from desk.evaluation.walk_forward import FoldPlan, Rows
from desk.learning.baseline import BASELINE_VERSION_ID, baseline_tensors
from desk.learning.policy import policy_card
from desk.learning.study import Dataset
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.candles import Candles
from desk.store import kinds
from desk.store.evaluation_files import EQUITY, FOLDS, STRESS, TRADES
from desk.store.memory import MemoryStore
from tests.learning.test_promotion import GOOD

Cut = Callable[[int, int], Period]


def contrarian(home: Path, store: MemoryStore, version_id: str, **changes: object) -> AgentVersion:
    """The trend rule turned around, registered as a version of its own."""
    tensors = baseline_tensors()
    tensors["layers.0.weight"] = tensors["layers.0.weight"][::-1].copy()
    version = replace(
        version_of(store, BASELINE_VERSION_ID),
        version_id=version_id,
        name="contrarian",
        algorithm="ppo",
        is_baseline=False,
        status=VersionStatus.DRAFT,
        **changes,  # pyright: ignore[reportArgumentType]
    )
    card = policy_card(
        version_id=version_id, algorithm="ppo", is_baseline=False, hyperparameters={}, software={}
    )
    return register(store, artifacts_of(home), version, card, tensors)


@pytest.fixture
def evaluate(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path
) -> Callable[..., EvaluationReport]:
    ensure_baseline(tmp_path, memory, "desk", 1_000)

    def run(version_id: str, **weighing: object) -> EvaluationReport:
        ask = EvaluateAsk(
            period=period(400, 2_400),
            version_id=version_id,
            weighing=WeighAsk(**weighing),  # pyright: ignore[reportArgumentType]
        )
        return evaluate_version(tmp_path, memory, market, ask, clock=ManualClock(5_000))

    return run


def test_a_version_is_compared_with_the_trend_rule_and_the_one_promoted_before_on_the_pair(
    memory: MemoryStore, tmp_path: Path, evaluate: Callable[..., EvaluationReport]
) -> None:
    version = contrarian(tmp_path, memory, "v2")
    for version_id, pair, at_ms in (("old", "BTC-USDT", 1), ("champion", "BTC-USDT", 2)):
        report = replace(GOOD, evaluation_id=f"ev-{version_id}", version_id=version_id, pair=pair)
        memory.put(kinds.EVALUATIONS, report.evaluation_id, report, at_ms=at_ms)
        contrarian(
            tmp_path,
            memory,
            version_id,
            promoted_at_ms=at_ms,
            promoted_by_evaluation_id=report.evaluation_id,
        )
    other = replace(GOOD, evaluation_id="ev-other", pair="ETH-USDT")
    memory.put(kinds.EVALUATIONS, "ev-other", other, at_ms=3)
    contrarian(tmp_path, memory, "other", promoted_at_ms=3, promoted_by_evaluation_id="ev-other")

    evidence = evaluate("v2").evidence

    assert evidence is not None
    named = {each.name: each for each in evidence.baselines}
    assert list(named) == [FLAT, HOLD, TREND, PREVIOUS]
    assert named[TREND].version_id == BASELINE_VERSION_ID
    assert named[PREVIOUS].version_id == "champion"
    # The champion is the same rule: it cannot have done better or worse than the version.
    assert named[PREVIOUS].outcome == evidence.stress[0].outcome
    assert named[TREND].outcome != named[PREVIOUS].outcome
    assert previously_promoted(memory, version, "SOL-USDT") is None


def test_the_shipped_rule_is_not_compared_with_itself(
    evaluate: Callable[..., EvaluationReport],
) -> None:
    evidence = evaluate(BASELINE_VERSION_ID).evidence

    assert evidence is not None
    assert [each.name for each in evidence.baselines] == [FLAT, HOLD]


def test_folds_on_a_versions_training_count_for_nothing(
    memory: MemoryStore, period: Cut, evaluate: Callable[..., EvaluationReport], tmp_path: Path
) -> None:
    trained = period(0, 1_190)
    dataset = Dataset(
        dataset_id="ds-t",
        pair="BTC-USDT",
        interval="1m",
        start_ms=trained.start_ms,
        end_ms=trained.end_ms,
        sha256="",
        rows=1_190,
        missing=0,
        feature_set_id="",
        lookback=240,
    )
    memory.put(kinds.DATASETS, "ds-t", dataset, at_ms=0)
    contrarian(
        tmp_path,
        memory,
        "v2",
        dataset_id="ds-t",
        training_start_ms=trained.start_ms,
        training_end_ms=trained.end_ms,
    )

    plain = evaluate("v2", folds=FoldPlan(folds=5))
    apart = evaluate("v2", folds=FoldPlan(folds=5, purge_bars=11))

    for report, counted in ((plain, 3), (apart, 2)):
        assert report.evidence is not None
        assert IN_SAMPLE in report.reasons
        is_seen = [fold.is_in_sample for fold in report.evidence.folds]
        assert is_seen == [True] * (5 - counted) + [False] * counted
    assert plain.evidence is not None
    assert apart.evidence is not None
    assert plain.evidence.observations > apart.evidence.observations
    # One fold of 400 candles is 6 hours and 40 minutes.
    assert apart.evidence.observations in {13, 14, 15}


def test_folds_add_up_to_the_report_and_its_files_are_its_own(
    tmp_path: Path, evaluate: Callable[..., EvaluationReport]
) -> None:
    report = evaluate(BASELINE_VERSION_ID)

    evidence = report.evidence
    assert evidence is not None
    earned = sum(float(fold.outcome.net_pnl_after_fees) for fold in evidence.folds)
    assert earned == pytest.approx(float(report.net_pnl_after_fees), abs=0.01)
    assert sum(fold.outcome.trade_count for fold in evidence.folds) == report.trade_count
    assert evidence.stress[0].outcome.trade_count == report.trade_count
    assert float(evidence.stress[0].outcome.net_pnl_after_fees) == pytest.approx(
        float(report.net_pnl_after_fees), abs=0.01
    )
    files = files_of(tmp_path)
    equity = files.read(report.evaluation_id, EQUITY, evidence.files[EQUITY])
    trades = files.read(report.evaluation_id, TRADES, evidence.files[TRADES])
    folds = files.read(report.evaluation_id, FOLDS, evidence.files[FOLDS])
    assert equity.num_rows == report.candle_count
    assert equity.column("equity")[-1].as_py() == pytest.approx(float(report.final_balance))
    assert trades.num_rows == report.trade_count
    assert folds.num_rows == len(evidence.folds)
    with pytest.raises(StoreCorrupt, match="evaluate again"):
        files.read(report.evaluation_id, EQUITY, evidence.files[TRADES])
    with pytest.raises(NotFound):
        files.read("../../etc", EQUITY, "")


def test_what_is_called_sharpe_is_one_figure_in_the_report_its_evidence_and_its_files(
    tmp_path: Path, memory: MemoryStore, evaluate: Callable[..., EvaluationReport]
) -> None:
    report = evaluate(BASELINE_VERSION_ID, folds=FoldPlan(folds=1))

    stored = memory.get(kinds.EVALUATIONS, report.evaluation_id)
    assert stored is not None
    assert stored.value == report
    assert report.sharpe != 0.0
    evidence = report.evidence
    assert evidence is not None
    (whole,) = evidence.folds
    at_own = [
        one.outcome
        for one in evidence.threshold_curve
        if one.decision_threshold == report.decision_threshold
    ]
    for said in (whole.outcome, evidence.stress[0].outcome, *at_own):
        assert said.sharpe == pytest.approx(report.sharpe, abs=1e-4)
        assert said.hourly_sharpe == pytest.approx(
            evidence.intervals["hourly_sharpe"].estimate, abs=1e-4
        )
        assert said.hourly_sharpe != pytest.approx(report.sharpe, abs=0.1)
    assert at_own
    assert "sharpe" not in evidence.intervals
    stress = files_of(tmp_path).read(report.evaluation_id, STRESS, evidence.files[STRESS])
    first = stress.to_pylist()[0]
    assert (first["sharpe"], first["hourly_sharpe"]) == (
        evidence.stress[0].outcome.sharpe,
        evidence.stress[0].outcome.hourly_sharpe,
    )


def test_a_plan_that_the_candles_cannot_hold_leaves_no_report(
    memory: MemoryStore, tmp_path: Path, evaluate: Callable[..., EvaluationReport]
) -> None:
    with pytest.raises(BadInput, match=r"walk_forward: .* choose a period that ends \d+ candles"):
        evaluate(BASELINE_VERSION_ID, folds=FoldPlan(folds=5, min_train_bars=1_950))

    assert memory.list(kinds.EVALUATIONS) == []
    assert not (tmp_path / "evaluations").exists()


def test_the_trials_of_a_versions_card_deflate_it(
    memory: MemoryStore, tmp_path: Path, evaluate: Callable[..., EvaluationReport]
) -> None:
    one = contrarian(tmp_path, memory, "v2")
    contrarian(tmp_path, memory, "v3", hyperparameters={"trials": 40, "trial_sharpes": [0.1, 3.0]})

    alone, among = evaluate("v2").evidence, evaluate("v3").evidence
    told = evaluate("v3", trials=Trials(count=7)).evidence

    assert alone is not None
    assert among is not None
    assert told is not None
    assert (alone.trials, among.trials, told.trials) == (1, 40, 7)
    assert among.deflated_sharpe < alone.deflated_sharpe == alone.probabilistic_sharpe
    assert trials_of(one) == Trials()


def test_rows_of_a_training_are_counted_before_the_period_too(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path
) -> None:
    version = ensure_baseline(tmp_path, memory, "desk", 1_000)
    seen = market.take(np.arange(400, 2_400))
    trained = period(100, 390)
    dataset = Dataset(
        dataset_id="ds-t",
        pair="BTC-USDT",
        interval="1m",
        start_ms=0,
        end_ms=1,
        sha256="",
        rows=1,
        missing=0,
        feature_set_id="",
        lookback=1,
    )
    memory.put(kinds.DATASETS, "ds-t", dataset, at_ms=0)
    version = replace(
        version,
        dataset_id="ds-t",
        training_start_ms=trained.start_ms,
        training_end_ms=trained.end_ms,
    )
    eth = replace(period(400, 2_400), pair="ETH-USDT")

    assert trained_rows(memory, version, period(400, 2_400), seen) == Rows(-300, -10)
    assert trained_rows(memory, version, eth, seen) == Rows(0, 0)
