"""Learning windows look at nothing too early, and a cycle makes only the steps there are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.clock import MINUTE_MS
from desk.errors import BadInput, IllegalTransition
from desk.learning.cycles import (
    ENDED,
    MOVES,
    NOT_BETTER,
    WORSE_LATER,
    CycleStatus,
    LearningCycle,
    LearningWindow,
    Rollout,
    ShadowDecision,
    agreement,
    beaten,
    beaten_later,
    moved,
    next_step,
    plan_cycle,
)
from desk.market.interval import interval_ms

NOW_MS = 1_700_000_040_000


def make_cycle(**changes: Any) -> LearningCycle:
    fields: dict[str, Any] = {
        "cycle_id": "cyc1",
        "agent_id": "desk",
        "run_id": "run1",
        "pair": "BTC-USDT",
        "interval": "1m",
        "feature_set_id": "fs",
        "window": LearningWindow(),
        "plan": plan_cycle(LearningWindow(), NOW_MS, "1m"),
        "champion_id": "v1",
        "status": CycleStatus.PLANNED,
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }
    return LearningCycle(**fields | changes)


windows = st.builds(
    LearningWindow,
    train_window_min=st.integers(30, 20_000),
    evaluation_window_min=st.integers(1, 5_000),
    evaluation_lag_min=st.integers(1, 1_000),
)


@given(windows, st.integers(10**12, 2 * 10**12), st.sampled_from(["1m", "3m", "5m", "15m", "1h"]))
def test_no_window_looks_ahead_and_none_reaches_into_another(
    window: LearningWindow, now_ms: int, interval: str
) -> None:
    step = interval_ms(interval)

    plan = plan_cycle(window, now_ms, interval)

    lag_ms = plan.evaluation_start_ms - plan.train_end_ms
    assert plan.train_start_ms < plan.train_end_ms
    assert lag_ms >= window.evaluation_lag_min * MINUTE_MS > 0
    assert plan.evaluation_start_ms < plan.evaluation_end_ms <= now_ms
    assert now_ms - plan.evaluation_end_ms < step
    for got_ms, minutes in (
        (plan.train_end_ms - plan.train_start_ms, window.train_window_min),
        (plan.evaluation_end_ms - plan.evaluation_start_ms, window.evaluation_window_min),
    ):
        assert minutes * MINUTE_MS <= got_ms < minutes * MINUTE_MS + step
    for field in plan.__slots__:
        assert getattr(plan, field) % step == 0


@given(windows, st.integers(10**12, 2 * 10**12), st.integers(1, 10**9))
def test_a_later_cycle_trains_on_nothing_that_an_earlier_one_was_judged_on_before_its_time(
    window: LearningWindow, now_ms: int, later_ms: int
) -> None:
    early, late = (plan_cycle(window, at_ms, "1m") for at_ms in (now_ms, now_ms + later_ms))

    assert early.train_end_ms <= late.train_end_ms < late.evaluation_start_ms
    assert early.evaluation_end_ms <= late.evaluation_end_ms


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train_window_min", 0),
        ("train_window_min", 29),
        ("evaluation_window_min", 0),
        ("evaluation_lag_min", 0),
        ("every_min", 0),
        ("window_size", 1),
        ("stride", 0),
        ("timesteps", 0),
        ("decision_threshold", 1.1),
        ("decision_threshold", float("nan")),
        ("canary_fraction", 0.0),
        ("canary_fraction", 1.5),
    ],
)
def test_a_window_that_cannot_be_names_the_field(field: str, value: float) -> None:
    with pytest.raises(BadInput, match=field):
        LearningWindow(**{field: value})  # pyright: ignore[reportArgumentType] - one of its fields


@pytest.mark.parametrize("to", CycleStatus)
@pytest.mark.parametrize("status", CycleStatus)
def test_a_cycle_makes_only_the_steps_there_are(status: CycleStatus, to: CycleStatus) -> None:
    cycle = make_cycle(status=status)

    if to in MOVES[status]:
        after = moved(cycle, to, now_ms=NOW_MS + 5)
        assert (after.status, after.updated_ms) == (to, NOW_MS + 5)
        assert after.ended_ms == (NOW_MS + 5 if to in ENDED else None)
    else:
        with pytest.raises(IllegalTransition):
            moved(cycle, to, now_ms=NOW_MS + 5)


def test_every_way_through_a_cycle_ends() -> None:
    def longest(status: CycleStatus) -> int:
        return 1 + max((longest(to) for to in MOVES[status]), default=0)

    assert longest(CycleStatus.PLANNED) == 6
    assert {status for status in CycleStatus if not MOVES[status]} == ENDED


@pytest.mark.parametrize(
    ("rollout", "auto", "step"),
    [
        (Rollout.SHADOW, True, "shadow"),
        (Rollout.SHADOW, False, "shadow"),
        (Rollout.CANARY, True, "canary"),
        (Rollout.CANARY, False, "ready"),
        (Rollout.FULL, True, "promoted"),
        (Rollout.FULL, False, "ready"),
    ],
)
def test_nothing_trades_by_itself_unless_it_rolls_forward_by_itself(
    rollout: Rollout, auto: bool, step: str
) -> None:
    assert next_step(LearningWindow(rollout=rollout, auto_roll_forward=auto)) == step


def test_a_challenger_must_earn_more_than_the_champion_and_later_as_much() -> None:
    assert (beaten(1.0, 0.5), beaten(0.5, 0.5), beaten(-5.0, None)) == ((), (NOT_BETTER,), ())
    assert (beaten_later(0.5, 0.5), beaten_later(0.4, 0.5)) == ((), (WORSE_LATER,))
    assert beaten(float("nan"), 0.0) == (NOT_BETTER,)
    assert beaten_later(float("nan"), 0.0) == (WORSE_LATER,)


def test_agreement_counts_sides() -> None:
    def decision(target: float, champion: float) -> ShadowDecision:
        return ShadowDecision(
            decision_id="d",
            cycle_id="cyc1",
            version_id="v2",
            pair="BTC-USDT",
            open_ms=0,
            target=target,
            confidence=0.5,
            held=False,
            reason="",
            champion_target=champion,
            reference_price="1",
        )

    assert agreement([]) is None
    assert agreement([decision(0.5, 1.0), decision(-1.0, 0.0)]) == 0.5
