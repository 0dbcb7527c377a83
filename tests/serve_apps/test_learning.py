"""Trainings and evaluations over HTTP."""

from dataclasses import asdict, replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from desk.clock import MINUTE_MS
from desk.evaluation.metrics import ClosedTrade
from desk.evaluation.report import EvaluationReport
from desk.learning.study import Dataset
from desk.market.features import FEATURES_V1
from desk.store import kinds
from desk.store.evaluation_files import tables_of
from desk.trading.fills import FillCause
from desk.trading.intents import Protection
from desk.trading.orders import Side
from tests.desk.evaluation.test_gate_evidence import GOOD
from tests.serve_apps.scene import BASELINE, OPEN_MS, PAIR, Scene

EVALUATIONS = "/agents/desk/evaluations"
PERIOD = {"pair": PAIR, "period_start_ms": 0, "period_end_ms": 60 * MINUTE_MS}


def report(evaluation_id: str, at_ms: int) -> EvaluationReport:
    return EvaluationReport(
        evaluation_id=evaluation_id,
        agent_id="desk",
        version_id=BASELINE,
        is_baseline=True,
        pair=PAIR,
        interval="1m",
        period_start_ms=0,
        period_end_ms=60 * MINUTE_MS,
        decision_threshold=0.35,
        engine="nautilus_trader 1.231.0",
        candle_count=60,
        trade_count=2,
        win_rate=0.5,
        net_pnl_after_fees="-1.25",
        fees="1.00",
        funding="0",
        starting_balance="10000",
        final_balance="9998.75",
        max_drawdown=0.001,
        sharpe=0.0,
        exposure=0.2,
        buy_and_hold_pnl="3.5",
        parity_max_abs_diff="0",
        fill_count=4,
        verdict="fail",
        reasons=("insufficient_trade_count",),
        feature_set_id="features-v1",
        dataset_id="ds1",
        dataset_sha256="c" * 64,
        fill_spec_id="fs1",
        seed=0,
        created_ms=at_ms,
    )


def keep(scene: Scene, *reports: EvaluationReport) -> None:
    for one in reports:
        scene.store.put(kinds.EVALUATIONS, one.evaluation_id, one, at_ms=one.created_ms)


def test_reports_are_listed_by_pair_and_version(scene: Scene, client: TestClient) -> None:
    keep(scene, report("e1", 1), replace(report("e2", 2), pair="ETH-USDT"))
    keep(scene, replace(report("e3", 3), version_id="ppo-1"))
    keep(scene, replace(report("e4", 4), agent_id="other"))

    def found(**query: str) -> list[str]:
        rows = client.get(EVALUATIONS, params=query).json()["items"]
        return [row["evaluation_id"] for row in rows]

    assert found() == ["e3", "e2", "e1"]
    assert found(pair=PAIR) == ["e3", "e1"]
    assert found(agent_version_id="ppo-1") == ["e3"]


def test_a_report_names_its_engine_and_why_it_failed(scene: Scene, client: TestClient) -> None:
    keep(scene, report("e1", 1))

    row = client.get(f"{EVALUATIONS}/e1").json()

    assert row["engine"].startswith("nautilus_trader")
    assert (row["verdict"], row["reasons"]) == ("fail", ["insufficient_trade_count"])
    assert row["net_pnl_after_fees"] == "-1.25"
    assert row["baseline"] is True


def test_an_agent_shows_the_gates_word_on_its_active_version(
    scene: Scene, client: TestClient
) -> None:
    keep(scene, report("e1", 1))

    agent = client.get("/agents/desk").json()

    assert agent["promotion_gate_status"] == "fail"
    assert "insufficient_trade_count" in agent["promotion_gate_reasons"]
    assert agent["promotion_gate_evaluation_id"] == "e1"


def test_another_agents_report_is_not_found_here(scene: Scene, client: TestClient) -> None:
    keep(scene, replace(report("e1", 1), agent_id="other"))

    assert client.get(f"{EVALUATIONS}/e1").status_code == 404


