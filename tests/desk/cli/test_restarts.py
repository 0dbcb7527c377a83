"""How often a part of the desk is started again: through a bad quarter of an hour, and not for ever."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.cli.restarts import DEATHS, GIVE_UP_S, LONGEST_PAUSE_S, WINDOW_S, Restarts, StartFailed

TURN_S = 0.5


class Part:
    """Takes its time to start, and fails so many starts in a row."""

    def __init__(self, fails: int, takes_s: float, spend: Callable[[float], None]) -> None:
        self.left, self.takes_s, self.spend = fails, takes_s, spend
        self.starts, self.is_up = 0, False

    def start(self) -> None:
        self.starts += 1
        self.spend(self.takes_s)
        if self.left:
            self.left -= 1
            raise StartFailed("ray was not ready")
        self.is_up = True


@given(st.integers(0, 200), st.floats(0, 120))
def test_a_start_that_fails_is_tried_again_at_growing_pauses_until_it_is_given_up(
    fails: int, takes_s: float
) -> None:
    now_s = 0.0

    def spend(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    told: list[str] = []
    part = Part(fails, takes_s, spend)
    restarts = Restarts(told.append, lambda: now_s)

    while not part.is_up:
        before, gave_up = part.starts, ""
        try:
            restarts.again("ray", part.start, "ray.log")
        except StartFailed as failed:
            gave_up = str(failed)
        assert part.starts - before <= 1
        if gave_up:
            assert "not ready" in gave_up
            tried_for_s = now_s - takes_s
            assert GIVE_UP_S <= tried_for_s <= GIVE_UP_S + LONGEST_PAUSE_S + takes_s + TURN_S
            break
        spend(TURN_S)

    assert part.is_up == (part.left == 0 and part.starts == fails + 1)
    assert sum("ended and is started again" in text for text in told) == 1


def test_while_a_pause_lasts_nothing_is_started_and_others_are() -> None:
    now_s = 0.0
    restarts = Restarts(lambda _text: None, lambda: now_s)
    ray = Part(1, 0.0, lambda _seconds: None)
    other = Part(0, 0.0, lambda _seconds: None)

    restarts.again("ray", ray.start, "ray.log")
    assert not restarts.is_due("ray")
    restarts.again("ray", ray.start, "ray.log")
    restarts.again("simulator", other.start, "simulator.log")
    assert (ray.starts, other.starts) == (1, 1)

    now_s = 1.0
    assert restarts.is_due("ray")
    restarts.again("ray", ray.start, "ray.log")
    assert (ray.starts, restarts.is_due("ray")) == (2, False)


@given(st.lists(st.floats(0, WINDOW_S / 2), min_size=1, max_size=30))
def test_what_dies_more_often_within_a_minute_than_it_may_is_given_up(gaps: list[float]) -> None:
    now_s, deaths = 0.0, list[float]()
    restarts = Restarts(lambda _text: None, lambda: now_s)

    for gap_s in gaps:
        now_s += gap_s
        deaths = [at_s for at_s in [*deaths, now_s] if at_s >= now_s - WINDOW_S]
        if len(deaths) > DEATHS:
            with pytest.raises(StartFailed, match=r"ray died .* times .*ray\.log"):
                restarts.again("ray", lambda: None, "ray.log")
            return
        restarts.again("ray", lambda: None, "ray.log")
        restarts.again(f"part at {now_s}", lambda: None, "part.log")  # has deaths of its own
