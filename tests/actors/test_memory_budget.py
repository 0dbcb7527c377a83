"""The memory budget of a learning process: what grows is refused there, and nowhere else."""

import resource
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.engines.memory_budget import FRACTION, budget_bytes
from tests.processes import said_by

GROWS = """
from desk.engines import learning_process, memory_budget

memory_budget.budget_bytes = lambda *_: 1 << 27
with_parts = learning_process.as_learner(lambda: "parts")
try:
    bytearray(1 << 28)
except MemoryError:
    print("refused", with_parts)
"""


@given(st.integers(1 << 20, 1 << 45), st.integers(1 << 20, 1 << 45))
def test_the_budget_is_a_part_of_the_smaller_of_machine_and_container(
    machine_bytes: int, limit: int
) -> None:
    unlimited, limited = (
        budget_bytes(machine_bytes, "max\n"),
        budget_bytes(machine_bytes, f"{limit}\n"),
    )

    assert unlimited == budget_bytes(machine_bytes, "") == int(FRACTION * machine_bytes)
    assert limited == int(FRACTION * min(limit, machine_bytes))


@pytest.mark.catalogue("I16")
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is on private data only there")
def test_I16_a_process_beyond_its_budget_is_refused_and_the_others_are_not() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)

    said = said_by(GROWS)

    assert said.split() == ["refused", "parts"]
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert len(bytearray(1 << 28)) == 1 << 28