def test_an_evaluation_defaults_to_the_active_version(scene: Scene, client: TestClient) -> None:
    answer = client.post(EVALUATIONS, json=PERIOD)

    assert answer.status_code == 202
    assert answer.json()["kind"] == "evaluation"
    ask = scene.desk.heard[0][1]["ask"]
    assert (ask.version_id, ask.pair, ask.decision_threshold) == (BASELINE, PAIR, None)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"period_end_ms": 0}, 422),
        ({"pair": "x"}, 422),
        ({"interval": "7m"}, 422),
        ({"agent_version_id": "ppo-nothing"}, 404),
        ({"dataset_id": "ds-nothing"}, 404),
        ({"feature_set_id": "features-v9"}, 422),
        ({"decision_threshold": -0.1}, 422),
        ({"walk_forward": {"folds": 0}}, 422),
        ({"walk_forward": {"purge_bars": 3}}, 422),
        ({"walk_forward": {"folds": 4}}, 422),  # of 60 candles
        ({"trials": 0}, 422),
    ],
)
def test_an_evaluation_that_cannot_be_carried_out_starts_no_job(
    scene: Scene, client: TestClient, change: dict[str, object], status: int
) -> None:
    assert client.post(EVALUATIONS, json=PERIOD | change).status_code == status
    assert scene.desk.heard == []


def test_a_named_dataset_must_be_the_one_of_the_period(scene: Scene, client: TestClient) -> None:
    dataset = Dataset(
        dataset_id="ds1",
        pair=PAIR,
        interval="1m",
        start_ms=0,
        end_ms=60 * MINUTE_MS,
        sha256="c" * 64,
        rows=60,
        missing=0,
        feature_set_id="features-v1",
        lookback=10,
    )
    scene.store.put(kinds.DATASETS, "ds1", dataset, at_ms=1)

    fitting = client.post(EVALUATIONS, json=PERIOD | {"dataset_id": "ds1"})
    other = client.post(EVALUATIONS, json=PERIOD | {"dataset_id": "ds1", "period_end_ms": 60_000})

    assert (fitting.status_code, other.status_code) == (202, 422)


def test_a_training_takes_all_stored_candles_unless_bounds_are_given(
    scene: Scene, client: TestClient
) -> None:
    scene.candles(400)

    answer = client.post("/agents/desk/training", json={"pair": PAIR, "timesteps": 1000})

    assert answer.status_code == 202
    ask = scene.desk.heard[0][1]["ask"]
    assert (ask.start_ms, ask.end_ms) == (OPEN_MS - 399 * MINUTE_MS, OPEN_MS + MINUTE_MS)
    assert ask.timesteps == 1000


def test_a_training_without_candles_says_what_to_do(scene: Scene, client: TestClient) -> None:
    answer = client.post("/agents/desk/training", json={"pair": PAIR})

    assert answer.status_code == 422
    assert "backfill it first" in answer.json()["detail"]
    assert scene.desk.heard == []


EXITS = {"stop_loss_fraction": "0.01", "take_profit_fraction": "0.025", "leverage": 5}


def test_a_training_and_an_evaluation_take_the_exits_of_a_run(
    scene: Scene, client: TestClient
) -> None:
    scene.candles(400)
    shaped = {"levels": [-1, -0.5, 0, 1], "turnover_coefficient": 0.001}

    trained = client.post("/agents/desk/training", json={"pair": PAIR} | EXITS | shaped)
    evaluated = client.post(EVALUATIONS, json=PERIOD | EXITS)

    assert (trained.status_code, evaluated.status_code) == (202, 202)
    asks = [heard[1]["ask"] for heard in scene.desk.heard]
    for ask in asks:
        assert ask.protection == Protection(
            stop_loss_fraction=Decimal("0.01"), take_profit_fraction=Decimal("0.025")
        )
        assert ask.leverage == 5
    assert asks[0].levels == (-1.0, -0.5, 0.0, 1.0)
    assert (asks[0].turnover_coefficient, asks[0].drawdown_coefficient) == (0.001, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stop_loss_fraction": "1"},
        {"take_profit_fraction": "0.000000001"},
        {"leverage": 0},
        {"levels": [0, -1]},
        {"levels": [0]},
        {"levels": [0, 2]},
        {"drawdown_coefficient": -1},
    ],
)
def test_exits_and_levels_out_of_range_are_refused_before_a_job_begins(
    scene: Scene, client: TestClient, wrong: dict[str, object]
) -> None:
    scene.candles(400)

    answer = client.post("/agents/desk/training", json={"pair": PAIR} | wrong)

    assert answer.status_code == 422
    assert next(iter(wrong)) in answer.text
    assert scene.desk.heard == []


