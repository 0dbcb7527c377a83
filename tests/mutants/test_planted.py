"""The planted faults still fit the code they are planted in."""

from pathlib import Path

import pytest

from tests.mutants.planted import PAIRS, PLANTED, SHIELDS, Mutant

ROOT = Path(__file__).parents[2]
BY_NAME = {mutant.name: mutant for mutant in PLANTED}


@pytest.mark.parametrize("mutant", [*PLANTED, *SHIELDS.values()], ids=lambda one: one.breaks)
def test_a_planted_fault_has_exactly_one_place(mutant: Mutant) -> None:
    assert (ROOT / mutant.path).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old


def test_at_least_forty_faults_are_planted_each_under_a_name_of_its_own() -> None:
    assert len(PLANTED) >= 40
    assert len(BY_NAME) == len(PLANTED)


def test_pairs_are_made_of_what_there_is() -> None:
    assert {name for name, _ in PAIRS} <= set(BY_NAME)
    assert {shield for _, shield in PAIRS} <= set(SHIELDS)
