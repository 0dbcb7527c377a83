"""Names that are pure functions of what they name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import ids
from desk.errors import BadInput

TEXT = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


@given(TEXT, TEXT, TEXT, st.sampled_from(["entry", "exit"]))
def test_a_client_order_id_is_what_the_venue_takes(
    account: str, run: str, decision: str, leg: str
) -> None:
    cid = ids.client_order_id(account, run, decision, leg)

    assert re.fullmatch(r"t1[a-z2-7]{24}", cid)
    assert ids.is_ours(cid)
    assert ids.is_ours(cid.upper())
    assert cid == ids.client_order_id(account, run, decision, leg)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=20, unique=True))
def test_different_decisions_have_different_ids(decisions: list[tuple[str, str]]) -> None:
    made = {ids.client_order_id("paper", run, decision, "entry") for run, decision in decisions}

    assert len(made) == len(decisions)


def test_the_scheme_of_client_order_ids_is_pinned() -> None:
    """A change would let an order be sent twice across an upgrade."""
    assert ids.client_order_id("paper", "r1", "d1", "entry") == "t1" + ("s72nobcjsgkdpiqm4az5gtdh")


def test_regression_6_the_same_candle_is_the_same_decision() -> None:
    first = ids.decision_id("r1", "BTC-USDT", "1m", 1_700_000_040_000)

    assert first == ids.decision_id("r1", "BTC-USDT", "1m", 1_700_000_040_000)
    assert first != ids.decision_id("r1", "BTC-USDT", "1m", 1_700_000_100_000)
    assert first != ids.decision_id("r2", "BTC-USDT", "1m", 1_700_000_040_000)


@pytest.mark.parametrize("foreign", ["", "x-abc", "t1short", "t2" + "a" * 24, "t1" + "a" * 25])
def test_other_ids_are_foreign(foreign: str) -> None:
    assert not ids.is_ours(foreign)


def test_trace_and_request_ids_are_stable_and_apart() -> None:
    assert ids.trace_id("candle", 1) == ids.trace_id("candle", "1")
    assert ids.trace_id("candle", 1)[2:] == ids.request_id("candle", 1)[2:]
    assert (ids.trace_id("a")[:2], ids.request_id("a")[:2]) == ("tr", "rq")


@pytest.mark.parametrize("text", ["BTC-USDT", " btc-usdt ", "1000PEPE-USDT"])
def test_a_pair_is_read_in_any_case(text: str) -> None:
    assert ids.parse_pair(text) == text.strip().upper()


@pytest.mark.parametrize("text", ["", "BTC", "BTC/USDT:USDT", "BTC-USD", "BTC-USDT\n-X", "../etc"])
def test_anything_else_is_not_a_pair(text: str) -> None:
    with pytest.raises(BadInput, match="BTC-USDT"):
        ids.parse_pair(text)
