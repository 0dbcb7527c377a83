"""The gateway: who signed, when, and with what."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bingx_sim.signing import decoded, signature_of

BALANCE = "swap/v3/user/balance"


def test_a_signed_request_is_served_and_shows_no_secret(venue: Any) -> None:
    _, body = venue.call("GET", BALANCE, {"note": "ü &=+ %"})

    (entry,) = venue.sim.journal()
    assert body["code"] == 0
    assert entry["params"]["note"] == "ü &=+ %"
    assert entry["params"]["signature"] == "***"
    assert "signature=***" in entry["raw_query"]
    assert "sim-secret" not in str(entry)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"secret": "wrong"}, 100001),
        ({"secret": None}, 100001),
        ({"key": "unknown"}, 100413),
        ({"key": None}, 100413),
        ({"stamp": None}, 100421),
        ({"stamp": 1}, 100421),
    ],
)
def test_a_request_signed_wrongly_is_refused(venue: Any, change: dict[str, Any], code: int) -> None:
    status, body = venue.call("GET", BALANCE, **change)

    assert (status, body["code"]) == (200, code)


@pytest.mark.parametrize(
    ("age_ms", "window", "code"),
    [(4_000, None, 0), (6_000, None, 100421), (1_500, 1_000, 100421), (6_000, 60_000, 100421)],
)
def test_the_receive_window_bounds_the_age_and_can_only_shrink(
    venue: Any, age_ms: int, window: int | None, code: int
) -> None:
    params = {} if window is None else {"recvWindow": window}
    stamp = int(time.time() * 1000) - age_ms

    _, body = venue.call("GET", BALANCE, params, stamp=stamp)

    assert body["code"] == code


def test_timestamps_are_judged_by_the_server_clock_not_the_market(venue: Any) -> None:
    venue.sim.clock(server_offset_ms=30_000)

    _, skewed = venue.call("GET", BALANCE)
    _, told = venue.call("GET", "swap/v2/server/time", key=None, secret=None)
    _, synced = venue.call("GET", BALANCE, stamp=told["data"]["serverTime"])

    assert (skewed["code"], synced["code"]) == (100421, 0)


def test_an_unknown_path_is_a_business_error(venue: Any) -> None:
    assert venue.call("GET", "swap/v9/nothing")[1]["code"] == 100400
    assert venue.call("POST", BALANCE)[1]["code"] == 100400


def test_accounts_do_not_see_each_other(
    start_simulator: Callable[..., Any], venue_of: Callable[..., Any]
) -> None:
    venue = venue_of(start_simulator(account=["k1:s1:500", "k2:s2:750.5"]))

    _, first = venue.call("GET", BALANCE, key="k1", secret="s1")
    _, second = venue.call("GET", BALANCE, key="k2", secret="s2")
    _, crossed = venue.call("GET", BALANCE, key="k1", secret="s2")

    assert first["data"][0]["balance"] == "500.0000"
    assert second["data"][0]["balance"] == "750.5000"
    assert crossed["code"] == 100001


@given(st.dictionaries(st.text(min_size=1).filter(lambda k: k != "signature"), st.text()))
def test_any_text_can_be_signed(params: dict[str, str]) -> None:
    from urllib.parse import urlencode

    pairs = decoded(urlencode(params) + "&signature=abc")

    expected = signature_of(list(params.items()), "secret")
    assert signature_of(pairs, "secret") == expected