def test_a_fold_plan_and_the_number_of_trials_reach_the_job(
    scene: Scene, client: TestClient
) -> None:
    folds = {"folds": 2, "purge_bars": 3, "embargo_bars": 1, "min_train_bars": 10}

    answer = client.post(EVALUATIONS, json=PERIOD | {"walk_forward": folds, "trials": 40})

    assert answer.status_code == 202
    ask = scene.desk.heard[0][1]["ask"]
    assert asdict(ask.folds) == folds
    assert ask.trials == 40


def test_a_fold_plan_that_the_period_cannot_hold_is_refused_with_what_would_do(
    client: TestClient,
) -> None:
    answer = client.post(EVALUATIONS, json=PERIOD | {"walk_forward": {"folds": 4}})

    assert answer.status_code == 422
    assert "need at least 80 candles" in answer.json()["detail"]
    assert "ends 20 candles later" in answer.json()["detail"]


WEIGHED = "ev-" + "a" * 20
_EMPTY = np.zeros(0, dtype=np.int64), np.zeros(0)


def weighed(scene: Scene, **changes: object) -> EvaluationReport:
    """A report with evidence and files, kept."""
    close_ms = np.arange(1, 61, dtype=np.int64) * MINUTE_MS
    equity = 10_000.0 + np.sin(np.arange(60.0))
    trade = ClosedTrade(
        side=Side.BUY,
        quantity=Decimal("0.02"),
        entry_price=Decimal(40_000),
        exit_price=Decimal("40010.5"),
        opened_ms=1_000,
        closed_ms=2_000,
        pnl=Decimal("-0.59"),
        fees=Decimal("0.8"),
        funding=Decimal(0),
        cause=FillCause.ORDER,
    )
    tables = tables_of(GOOD, close_ms, equity, [trade] * 3, {"hold": equity * 2})
    assert scene.reports is not None
    files = scene.reports.write(WEIGHED, tables)
    kept = replace(
        report(WEIGHED, 1),
        evidence=replace(GOOD, files=files),
        **changes,  # pyright: ignore[reportArgumentType]
    )
    keep(scene, kept)
    return kept


def test_a_report_shows_its_evidence_but_a_list_does_not(scene: Scene, client: TestClient) -> None:
    weighed(scene)

    row = client.get(f"{EVALUATIONS}/{WEIGHED}").json()
    listed = client.get(EVALUATIONS).json()["items"][0]

    assert row["evidence"]["baselines"][1]["name"] == "hold"
    assert row["evidence"]["baselines"][1]["outcome"]["net_pnl_after_fees"] == "250"
    assert row["deflated_sharpe"] == listed["deflated_sharpe"] == GOOD.deflated_sharpe
    assert row["overfitting_probability"] == GOOD.overfitting_probability
    assert listed["evidence"] is None


def test_curves_and_trades_come_whole_as_arrow(scene: Scene, client: TestClient) -> None:
    weighed(scene)
    arrow = {"Accept": "application/vnd.apache.arrow.stream"}

    answers = {
        name: client.get(f"{EVALUATIONS}/{WEIGHED}/{name}", params=query, headers=arrow)
        for name, query in (("equity", {"points": 2}), ("trades", {"limit": 1}))
    }
    tables = {name: pa.ipc.open_stream(one.content).read_all() for name, one in answers.items()}

    assert {one.headers["content-type"] for one in answers.values()} == set(arrow.values())
    assert tables["equity"].num_rows == 60
    assert {"close_ms", "equity", "hold"} <= set(tables["equity"].column_names)
    assert tables["trades"].num_rows == 3


