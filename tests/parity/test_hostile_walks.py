"""Every execution of the fill rules agrees on tapes made to find the places where they would not."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desk.evaluation.cases import Case
from tests.parity.engines import assert_kernel_agrees, assert_nautilus_agrees, assert_paper_agrees
from tests.parity.walks import cases

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


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
