"""Death at every single point of a small run: whatever was half done is finished or left, never doubled."""

from collections.abc import Iterator

import pytest

from tests.dst.mix import CALM, Mix
from tests.dst.world import Outcome, Plan, play

SEED = 4
DECISIONS = 5
LOSSY = Mix(lost_reply=0.3, late_fill_row=0.5, visibility_s=1.0, venue_refuses_ids_twice=False)


def deaths(mix: Mix) -> Iterator[tuple[int, Outcome]]:
    """The run once for each of its crash points, dying exactly there."""
    points = play(SEED, mix=mix, plan=Plan(decisions=DECISIONS, crash_at=-1)).crash_points
    assert points > 60
    for at in range(points):
        yield at, play(SEED, mix=mix, plan=Plan(decisions=DECISIONS, crash_at=at))


@pytest.mark.catalogue("O01")
@pytest.mark.catalogue("O02")
@pytest.mark.catalogue("O03")
@pytest.mark.catalogue("O04")
@pytest.mark.catalogue("O05")
@pytest.mark.catalogue("R06")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mix", [CALM, LOSSY], ids=["calm", "lossy"])
def test_a_crash_at_any_point_loses_and_doubles_nothing(mix: Mix) -> None:
    seen = list(deaths(mix))

    assert [(at, outcome.breaches) for at, outcome in seen if outcome.breaches] == []
    assert all(outcome.crashes == 1 for _, outcome in seen)
