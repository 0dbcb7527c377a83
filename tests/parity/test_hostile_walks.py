"""Every execution of the fill rules agrees on tapes made to find the places where they would not."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desk.engines import executions
from desk.engines.executions import CASH, compare, compare_cases
from desk.errors import EvaluationFailed
from desk.evaluation.cases import Case, random_case
from desk.evaluation.parity import KERNEL, NAUTILUS, PAPER
from desk.evaluation.plan import Replay, replay
from tests.parity.engines import assert_kernel_agrees, assert_nautilus_agrees, assert_paper_agrees
from tests.parity.walks import cases

calm = settings(suppress_health_check=[HealthCheck.too_slow])


@settings(calm, max_examples=60)
@given(cases())
def test_nautilus_and_the_twin_agree(case: Case) -> None:
    assert_nautilus_agrees(case)


@settings(calm, max_examples=200)
@given(cases())
def test_the_kernel_and_the_twin_agree(case: Case) -> None:
    assert_kernel_agrees(case)


@settings(calm, max_examples=40)
@given(cases(at_the_venue=True), st.sets(st.integers(0, 60), max_size=10))
def test_the_paper_venue_and_the_twin_agree(case: Case, killed_on: set[int]) -> None:
    assert_paper_agrees(case, killed_on=sorted(killed_on))


@settings(calm, max_examples=25)
@given(cases(at_the_venue=True))
def test_all_four_agree_on_one_plan(case: Case) -> None:
    twins = [
        check(case) for check in (assert_nautilus_agrees, assert_kernel_agrees, assert_paper_agrees)
    ]

    assert twins[0] == twins[1] == twins[2]


@pytest.mark.parametrize("hundred", range(10))
def test_a_thousand_generated_cases_agree(hundred: int) -> None:
    found = list(compare_cases(100, first_seed=100 * hundred, engines=(KERNEL, NAUTILUS)))

    assert [one for one in found if not one.holds] == []
    assert len(found) == 200
    assert sum(one.fills for one in found) > 2_000
    assert sum(one.funding_amounts for one in found) >= 50


@pytest.mark.parametrize(
    "fifty",
    [*range(2), *(pytest.param(n, marks=pytest.mark.nightly) for n in range(2, 20))],
)
def test_the_paper_venue_agrees_on_generated_cases_with_exits(fifty: int) -> None:
    found = list(compare_cases(50, first_seed=50 * fifty, engines=(PAPER,)))

    assert [one for one in found if not one.holds] == []
    assert sum(one.fills for one in found) > 500


def test_the_generated_cases_hold_every_trap() -> None:
    met: Counter[str] = Counter()
    for seed in range(60):
        case = random_case(seed)
        met.update(traps_of(case, replay(case.market, case.plan, CASH)))

    expected = {
        *("stop", "take_profit", "liquidation", "gap", "hole", "touch", "both exits"),
        *("funding", "flip", "resize", "adaptive", "fixed", "exit on the quote"),
    }
    assert {name for name in expected if met[name] < 5} == set()


def traps_of(case: Case, done: Replay) -> list[str]:
    """What an execution may trip over in a case."""
    tape, plan = case.market.tape, case.plan
    found = [fill.cause.value for fill in done.fills] + [case.market.spec.path.value]
    found += ["funding"] * len(done.funding)
    found += ["gap"] * int((tape.open[1:] != tape.close[:-1]).sum())
    found += ["hole"] * int((tape.open_ms[1:] > tape.close_ms[:-1]).sum())
    held = 0
    for fill, following in pairwise(done.fills):
        found += ["exit on the quote"] * (not fill.order_id and fill.filled_ms % 60_000 == 1_000)
        found += ["resize"] * (held * fill.lots > 0)
        is_one_turn = fill.order_id and following.order_id and fill.filled_ms == following.filled_ms
        found += ["flip"] * bool(is_one_turn and fill.lots * following.lots > 0)
        held += fill.lots
    for row, after in pairwise(range(len(plan))):
        stop, take = sorted((int(plan.stop_ticks[row]), int(plan.take_ticks[row])))
        low, high = int(tape.low[after]), int(tape.high[after])
        found += ["both exits"] * (stop > 0 and low <= stop < take <= high)
        found += ["touch"] * (low in {stop, take} or high in {stop, take})
    return found


def test_an_execution_that_breaks_counts_as_a_mismatch(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Replay:
        raise EvaluationFailed("planted")

    monkeypatch.setattr(executions, "EXECUTIONS", {KERNEL: broken})

    [agreement] = compare(random_case(3), KERNEL, name="case 3")

    assert not agreement.holds
    assert agreement.first_mismatch == "case 3: planted"
