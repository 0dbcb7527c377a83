"""Turns at the venue: spaced, in order of urgency, fair, and never lost to a taker that died."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desk.store.memory import MemoryStore
from desk.store.port import Store
from desk.venues.turns import Urgency

NOW_MS = 1_700_000_040_000.0
SPACING_MS = 1_000.0
ADDRESS, LANE = "venue", "venue:klines"
URGENT, IDLE = Urgency.NEWEST, Urgency.BACKFILL


def ask(store: Store, taker: str, at_ms: float = 0.0, *, priority: int = URGENT) -> float:
    return store.ask_turn(
        ADDRESS, LANE, taker, priority=priority, spacing_ms=SPACING_MS, now_ms=NOW_MS + at_ms
    )


def served(store: Store, priorities: dict[str, int], *, turns: int) -> list[tuple[float, str]]:
    """Takers that want turn after turn and come back when they were told to; who got them, when."""
    due = dict.fromkeys(priorities, 0.0)
    got: list[tuple[float, str]] = []
    while len(got) < turns:
        taker = min(due, key=lambda name: (due[name], name))
        wait_ms = ask(store, taker, due[taker], priority=priorities[taker])
        if not wait_ms:
            got.append((due[taker], taker))
        due[taker] += max(wait_ms, 0.25)
    return got


def test_the_first_turn_is_free_and_the_next_comes_one_spacing_later(any_store):
    assert ask(any_store, "a") == 0.0
    assert ask(any_store, "b", 10) == pytest.approx(990.0)
    assert ask(any_store, "b", 1_000) == 0.0


def test_a_lane_of_its_own_does_not_wait_for_another_one(any_store):
    assert ask(any_store, "a") == 0.0

    other = any_store.ask_turn(
        ADDRESS, "venue:depth", "a", priority=0, spacing_ms=SPACING_MS, now_ms=NOW_MS
    )
    assert other == 0.0


def test_turns_of_many_takers_lie_a_spacing_apart_and_everybody_gets_as_many(any_store):
    got = served(any_store, dict.fromkeys("abcde", URGENT), turns=50)

    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(got)]
    assert min(gaps) >= 0.95 * SPACING_MS - 0.1
    assert got[-1][0] >= 49 * SPACING_MS - SPACING_MS
    assert set(Counter(taker for _, taker in got).values()) == {10}


def test_what_is_urgent_overtakes_what_waits_already(any_store):
    ask(any_store, "first")
    assert ask(any_store, "backfill", 1, priority=IDLE) == pytest.approx(999.0)
    assert ask(any_store, "newest", 2, priority=URGENT) == pytest.approx(998.0)

    assert ask(any_store, "backfill", 1_000, priority=IDLE) == pytest.approx(SPACING_MS)
    assert ask(any_store, "newest", 1_000) == 0.0
    assert ask(any_store, "backfill", 2_000, priority=IDLE) == 0.0


def test_what_is_not_urgent_takes_what_the_others_leave(any_store):
    got = served(any_store, {"backfill": IDLE}, turns=5)
    assert [taker for _, taker in got] == ["backfill"] * 5


def test_a_taker_that_was_killed_while_it_waited_holds_nobody_up(any_store):
    ask(any_store, "a")
    ask(any_store, "killed", 1)  # told to come back at 1,000, and never does

    wait_ms, at_ms, asked = ask(any_store, "b", 2), 2.0, 0
    while wait_ms:
        at_ms, asked = at_ms + wait_ms, asked + 1
        assert asked < 10
        wait_ms = ask(any_store, "b", at_ms)
    assert at_ms <= 1_000 + 2_000 + 2 * SPACING_MS


def test_who_leaves_the_queue_makes_room(any_store):
    ask(any_store, "a")
    ask(any_store, "b", 1)
    assert ask(any_store, "c", 2) == pytest.approx(998.0 + SPACING_MS)

    any_store.leave_turns(LANE, "b")
    any_store.leave_turns(LANE, "b")

    assert ask(any_store, "c", 3) == pytest.approx(997.0)


def test_a_complaint_of_the_venue_slows_every_lane_of_the_address_for_a_while(any_store):
    any_store.hinder_turns(ADDRESS, slow_ms=5_000, now_ms=NOW_MS)

    assert ask(any_store, "a") == 0.0
    assert ask(any_store, "b", 0) == pytest.approx(2 * SPACING_MS)
    assert ask(any_store, "b", 6_000) == 0.0
    assert ask(any_store, "c", 6_000) == pytest.approx(SPACING_MS)


def test_a_budget_that_is_used_up_stops_every_turn_until_it_is_renewed(any_store):
    any_store.hinder_turns(ADDRESS, hold_ms=4_000, now_ms=NOW_MS)
    any_store.hinder_turns(ADDRESS, hold_ms=1_000, now_ms=NOW_MS)  # a shorter one changes nothing

    assert ask(any_store, "a") == pytest.approx(4_000)
    assert ask(any_store, "a", 4_000) == 0.0


def test_a_clock_that_was_put_back_stops_nobody(any_store):
    assert ask(any_store, "a", 3_600_000) == 0.0
    any_store.hinder_turns(ADDRESS, hold_ms=50_000, now_ms=NOW_MS + 3_600_000)

    assert ask(any_store, "a", 0) == 0.0


def test_without_a_time_of_the_caller_the_store_s_own_clock_counts(any_store):
    assert any_store.ask_turn(ADDRESS, LANE, "a", priority=0, spacing_ms=60_000.0) == 0.0
    assert 0.0 < any_store.ask_turn(ADDRESS, LANE, "b", priority=0, spacing_ms=60_000.0) <= 60_000.0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "leave", "slow", "hold"]),
        st.sampled_from("abcd"),
        st.integers(0, 3),
        st.integers(0, 3_000),
    ),
    max_size=40,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_both_stores_give_the_same_turns(steps, store):
    store.connection.money.flushdb()
    twins: list[Store] = [MemoryStore(), store]
    now_ms = NOW_MS
    for what, taker, priority, later_ms in steps:
        now_ms += later_ms
        answers: list[float] = []
        for each in twins:
            if what == "ask":
                answers.append(
                    each.ask_turn(
                        ADDRESS, LANE, taker, priority=priority, spacing_ms=700.0, now_ms=now_ms
                    )
                )
            elif what == "leave":
                each.leave_turns(LANE, taker)
            else:
                spans = {"slow_ms": 900.0} if what == "slow" else {"hold_ms": 900.0}
                each.hinder_turns(ADDRESS, now_ms=now_ms, **spans)
        assert answers == [] or answers[0] == pytest.approx(answers[1], abs=0.2)
