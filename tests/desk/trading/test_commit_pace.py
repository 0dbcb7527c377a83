"""When the store is too slow to trade on."""

from hypothesis import given
from hypothesis import strategies as st

from desk.trading.commit_pace import LEAST_SLOW, MOST_P99_MS, WINDOW_S, CommitPace

FAST = st.floats(0, MOST_P99_MS)
SLOW = st.floats(MOST_P99_MS, 60_000, exclude_min=True)


def pace_of(spent_ms: list[float], *, at_s: float = 0.0) -> CommitPace:
    pace = CommitPace()
    for each in spent_ms:
        pace.took(each, now_s=at_s)
    return pace


@given(fast=st.lists(FAST, max_size=400), slow=st.lists(SLOW, max_size=LEAST_SLOW - 1))
def test_a_few_busy_moments_are_no_slow_disk(fast: list[float], slow: list[float]):
    assert pace_of([*slow, *fast]).slow_p99_ms(now_s=1.0) is None


@given(fast=st.lists(FAST, max_size=100), slow=st.lists(SLOW, min_size=LEAST_SLOW, max_size=20))
def test_more_than_one_commit_in_a_hundred_is_a_slow_disk(fast: list[float], slow: list[float]):
    found = pace_of([*fast, *slow]).slow_p99_ms(now_s=1.0)

    assert found is not None
    assert MOST_P99_MS < found <= max(slow)


def test_one_slow_commit_in_a_hundred_is_allowed():
    assert pace_of([1.0] * 400 + [900.0] * 4).slow_p99_ms(now_s=1.0) is None
    assert pace_of([1.0] * 400 + [900.0] * 5).slow_p99_ms(now_s=1.0) == 900.0


@given(slow=st.lists(SLOW, min_size=LEAST_SLOW, max_size=20))
def test_a_disk_that_is_fast_again_is_forgiven_after_a_minute(slow: list[float]):
    pace = pace_of(slow)

    assert pace.slow_p99_ms(now_s=WINDOW_S) is not None
    assert pace.slow_p99_ms(now_s=WINDOW_S + 0.1) is None