def test_an_evaluation_without_a_trade_has_an_empty_page_of_them(
    scene: Scene, client: TestClient
) -> None:
    kept = weighed(scene)
    assert scene.reports is not None
    files = scene.reports.write(WEIGHED, tables_of(GOOD, *_EMPTY, [], {}))
    scene.store.put(
        kinds.EVALUATIONS,
        WEIGHED,
        replace(kept, evidence=replace(GOOD, files=files)),
        at_ms=kept.created_ms,
    )

    answer = client.get(f"{EVALUATIONS}/{WEIGHED}/trades")

    assert answer.json() == {"items": [], "next_cursor": None}


def test_a_report_from_before_evidence_was_gathered_has_none(
    scene: Scene, client: TestClient
) -> None:
    keep(scene, report("e1", 1))

    row = client.get(f"{EVALUATIONS}/e1").json()

    assert (row["evidence"], row["deflated_sharpe"]) == (None, None)
    assert client.get(f"{EVALUATIONS}/e1/equity").status_code == 404


def test_curves_are_thinned_and_trades_come_in_pages(scene: Scene, client: TestClient) -> None:
    weighed(scene)

    whole = client.get(f"{EVALUATIONS}/{WEIGHED}/equity").json()
    thin = client.get(f"{EVALUATIONS}/{WEIGHED}/equity", params={"points": 10}).json()
    first = client.get(f"{EVALUATIONS}/{WEIGHED}/trades", params={"limit": 2}).json()
    rest = client.get(
        f"{EVALUATIONS}/{WEIGHED}/trades", params={"limit": 2, "cursor": first["next_cursor"]}
    ).json()

    assert len(whole["close_ms"]) == len(whole["curves"]["equity"]) == 60
    assert len(thin["close_ms"]) <= 12
    assert max(thin["curves"]["equity"]) == max(whole["curves"]["equity"])
    assert set(whole["curves"]) == {"equity", "hold"}
    assert (len(first["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)
    assert first["items"][0]["pnl"] == "-0.59"


def test_a_file_that_is_not_the_reports_own_is_not_shown(scene: Scene, client: TestClient) -> None:
    kept = weighed(scene)
    assert scene.reports is not None
    scene.reports.write(
        WEIGHED,
        {
            "equity.parquet": scene.reports.read(
                WEIGHED,
                "trades.parquet",
                kept.evidence.files["trades.parquet"],  # pyright: ignore
            )
        },
    )

    answer = client.get(f"{EVALUATIONS}/{WEIGHED}/equity")

    assert answer.status_code >= 500
    assert "evaluate again" in answer.json()["detail"]


def test_reports_are_compared_with_the_first_and_say_whether_that_is_fair(
    scene: Scene, client: TestClient
) -> None:
    keep(scene, report("e1", 1), replace(report("e2", 2), net_pnl_after_fees="0.05", sharpe=1.5))
    keep(scene, replace(report("e3", 3), pair="ETH-USDT", dataset_sha256="d" * 64))

    same = client.get(f"{EVALUATIONS}/compare", params={"ids": "e1,e2"}).json()
    other = client.get(f"{EVALUATIONS}/compare", params={"ids": "e1, e2 ,e3"}).json()

    assert [row["evaluation_id"] for row in same["items"]] == ["e1", "e2"]
    assert same["deltas"][0]["net_pnl_after_fees"] == "1.30"
    assert same["deltas"][0]["sharpe"] == 1.5
    assert same["same_candles"] is True
    assert other["same_candles"] is False
    assert {pair: one["net_pnl_after_fees"] for pair, one in other["by_pair"].items()} == {
        "BTC-USDT": "-1.20",
        "ETH-USDT": "-1.25",
    }
    assert other["total"]["net_pnl_after_fees"] == "-2.45"
    assert (other["total"]["evaluations"], other["by_pair"]["ETH-USDT"]["evaluations"]) == (3, 1)


@pytest.mark.parametrize(
    ("ids", "status"), [("e1", 422), ("e1,e1", 422), ("e1,nothing", 404), ("e1,theirs", 404)]
)
def test_what_cannot_be_compared_is_refused(
    scene: Scene, client: TestClient, ids: str, status: int
) -> None:
    keep(scene, report("e1", 1), replace(report("theirs", 2), agent_id="other"))

    assert client.get(f"{EVALUATIONS}/compare", params={"ids": ids}).status_code == status


def test_a_training_takes_an_algorithm_with_its_own_parameters(
    scene: Scene, client: TestClient
) -> None:
    scene.candles(400)
    words = {"algorithm": "dqn", "parameters": {"lanes": 64, "hidden": [32, 32], "gamma": 0.9}}

    answer = client.post("/agents/desk/training", json={"pair": PAIR, "seed": 3} | words)

    assert answer.status_code == 202
    spec = scene.desk.heard[0][1]["ask"].training
    assert (spec.algorithm, spec.lanes, spec.hidden) == ("dqn", 64, (32, 32))
    assert (spec.gamma, spec.seed, spec.minibatch) == (0.9, 3, 512)


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"algorithm": "sac"}, "algorithm", "expected one of ppo, dqn, bc"),
        ({"parameters": {"clipp": 0.1}}, "clipp", "expected a parameter of ppo: clip, "),
        ({"algorithm": "dqn", "parameters": {"clip": 0.1}}, "clip", "it is one of ppo"),
        ({"parameters": {"lanes": 0}}, "lanes", "expected 1 to 65536"),
        ({"parameters": {"lanes": 64, "steps_per_lane": 8}}, "minibatch", "at most 512"),
        ({"start_ms": OPEN_MS - 100 * MINUTE_MS}, "period", "choose a longer period"),
    ],
)
def test_what_no_training_can_be_made_of_is_refused_at_the_request(
    scene: Scene, client: TestClient, wrong: dict[str, object], field: str, says: str
) -> None:
    scene.candles(400)

    answer = client.post("/agents/desk/training", json={"pair": PAIR} | wrong)

    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert says in answer.json()["detail"]
    assert scene.desk.heard == []


