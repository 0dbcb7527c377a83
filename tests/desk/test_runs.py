"""A run's life, and the gates a candle passes before a decision."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import runs
from desk.errors import IllegalTransition
from desk.market.integrity import WindowVerdict
from desk.runs import (
    Admission,
    Admitted,
    Agent,
    Held,
    Mode,
    Paused,
    PauseLift,
    Provenance,
    Run,
    RunStatus,
    SourcePolicy,
    SourceStatus,
    admit,
)

NOW = 1_700_000_000_000
RUN = Run(
    run_id="r1",
    agent_id="desk",
    account="paper",
    mode=Mode.PAPER,
    pair="BTC-USDT",
    interval="1m",
    version_id="baseline-trend-v1",
    risk_limit_set_id="default",
    decision_threshold=0.35,
    status=RunStatus.RUNNING,
    started_ms=NOW,
    dataset_id="ds1",
    feature_set_id="v1",
)
AGENT = Agent(agent_id="desk", name="Desk", allowed_instruments=("BTC-USDT",))
FRESH = SourceStatus(
    source_type="bingx_candles",
    pair="BTC-USDT",
    interval="1m",
    enabled=True,
    status="ok",
    freshness_threshold_s=120,
    last_event_ms=NOW,
    last_success_ms=NOW,
)


def asked(run: Run = RUN, agent: Agent = AGENT, **changes: Any) -> Admission:
    facts: dict[str, Any] = {
        "sources": [FRESH],
        "verdict": WindowVerdict(),
        "kill_reason": None,
        **changes,
    }
    return admit(run, agent, **facts)


def test_a_candle_passes_every_gate() -> None:
    answer = asked()

    assert isinstance(answer, Admitted)
    assert all(gate.passed and not gate.code for gate in answer.gates)
    assert [gate.gate for gate in answer.gates] == [
        "run_running",
        "instrument_allowed",
        "sources",
        "integrity",
        "kill_switch",
        "provenance",
        "maintenance",
        "volatility",
    ]


LIVE = replace(RUN, mode=Mode.LIVE)
REFUSALS: list[tuple[str, type, dict[str, Any]]] = [
    ("run_not_running", Held, {"run": replace(RUN, status=RunStatus.PAUSED)}),
    ("instrument_not_allowed", Paused, {"agent": replace(AGENT, allowed_instruments=())}),
    ("data_source_unavailable", Paused, {"sources": [replace(FRESH, status="stale")]}),
    ("data_integrity_block", Paused, {"verdict": WindowVerdict(blocks=("stale_candles",))}),
    ("kill_switch", Held, {"kill_reason": "operator"}),
    (
        "provenance_dataset_missing",
        Held,
        {"run": replace(LIVE, dataset_id=""), "enforce_provenance": True},
    ),
    ("exchange_maintenance", Paused, {"is_in_maintenance": True}),
    ("volatility_spike", Paused, {"window_move": 0.16}),
]


@pytest.mark.parametrize(("code", "outcome", "changes"), REFUSALS)
def test_each_gate_says_no_by_its_code(code: str, outcome: type, changes: dict[str, Any]) -> None:
    answer = asked(**changes)

    assert isinstance(answer, outcome)
    assert isinstance(answer, Held | Paused)
    assert answer.code == code
    assert [gate.code for gate in answer.gates if not gate.passed] == [code]
    assert answer.gates[-1].code == code


def test_a_source_that_a_policy_forbids_or_requires_pauses_by_its_code() -> None:
    needs = ("bingx_candles", "funding")
    funding = replace(FRESH, source_type="funding", interval="")
    forbids = replace(AGENT, source_policies={"funding": SourcePolicy.FORBIDDEN})
    requires = replace(AGENT, source_policies={"ticker": SourcePolicy.REQUIRED})

    forbidden = asked(agent=forbids, sources=[FRESH, funding], required_sources=needs)
    missing = asked(agent=requires)
    there = asked(
        agent=requires, sources=[FRESH, replace(FRESH, source_type="ticker", interval="")]
    )

    assert isinstance(forbidden, Paused)
    assert (forbidden.code, forbidden.gates[-1].detail) == ("source_not_allowed", "funding")
    assert isinstance(asked(agent=forbids), Admitted)  # features that do not look at it
    assert isinstance(missing, Paused)
    assert (missing.code, missing.gates[-1].detail) == ("data_source_unavailable", "ticker")
    assert isinstance(there, Admitted)


@given(
    st.sampled_from(RunStatus),
    st.sampled_from(["operator", "kill_switch", "max_drawdown", *runs.DATA_PAUSES]),
    st.sampled_from(PauseLift),
)
def test_only_a_pause_of_data_lifts_by_itself_and_only_by_the_rule_chosen(
    status: RunStatus, reason: str, lift: PauseLift
) -> None:
    run = replace(RUN, status=status, pause_reason=reason)

    lifts = runs.may_lift(run, replace(AGENT, data_pause_lift=lift))

    is_of_data = status is RunStatus.PAUSED and reason in runs.DATA_PAUSES
    assert lifts == (is_of_data and lift is PauseLift.AUTO)


@given(st.sets(st.integers(0, len(REFUSALS) - 1), min_size=1))
def test_the_first_gate_in_the_order_of_the_contract_speaks(chosen: set[int]) -> None:
    changes: dict[str, Any] = {}
    run = RUN
    for number in sorted(chosen):
        new = dict(REFUSALS[number][2])
        if "run" in new:
            given_run = new.pop("run")
            moved = {
                name: getattr(given_run, name)
                for name in ("status", "mode", "dataset_id")
                if getattr(given_run, name) != getattr(RUN, name)
            }
            run = replace(run, **moved)
        changes |= new

    answer = asked(run, **changes)

    assert isinstance(answer, Held | Paused)
    assert answer.code == REFUSALS[min(chosen)][0]


def test_what_only_holds_lets_the_run_go_on_and_what_blocks_comes_first() -> None:
    doubtful = asked(verdict=WindowVerdict(holds=("outlier_wick",)))
    both = asked(verdict=WindowVerdict(holds=("outlier_wick",), blocks=("stale_candles",)))

    assert isinstance(doubtful, Held)
    assert (doubtful.code, doubtful.gates[-1].gate) == ("outlier_wick", "integrity")
    assert isinstance(both, Paused)
    assert both.gates[-1].detail == "stale_candles"


def test_blocks_and_stale_sources_are_told_in_detail() -> None:
    broken = asked(verdict=WindowVerdict(blocks=("missing_candles", "open_gap_events")))
    stale = asked(sources=[replace(FRESH, status="unavailable")])

    assert broken.gates[-1].detail == "missing_candles, open_gap_events"
    assert stale.warnings == ("source_stale:bingx_candles",)


def test_warnings_of_the_data_go_along_with_an_admission() -> None:
    assert asked(verdict=WindowVerdict(warnings=("candles_unsorted",))).warnings == (
        "candles_unsorted",
    )


@pytest.mark.parametrize(
    ("sources", "passes"),
    [
        ([], False),
        ([replace(FRESH, enabled=False, status="stale")], True),
        ([replace(FRESH, pair="ETH-USDT")], False),
        ([replace(FRESH, interval="5m")], False),
        ([replace(FRESH, interval="", pair="")], True),
        ([FRESH, replace(FRESH, source_type="telegram", status="stale")], True),
        ([FRESH, replace(FRESH, pair="ETH-USDT", status="stale")], True),
    ],
)
def test_only_required_enabled_sources_of_the_run_count(
    sources: list[SourceStatus], passes: bool
) -> None:
    assert isinstance(asked(sources=sources), Admitted) is passes


def test_the_agents_own_kill_switch_counts_too() -> None:
    answer = asked(agent=replace(AGENT, kill_switch=True, kill_reason="drift"))

    assert isinstance(answer, Held)
    assert (answer.code, answer.gates[-1].detail) == ("kill_switch", "drift")


@pytest.mark.parametrize(
    ("changes", "available", "code"),
    [
        ({"dataset_id": ""}, True, "provenance_dataset_missing"),
        ({"feature_set_id": ""}, True, "provenance_feature_set_missing"),
        ({"version_id": ""}, True, "provenance_artifact_missing"),
        ({}, False, "provenance_artifact_unavailable"),
    ],
)
def test_live_runs_need_their_provenance_where_it_is_enforced(
    changes: dict[str, Any], available: bool, code: str
) -> None:
    run = replace(LIVE, **changes)
    facts: dict[str, Any] = {"provenance": Provenance(is_artifact_available=available)}

    strict = asked(run, enforce_provenance=True, **facts)

    assert isinstance(strict, Held)
    assert strict.code == code
    assert isinstance(asked(run, **facts), Admitted)
    assert isinstance(
        asked(replace(run, mode=Mode.PAPER), enforce_provenance=True, **facts), Admitted
    )


@pytest.mark.parametrize("move", [float("nan"), 0.1501])
def test_a_move_that_is_too_large_or_unknown_pauses(move: float) -> None:
    assert isinstance(asked(window_move=move), Paused)
    assert isinstance(asked(window_move=0.15), Admitted)


# --- the life of a run ------------------------------------------------------------------------

MOVES: dict[str, Callable[[Run], Run]] = {
    "start": runs.start,
    "pause": lambda run: runs.pause(run, "operator"),
    "resume": runs.resume,
    "stop": lambda run: runs.stop(run, now_ms=NOW + 1),
    "fail": lambda run: runs.fail(run, "ledger_mismatch", now_ms=NOW + 1),
}
S = RunStatus
LEGAL = {
    ("start", S.STARTING): S.RUNNING,
    ("start", S.RUNNING): S.RUNNING,
    ("pause", S.STARTING): S.PAUSED,
    ("pause", S.RUNNING): S.PAUSED,
    ("pause", S.PAUSED): S.PAUSED,
    ("resume", S.PAUSED): S.RUNNING,
    ("resume", S.RUNNING): S.RUNNING,
    ("stop", S.STARTING): S.STOPPED,
    ("stop", S.RUNNING): S.STOPPED,
    ("stop", S.PAUSED): S.STOPPED,
    ("stop", S.STOPPED): S.STOPPED,
    ("stop", S.FAILED): S.FAILED,
    ("fail", S.STARTING): S.FAILED,
    ("fail", S.RUNNING): S.FAILED,
    ("fail", S.PAUSED): S.FAILED,
    ("fail", S.FAILED): S.FAILED,
}


@pytest.mark.parametrize(("move", "status"), list(product(MOVES, S)))
def test_a_run_moves_only_as_it_may(move: str, status: RunStatus) -> None:
    run = replace(RUN, status=status)
    wanted = LEGAL.get((move, status))

    if wanted is None:
        with pytest.raises(IllegalTransition, match=f"{move} does not fit state {status}"):
            MOVES[move](run)
        return
    after = MOVES[move](run)

    assert after.status is wanted
    assert (after is run) == (wanted is status)


def test_a_pause_keeps_its_first_reason_and_a_resume_clears_it() -> None:
    paused = runs.pause(runs.pause(RUN, "data_integrity_block"), "operator")

    assert paused.pause_reason == "data_integrity_block"
    assert runs.resume(paused).pause_reason == ""


def test_an_ended_run_knows_when_and_why() -> None:
    failed = runs.fail(RUN, "illegal_transition", now_ms=NOW + 5)

    assert (failed.stopped_ms, failed.pause_reason) == (NOW + 5, "illegal_transition")
    assert runs.stop(RUN, now_ms=NOW + 6).stopped_ms == NOW + 6
