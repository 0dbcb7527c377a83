"""Promotion and rollback: by its own evaluation on its own pair, in one step, and never by accident."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.promotion import (
    begin_evaluating,
    is_promoted_on,
    previous_version,
    promote_version,
    promotion_verdict,
    retire_version,
    rollback_version,
    widen,
)
from actors.version_registry import ensure_baseline, policy_of, version_of
from desk.errors import ArtifactRefused, BadInput, NotFound, VersionConflict
from desk.evaluation.promotion import (
    NOT_EVALUATED,
    OTHER_DATASET,
    OTHER_FEATURES,
    VERDICT_FAIL,
)
from desk.evaluation.report import EvaluationReport
from desk.learning.baseline import BASELINE_VERSION_ID
from desk.learning.study import Dataset
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.features import FEATURES_V1
from desk.runs import Agent, PromotionGate
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Doc, Gate

GOOD = EvaluationReport(
    evaluation_id="e1",
    agent_id="desk",
    version_id="v1",
    is_baseline=False,
    pair="BTC-USDT",
    interval="1m",
    period_start_ms=0,
    period_end_ms=1,
    decision_threshold=0.35,
    engine="nautilus_trader 1.231.0",
    candle_count=1000,
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
    dataset_id="ds-1",
    dataset_sha256="00",
    fill_spec_id="fs1",
    seed=7,
    created_ms=1_000,
)
DATASET = Dataset(
    dataset_id="ds-1",
    pair="BTC-USDT",
    interval="1m",
    start_ms=0,
    end_ms=1,
    sha256="00",
    rows=1000,
    missing=0,
    feature_set_id=FEATURES_V1.feature_set_id,
    lookback=30,
)


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    agent = Agent(agent_id="desk", name="Desk", allowed_instruments=("BTC-USDT", "ETH-USDT"))
    store.put(kinds.AGENTS, "desk", agent, at_ms=0)
    for version_id in ("v1", "v2"):
        register(store, version_id)
    store.put(kinds.DATASETS, "ds-1", DATASET, at_ms=0)
    return store


def register(store: MemoryStore, version_id: str) -> None:
    version = AgentVersion(
        version_id=version_id,
        agent_id="desk",
        name=version_id,
        algorithm="ppo",
        is_baseline=False,
        status=VersionStatus.EVALUATING,
        artifact_uri="",
        artifact_sha256="",
        artifact_bytes=0,
        feature_set_id=FEATURES_V1.feature_set_id,
        created_ms=500,
    )
    store.put(kinds.VERSIONS, version_id, version, at_ms=500)


def evaluated(store: MemoryStore, **changes: Any) -> None:
    report = replace(GOOD, **changes)
    store.put(kinds.EVALUATIONS, report.evaluation_id, report, at_ms=report.created_ms)


def promote(store: MemoryStore, version_id: str = "v1", now_ms: int = 2_000) -> tuple[str, ...]:
    verdict = promote_version(store, version_id, pair="BTC-USDT", actor="operator", now_ms=now_ms)
    return verdict.reasons


def active(store: MemoryStore) -> str:
    doc = store.get(kinds.AGENTS, "desk")
    assert doc is not None
    return doc.value.active_version_id


def status(store: MemoryStore, version_id: str) -> VersionStatus:
    return version_of(store, version_id).status


def test_a_version_that_passed_on_the_pair_becomes_the_active_one(store: MemoryStore) -> None:
    evaluated(store)

    assert promote(store) == ()

    version = version_of(store, "v1")
    assert active(store) == "v1"
    assert version.status is VersionStatus.PROMOTED
    assert (version.promoted_at_ms, version.promoted_by_evaluation_id) == (2_000, "e1")


@pytest.mark.catalogue("M04")
def test_regression_13_another_pairs_report_satisfies_no_gate(store: MemoryStore) -> None:
    evaluated(store, pair="ETH-USDT")

    assert promote(store) == (NOT_EVALUATED,)
    assert active(store) == ""
    assert status(store, "v1") is VersionStatus.EVALUATING


def test_regression_13_another_versions_report_satisfies_no_gate(store: MemoryStore) -> None:
    evaluated(store, version_id="v2")

    assert promote(store, "v1") == (NOT_EVALUATED,)
    assert active(store) == ""


def test_regression_13_a_failed_challenger_leaves_the_champion_alone(store: MemoryStore) -> None:
    evaluated(store)
    promote(store)
    evaluated(
        store,
        evaluation_id="e2",
        version_id="v2",
        win_rate=0.3,
        verdict="fail",
        reasons=("win_rate_below_threshold",),
    )

    assert promote(store, "v2") == ("win_rate_below_threshold",)

    assert active(store) == "v1"
    assert status(store, "v1") is VersionStatus.PROMOTED
    assert status(store, "v2") is VersionStatus.EVALUATING


@pytest.mark.catalogue("M04")
@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"win_rate": 0.54}, ("win_rate_below_threshold",)),
        ({"net_pnl_after_fees": "0"}, ("net_pnl_non_positive",)),
        ({"max_drawdown": 0.26}, ("drawdown_too_high",)),
        ({"trade_count": 19}, ("insufficient_trade_count",)),
        ({"parity_max_abs_diff": "0.011"}, ("parity_broken",)),
        ({"verdict": "fail", "reasons": ("liquidated",)}, ("liquidated",)),
        ({"verdict": "fail"}, (VERDICT_FAIL,)),
        ({"feature_set_id": "v0-0"}, (OTHER_FEATURES,)),
        ({"dataset_sha256": "11"}, (OTHER_DATASET,)),
        ({"dataset_id": "ds-2"}, (OTHER_DATASET,)),
        (
            {"trade_count": 0, "win_rate": 0.0, "net_pnl_after_fees": "-1"},
            ("insufficient_trade_count", "win_rate_below_threshold", "net_pnl_non_positive"),
        ),
    ],
)
def test_m04_a_refusal_lists_every_reason_and_changes_nothing(
    store: MemoryStore, changes: dict[str, Any], reasons: tuple[str, ...]
) -> None:
    evaluated(store, **changes)

    assert promote(store) == reasons

    assert active(store) == ""
    assert status(store, "v1") is VersionStatus.EVALUATING


def test_the_newest_evaluation_decides(store: MemoryStore) -> None:
    evaluated(store)
    evaluated(store, evaluation_id="e0", created_ms=1_500, net_pnl_after_fees="-3")

    assert promote(store) == ("net_pnl_non_positive",)


def test_a_gate_that_was_tightened_since_is_applied(store: MemoryStore) -> None:
    evaluated(store)
    doc = store.get(kinds.AGENTS, "desk")
    assert doc is not None
    strict = replace(doc.value, promotion_gate=PromotionGate(min_trades=100))
    store.put(kinds.AGENTS, "desk", strict, at_ms=0)

    assert promotion_verdict(store, "v1", "BTC-USDT").reasons == ("insufficient_trade_count",)
    assert promote(store) == ("insufficient_trade_count",)


def test_a_pair_the_agent_may_not_trade_is_refused(store: MemoryStore) -> None:
    evaluated(store, pair="PAXG-USDT")

    with pytest.raises(BadInput, match="BTC-USDT ETH-USDT"):
        promote_version(store, "v1", pair="PAXG-USDT", actor="operator", now_ms=2_000)


def test_promoting_retires_the_former_and_rolling_back_restores_it(store: MemoryStore) -> None:
    evaluated(store)
    evaluated(store, evaluation_id="e2", version_id="v2")
    promote(store, "v1", 2_000)
    promote(store, "v2", 3_000)
    assert (status(store, "v1"), status(store, "v2")) == (
        VersionStatus.RETIRED,
        VersionStatus.PROMOTED,
    )
    earlier = previous_version(store, "desk")
    assert earlier is not None
    assert earlier.version_id == "v1"

    rollback_version(store, "v1", actor="operator", now_ms=4_000)

    assert active(store) == "v1"
    assert (status(store, "v1"), status(store, "v2")) == (
        VersionStatus.PROMOTED,
        VersionStatus.RETIRED,
    )
    assert version_of(store, "v1").promoted_by_evaluation_id == "e1"


def test_a_version_that_was_never_promoted_cannot_be_rolled_back_to(store: MemoryStore) -> None:
    with pytest.raises(BadInput, match="never promoted"):
        rollback_version(store, "v2", actor="operator", now_ms=4_000)
    with pytest.raises(NotFound, match="version v9"):
        rollback_version(store, "v9", actor="operator", now_ms=4_000)


class _Racing(MemoryStore):
    """Lets another writer in just before the pointer moves."""

    def __init__(self, other: Callable[[MemoryStore], object]) -> None:
        super().__init__()
        self.other = other

    def flip_version(
        self, before: Doc[Agent], after: Agent, gate: Gate, **given: Any
    ) -> Doc[Agent]:
        self.other(self)
        return super().flip_version(before, after, gate, **given)


OTHERS: dict[str, Callable[[MemoryStore], object]] = {
    "the agent's row moves": lambda store: store.put(
        kinds.AGENTS,
        "desk",
        Agent(agent_id="desk", name="Desk", allowed_instruments=("BTC-USDT",), kill_switch=True),
        at_ms=0,
    ),
    "a newer evaluation fails": lambda store: evaluated(
        store, evaluation_id="e2", created_ms=1_001, verdict="fail", reasons=("liquidated",)
    ),
    "a newer evaluation passes": lambda store: evaluated(
        store, evaluation_id="e2", created_ms=1_001
    ),
    "the evaluation is judged anew": lambda store: evaluated(store, win_rate=0.1),
    "the evaluation is withdrawn": lambda store: store.delete(kinds.EVALUATIONS, "e1"),
}


@pytest.mark.catalogue("M04")
@pytest.mark.parametrize("other", OTHERS)
def test_m04_a_promotion_that_loses_a_race_changes_nothing(other: str) -> None:
    store = _Racing(OTHERS[other])
    agent = Agent(agent_id="desk", name="Desk", allowed_instruments=("BTC-USDT",))
    store.put(kinds.AGENTS, "desk", agent, at_ms=0)
    store.put(kinds.DATASETS, "ds-1", DATASET, at_ms=0)
    register(store, "v1")
    evaluated(store)

    with pytest.raises(VersionConflict):
        promote(store)

    assert active(store) == ""
    assert status(store, "v1") is VersionStatus.EVALUATING
    assert store.list(kinds.AUDIT) == []


def test_a_promotion_that_broke_off_is_completed_by_repeating_it(store: MemoryStore) -> None:
    evaluated(store)
    doc = store.get(kinds.AGENTS, "desk")
    assert doc is not None
    store.put(kinds.AGENTS, "desk", replace(doc.value, active_version_id="v1"), at_ms=0)

    assert promote(store) == ()

    assert status(store, "v1") is VersionStatus.PROMOTED


def test_a_draft_that_an_older_release_evaluated_is_promoted_by_way_of_evaluating(
    store: MemoryStore,
) -> None:
    draft = replace(version_of(store, "v1"), status=VersionStatus.DRAFT)
    store.put(kinds.VERSIONS, "v1", draft, at_ms=500)
    evaluated(store)

    assert promote(store) == ()

    assert status(store, "v1") is VersionStatus.PROMOTED


def test_only_a_version_that_was_never_promoted_is_put_aside(store: MemoryStore) -> None:
    evaluated(store)
    promote(store)
    draft = replace(version_of(store, "v2"), status=VersionStatus.DRAFT)
    store.put(kinds.VERSIONS, "v2", draft, at_ms=500)

    for version_id in ("v1", "v2"):
        begin_evaluating(store, version_id, 3_000)
    assert [status(store, name) for name in ("v1", "v2")] == ["promoted", "evaluating"]
    for version_id in ("v1", "v2"):
        retire_version(store, version_id, 3_000)
    assert [status(store, name) for name in ("v1", "v2")] == ["promoted", "retired"]


def test_a_version_is_promoted_on_each_pair_by_an_evaluation_on_it(store: MemoryStore) -> None:
    evaluated(store)
    promote(store)
    evaluated(store, evaluation_id="e2", pair="ETH-USDT")

    before = is_promoted_on(store, version_of(store, "v1"), "ETH-USDT")
    promote_version(store, "v1", pair="ETH-USDT", actor="operator", now_ms=3_000)

    version = version_of(store, "v1")
    assert not before
    assert is_promoted_on(store, version, "ETH-USDT")
    assert version.promoted_pairs == ("BTC-USDT", "ETH-USDT")
    assert (version.promoted_at_ms, version.promoted_by_evaluation_id) == (2_000, "e1")


def test_the_record_of_an_older_release_names_its_pair_by_its_evaluation(
    store: MemoryStore,
) -> None:
    evaluated(store)
    promote(store)
    older = replace(version_of(store, "v1"), promoted_pairs=())

    assert is_promoted_on(store, older, "BTC-USDT")
    assert not is_promoted_on(store, older, "ETH-USDT")


def test_going_back_leads_further_back_and_never_to_and_fro(store: MemoryStore) -> None:
    register(store, "v3")
    for number, version_id in enumerate(("v1", "v2", "v3"), start=1):
        evaluated(store, evaluation_id=f"e{number}", version_id=version_id)
        promote(store, version_id, 1_000 * (number + 1))

    visited = list[str]()
    while (earlier := previous_version(store, "desk", "BTC-USDT")) is not None:
        rollback_version(store, earlier.version_id, actor="observer", now_ms=9_000)
        visited.append(active(store))

    assert visited == ["v2", "v1"]
    assert previous_version(store, "desk", "ETH-USDT") is None


def test_a_rollback_from_a_version_that_is_not_active_any_more_changes_nothing(
    store: MemoryStore,
) -> None:
    for number, version_id in enumerate(("v1", "v2"), start=1):
        evaluated(store, evaluation_id=f"e{number}", version_id=version_id)
        promote(store, version_id, 1_000 * (number + 1))

    with pytest.raises(VersionConflict):
        rollback_version(store, "v1", actor="observer", now_ms=9_000, expected_active="v9")

    assert active(store) == "v2"


def test_a_canary_trades_a_part_until_it_is_widened_or_gone_back_from(store: MemoryStore) -> None:
    def part() -> float:
        doc = store.get(kinds.AGENTS, "desk")
        assert doc is not None
        return doc.value.size_fraction

    def canary() -> None:
        promote_version(
            store, "v2", pair="BTC-USDT", actor="observer", now_ms=3_000, size_fraction=0.25
        )

    evaluated(store)
    evaluated(store, evaluation_id="e2", version_id="v2")
    promote(store)
    canary()
    assert (active(store), part()) == ("v2", 0.25)

    rollback_version(store, "v1", actor="observer", now_ms=4_000)
    assert (active(store), part()) == ("v1", 1.0)
    widen(store, "desk", "v2", actor="observer", now_ms=5_000)
    assert (active(store), part()) == ("v1", 1.0)

    canary()
    widen(store, "desk", "v2", actor="observer", now_ms=6_000)
    assert (active(store), part()) == ("v2", 1.0)


def test_promotions_refusals_and_rollbacks_are_audited(store: MemoryStore) -> None:
    promote(store, "v1", 1_500)
    evaluated(store)
    promote(store, "v1", 2_000)
    rollback_version(store, "v1", actor="operator", now_ms=3_000)

    entries = [doc.value for doc in store.list(kinds.AUDIT)]
    assert [entry.action for entry in entries] == ["rollback", "promote", "promote_refused"]
    assert entries[2].after["reasons"] == [NOT_EVALUATED]
    assert entries[1].after["evaluation_id"] == "e1"
    assert {entry.actor for entry in entries} == {"operator"}


def test_the_baseline_is_registered_once_and_says_what_it_is(
    store: MemoryStore, tmp_path: Path
) -> None:
    first = ensure_baseline(tmp_path, store, "desk", 1_000)
    again = ensure_baseline(tmp_path, store, "desk", 9_000)

    assert first == again
    assert first.version_id == BASELINE_VERSION_ID
    assert first.is_baseline
    assert "not trained" in first.name
    assert policy_of(tmp_path, first, store).is_baseline
    assert first.artifact_uri.startswith("file://")
    assert first.artifact_bytes > 0


def test_the_baseline_passes_the_same_gate_or_is_refused_by_it(
    store: MemoryStore, tmp_path: Path
) -> None:
    ensure_baseline(tmp_path, store, "desk", 1_000)

    assert promote(store, BASELINE_VERSION_ID) == (NOT_EVALUATED,)
    evaluated(store, version_id=BASELINE_VERSION_ID, is_baseline=True)
    assert promote(store, BASELINE_VERSION_ID) == ()
    assert active(store) == BASELINE_VERSION_ID


@pytest.mark.catalogue("M01")
def test_m01_a_damaged_artifact_is_not_loaded(store: MemoryStore, tmp_path: Path) -> None:
    version = ensure_baseline(tmp_path, store, "desk", 1_000)
    path = tmp_path / "artifacts" / version.version_id / "policy.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)

    with pytest.raises(ArtifactRefused, match="sha256"):
        policy_of(tmp_path, version, store)
