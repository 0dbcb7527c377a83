"""How often a part of the desk is started again: through a bad minute, and not for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.cli.restarts import DEATHS, TRIES, WINDOW_S, Restarts, StartFailed


class Part:
    """Fails so many starts in a row."""

    def __init__(self, fails: int) -> None:
        self.left, self.starts = fails, 0

    def start(self) -> None:
        self.starts += 1
        if self.left:
            self.left -= 1
            raise StartFailed("ray was not ready")


@given(st.integers(0, 2 * TRIES))
def test_a_start_that_fails_is_tried_again_and_the_last_failure_ends_it(fails: int) -> None:
    told: list[str] = []
    part = Part(fails)
    restarts = Restarts(told.append, lambda: 0.0)

    if fails < TRIES:
        restarts.again("ray", part.start, "ray.log")
    else:
        with pytest.raises(StartFailed, match="not ready"):
            restarts.again("ray", part.start, "ray.log")

    assert part.starts == min(fails + 1, TRIES)
    assert len(told) == 1 + min(fails, TRIES - 1)


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
