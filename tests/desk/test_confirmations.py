"""Confirm tokens: what gives a right, and everything that does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import confirmations
from desk.confirmations import LIFE_MS, Confirmation
from desk.errors import BadInput

ASKED = {"pair": "BTC-USDT", "mode": "live"}
ISSUED_MS = 1_800_000_000_000
TOKEN = confirmations.token_of("k1", "s3cret")


def issued() -> Confirmation:
    return confirmations.issue("k1", "s3cret", "start", ASKED, now_ms=ISSUED_MS)


def use(
    row: Confirmation | None,
    *,
    token: str = TOKEN,
    action: str = "start",
    asked: dict[str, str] | None = None,
    by: str = "tr1",
    after_ms: int = 0,
) -> Confirmation:
    return confirmations.used(
        row, token, action, ASKED if asked is None else asked, by=by, now_ms=ISSUED_MS + after_ms
    )


def refusal(row: Confirmation | None, **given_: object) -> str:
    with pytest.raises(BadInput) as refused:
        use(row, **given_)  # pyright: ignore[reportArgumentType]
    assert refused.value.field == "confirm_token"
    assert "POST /ops/preflight" in refused.value.problem
    return refused.value.problem


def test_a_token_is_used_once_and_by_the_same_request_again() -> None:
    row = use(issued(), after_ms=LIFE_MS - 1)

    assert row.used_by == "tr1"
    assert use(row) == row
    assert "used before" in refusal(row, by="tr2")


def test_a_token_lasts_a_minute_also_for_the_request_that_used_it() -> None:
    row = use(issued())

    assert "expired" in refusal(issued(), after_ms=LIFE_MS)
    assert "expired" in refusal(row, after_ms=LIFE_MS)


@pytest.mark.parametrize("after_ms", [-1, -LIFE_MS])
def test_a_clock_that_went_back_makes_no_token_last_longer(after_ms: int) -> None:
    assert "expired" in refusal(issued(), after_ms=after_ms)


def test_the_row_keeps_no_secret() -> None:
    assert "s3cret" not in repr(issued())


@pytest.mark.parametrize("token", ["k1.other", "k1.s3cret ", "k1.s3cre", "k1.S3CRET", "k1.é"])
def test_another_secret_gives_no_right(token: str) -> None:
    assert "not issued" in refusal(issued(), token=token)


def test_a_token_that_is_not_stored_gives_no_right() -> None:
    assert "not issued" in refusal(None)


@pytest.mark.parametrize("token", ["", "k1", "k1.", ".s3cret", "."])
def test_a_text_that_is_no_token_is_refused_by_name(token: str) -> None:
    with pytest.raises(BadInput) as refused:
        confirmations.id_of(token)

    assert refused.value.field == "confirm_token"
    assert "POST /ops/preflight" in refused.value.problem


@given(
    action=st.sampled_from(["start", "risk_limits"]),
    asked=st.dictionaries(st.sampled_from(["pair", "mode", "limit"]), st.text(max_size=4)),
)
def test_a_token_gives_a_right_to_exactly_what_was_asked(
    action: str, asked: dict[str, str]
) -> None:
    row = confirmations.issue("k1", "s3cret", action, asked, now_ms=ISSUED_MS)

    assert use(row, action=action, asked=dict(reversed(asked.items()))).used_by == "tr1"
    for other in ({**asked, "pair": asked.get("pair", "") + "x"}, {**asked, "more": ""}):
        assert "another request" in refusal(row, action=action, asked=other)
    assert "another request" in refusal(row, action=action + "x", asked=asked)
