"""Versions move under a run: every candle has its decision, and a decision ends with the version it began."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from actors.promotion import promote_version, rollback_version
from desk.clock import MINUTE_MS
from desk.evaluation.report import EvaluationReport
from desk.learning.policy import PolicyAnswer
from desk.learning.study import Dataset
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.features import FEATURES_V1
from desk.runs import Action, Agent, Mode
from desk.store import kinds
from desk.store.port import DocStore
from tests.actors.fakes import PAIR
from tests.actors.stage import Stage

ETH = "ETH-USDT"


def make_version(name: str, **changes: Any) -> AgentVersion:
    version = AgentVersion(
        version_id=name,
        agent_id="desk",
        name=name,
        algorithm="ppo",
        is_baseline=False,
        status=VersionStatus.EVALUATING,
        artifact_uri="",
        artifact_sha256="",
        artifact_bytes=0,
        feature_set_id=FEATURES_V1.feature_set_id,
        created_ms=0,
    )
    return replace(version, **changes)


def make_dataset(name: str, pair: str) -> Dataset:
    return Dataset(
        dataset_id=name,
        pair=pair,
        interval="1m",
        start_ms=0,
        end_ms=MINUTE_MS,
        sha256="00",
        rows=1,
        missing=0,
        feature_set_id=FEATURES_V1.feature_set_id,
        lookback=FEATURES_V1.lookback,
    )


def make_report(name: str, version_id: str, **changes: Any) -> EvaluationReport:
    report = EvaluationReport(
        evaluation_id=name,
        agent_id="desk",
        version_id=version_id,
        is_baseline=False,
        pair=PAIR,
        interval="1m",
        period_start_ms=0,
        period_end_ms=MINUTE_MS,
        decision_threshold=0.35,
        engine="nautilus_trader",
        candle_count=1_000,
        trade_count=40,
        win_rate=0.6,
        net_pnl_after_fees="12.5",
        fees="3",
        funding="0",
        starting_balance="10000",
        final_balance="10012.5",
        max_drawdown=0.02,
        sharpe=1.0,
        exposure=0.5,
        buy_and_hold_pnl="-5",
        parity_max_abs_diff="0",
        fill_count=80,
        verdict="pass",
        reasons=(),
        feature_set_id=FEATURES_V1.feature_set_id,
        dataset_id=f"ds-{name}",
        dataset_sha256="00",
        fill_spec_id="fs1",
        seed=7,
        created_ms=1_000,
    )
    return replace(report, **changes)


def evaluated(store: DocStore, name: str, version_id: str, **changes: Any) -> None:
    """Store an evaluation that passes, and its dataset."""
    report = make_report(name, version_id, **changes)
    dataset = make_dataset(report.dataset_id, report.pair)
    store.put(kinds.DATASETS, dataset.dataset_id, dataset, at_ms=0)
    store.put(kinds.EVALUATIONS, name, report, at_ms=report.created_ms)


def promote(stage: Stage, version_id: str, pair: str = PAIR, **given: Any) -> None:
    verdict = promote_version(
        stage.store, version_id, pair=pair, actor="test", now_ms=stage.clock.now_ms(), **given
    )
    assert verdict.reasons == ()


@pytest.fixture
def stage() -> Stage:
    """A run that follows its agent, whose v1 is active and v2 the one promoted before."""
    stage = Stage()
    stage.store.put(kinds.STATE, f"follows:{stage.run.run_id}", {"agent_id": "desk"}, at_ms=0)
    agent = stage.store.get(kinds.AGENTS, "desk")
    assert agent is not None
    allowed = replace(agent.value, allowed_instruments=(PAIR, ETH), active_version_id="")
    stage.store.put(kinds.AGENTS, "desk", allowed, at_ms=0)
    for name in ("v1", "v2"):
        stage.store.put(kinds.VERSIONS, name, make_version(name), at_ms=0)
        evaluated(stage.store, f"e-{name}", name)
    promote(stage, "v2")
    stage.clock.advance(1)
    promote(stage, "v1")
    return stage


def active(stage: Stage) -> Agent:
    found = stage.store.get(kinds.AGENTS, "desk")
    assert found is not None
    return found.value


def roll_back(stage: Stage, version_id: str) -> None:
    rollback_version(stage.store, version_id, actor="test", now_ms=stage.clock.now_ms())


@pytest.mark.catalogue("M05")
def test_M05_a_decision_ends_with_the_version_it_began_whatever_is_rolled_back_meanwhile(
    stage: Stage,
) -> None:
    asked = list[str]()

    async def decide(version_id: str, values: list[float], threshold: float) -> PolicyAnswer:
        asked.append(version_id)
        await asyncio.to_thread(roll_back, stage, "v2")  # between the question and the answer
        return PolicyAnswer(
            target=1.0,
            confidence=0.9,
            held=False,
            reason="",
            logits=(0.0, 0.0, 1.0),
            version_id=version_id,
        )

    stage.policy.decide = decide
    first = stage.decide(1.0)
    second = stage.decide(1.0)

    assert (first.version_id, second.version_id) == ("v1", "v2")
    assert asked == ["v1", "v1", "v2"], "ahead as before, and anew"
    assert first.action is Action.TRADE
    [order] = [row for row in stage.orders() if row.decision_id == first.decision_id]
    assert order.trace_id == first.trace_id
    assert active(stage).active_version_id == "v2"


@pytest.mark.catalogue("M05")
def test_M05_a_claim_that_a_crash_left_is_ended_by_the_version_that_made_it(stage: Stage) -> None:
    stage.is_executor_away = True
    stage.policy.target = 1.0
    stage.tell(stage.next_candle())
    roll_back(stage, "v2")
    stage.is_executor_away = False

    asyncio.run(stage.new_loop().turn())

    [record] = stage.decisions()
    assert (record.version_id, record.action) == ("v1", Action.TRADE)
    assert stage.policy.asked == ["v1"]


def test_switching_to_and_fro_leaves_no_candle_without_its_decision(stage: Stage) -> None:
    wanted = ["v1", "v2", "v1", "v2", "v2", "v1"]
    for number, name in enumerate(wanted):
        roll_back(stage, name)
        stage.decide(1.0 if number % 2 else -1.0)

    records = stage.decisions()[::-1]
    steps = {late.open_ms - early.open_ms for early, late in pairwise(records)}
    assert [record.version_id for record in records] == wanted
    assert steps == {MINUTE_MS}
    assert {record.hold_reason for record in records} == {""}


def test_a_live_run_follows_only_to_a_version_that_passed_on_its_own_pair(stage: Stage) -> None:
    stage.store.put(kinds.VERSIONS, "v3", make_version("v3"), at_ms=0)
    evaluated(stage.store, "e-v3", "v3", pair=ETH)
    stage.decide(0.0)
    stage.change_run(lambda run: replace(run, mode=Mode.LIVE))
    promote(stage, "v3", ETH)

    stays = stage.decide(0.0)
    evaluated(stage.store, "e-v3-btc", "v3")
    promote(stage, "v3")
    follows = stage.decide(0.0)

    assert active(stage).active_version_id == "v3"
    assert (stays.version_id, follows.version_id) == ("v1", "v3")


def test_a_canary_trades_its_part_of_the_size_until_it_is_gone_back_from(stage: Stage) -> None:
    stage.store.put(kinds.VERSIONS, "v3", make_version("v3"), at_ms=0)
    evaluated(stage.store, "e-v3", "v3")

    def notional() -> Decimal:
        order = stage.orders()[-1]
        return order.quantity * order.reference_price

    promote(stage, "v3", size_fraction=0.25)
    stage.decide(1.0)
    part = notional()
    roll_back(stage, "v1")
    stage.decide(-1.0)
    whole = notional()

    assert 230 < part <= 250
    assert 950 < whole <= 1_000
