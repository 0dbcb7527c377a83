"""However decisions, fills, marks, edits and restarts fall between each other, no limit is passed."""

import pytest

from tests.desk.trading.limit_world import LimitWorld

STEPS = 60
SCHEDULES, NIGHTLY_SCHEDULES = 4_000, 20_000


def play(schedules: range) -> dict[str, int]:
    """Play these schedules; returns how often what happened, so that none of it is vacuous."""
    sums = {"approved": 0, "refused": 0, "read_again": 0}
    for seed in schedules:
        world = LimitWorld(seed)
        world.run(STEPS)
        assert not world.breaches, f"schedule {seed}: {world.breaches}"
        for name in sums:
            sums[name] += getattr(world, name)
    return sums


@pytest.mark.catalogue("R01")
def test_no_interleaving_of_decisions_fills_marks_edits_and_restarts_passes_a_limit() -> None:
    happened = play(range(SCHEDULES))

    assert all(count > SCHEDULES for count in happened.values()), happened


@pytest.mark.nightly
@pytest.mark.catalogue("R01")
def test_no_interleaving_of_twenty_thousand_passes_a_limit() -> None:
    play(range(SCHEDULES, SCHEDULES + NIGHTLY_SCHEDULES))


@pytest.mark.parametrize("limit", ["max_position_size", "max_open_positions", "max_daily_loss"])
def test_the_judge_sees_a_desk_that_commits_on_what_it_read_before(limit: str) -> None:
    def is_seen(seed: int) -> bool:
        world = LimitWorld(seed, is_careless=True)
        world.run(STEPS)
        return f"{limit} was passed" in world.breaches

    assert any(is_seen(seed) for seed in range(300))
