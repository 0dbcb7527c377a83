"""Pairs and the pollers that read them."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from desk.market.poller_places import place_of, places

PAIRS = st.lists(
    st.integers(0, 999).map(lambda number: f"P{number}-USDT"), min_size=1, max_size=300, unique=True
)


@given(PAIRS, st.integers(1, 80))
def test_every_pair_has_exactly_one_poller_and_none_has_two_more_than_another(
    pairs: list[str], most: int
) -> None:
    found = places(pairs, most)

    assert Counter(pair for held in found.values() for pair in held) == Counter(pairs)
    assert len(found) == min(len(pairs), most)
    sizes = [len(held) for held in found.values()]
    assert max(sizes) - min(sizes) <= 1
    assert all(pair in found[place_of(pair, pairs, most)] for pair in pairs)


@given(PAIRS, st.integers(0, 50))
def test_while_there_are_few_each_pair_has_a_poller_of_its_own_name(
    pairs: list[str], room: int
) -> None:
    assert places(pairs, len(pairs) + room) == {pair: (pair,) for pair in pairs}


def test_a_pair_that_is_not_polled_is_looked_for_under_its_own_name() -> None:
    assert place_of("X-USDT", ["A-USDT", "B-USDT"], 1) == "X-USDT"