def test_a_rule_is_not_cloned_over_features_that_lack_its_trend(
    scene: Scene, client: TestClient
) -> None:
    scene.candles(400)
    made = client.post(
        "/feature-sets",
        json={"name": "bare", "features": [{"name": "day_sine", "rule": "day_sine"}]},
    )
    assert made.status_code in {200, 201}, made.text
    body = {"pair": PAIR, "feature_set_id": made.json()["feature_set_id"]}

    for words in ({"algorithm": "bc"}, {"parameters": {"warm_start": "rule"}}):
        answer = client.post("/agents/desk/training", json=body | words)
        assert (answer.status_code, answer.json()["field"]) == (422, "feature_set_id")
        assert "trend_60_240" in answer.json()["detail"]
    assert scene.desk.heard == []


def test_a_training_on_a_dataset_takes_its_period_and_no_other(
    scene: Scene, client: TestClient
) -> None:
    scene.candles(800)
    start_ms = OPEN_MS - 500 * MINUTE_MS
    dataset = Dataset(
        dataset_id="ds-1",
        pair=PAIR,
        interval="1m",
        start_ms=start_ms,
        end_ms=OPEN_MS,
        sha256="a" * 64,
        rows=500,
        missing=0,
        feature_set_id=FEATURES_V1.feature_set_id,
        lookback=FEATURES_V1.lookback,
    )
    scene.store.put(kinds.DATASETS, "ds-1", dataset, at_ms=1)
    body = {"pair": PAIR, "dataset_id": "ds-1"}

    fitting = client.post("/agents/desk/training", json=body)
    other = client.post("/agents/desk/training", json=body | {"end_ms": OPEN_MS - MINUTE_MS})
    unknown = client.post("/agents/desk/training", json=body | {"dataset_id": "ds-9"})

    assert fitting.status_code == 202, fitting.text
    ask = scene.desk.heard[0][1]["ask"]
    assert (ask.start_ms, ask.end_ms, ask.dataset_id) == (start_ms, OPEN_MS, "ds-1")
    assert (other.status_code, other.json()["field"]) == (422, "dataset_id")
    assert unknown.status_code == 404
    assert len(scene.desk.heard) == 1
