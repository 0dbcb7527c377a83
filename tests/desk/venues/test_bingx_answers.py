"""The guard: only a documented answer is read, everything else names what it was."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import ProtocolError
from desk.venues.bingx_answers import Row, Success, guard, http_refusal
from desk.venues.bingx_errors import Refusal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "''"),
        ("<html><body>502 Bad Gateway</body></html>" * 2, "a text of 82 characters"),
        (None, "null"),
        ([], "a list of 0"),
        ({}, "an object with the keys []"),
        ({"listenKey": "a"}, "['listenKey']"),
        ({"code": None, "data": []}, "code was null"),
        ({"code": True, "data": []}, "code was True"),
        ({"code": "zero", "data": []}, "code was 'zero'"),
        ({"code": "0.0", "data": []}, "code was '0.0'"),
    ],
)
def test_body_without_a_readable_envelope_is_refused_with_what_it_was(
    body: object, said: str
) -> None:
    with pytest.raises(ProtocolError) as refused:
        guard("a call", body)

    assert said in str(refused.value)
    assert "a call" in str(refused.value)


@pytest.mark.parametrize("code", [0, "0"])
def test_code_zero_may_be_a_number_or_a_text(code: object) -> None:
    assert guard("a call", {"code": code, "msg": "", "data": [1]}) == Success(
        call="a call", data=[1]
    )


@pytest.mark.parametrize("code", [101204, "101204"])
def test_refusal_code_may_be_a_number_or_a_text(code: object) -> None:
    answer = guard("a call", {"code": code, "msg": "Insufficient margin", "data": {}})

    assert answer == Refusal(
        call="a call", http_status=200, code=101204, message="Insufficient margin"
    )


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ('{"code":100410,"msg":"slow"}', 100410, "slow"),
        ("<html>", None, "<html>"),
        ("[1]", None, "[1]"),
        ("", None, ""),
    ],
)
def test_error_page_is_read_for_the_code_it_may_carry(
    body: str, code: int | None, message: str
) -> None:
    assert http_refusal("a call", 429, body) == Refusal(
        call="a call", http_status=429, code=code, message=message
    )


@pytest.mark.parametrize("data", [None, {}, "", 0, "[]", {"orders": []}, [None], [[]], ["x"]])
def test_wrong_data_is_never_an_empty_list(data: object) -> None:
    with pytest.raises(ProtocolError, match="data"):
        Success(call="a call", data=data).rows()


@pytest.mark.parametrize("data", [None, [], {}, {"orders": None}, {"orders": {}}, {"orders": ""}])
def test_wrong_nested_data_is_never_an_empty_list(data: object) -> None:
    with pytest.raises(ProtocolError, match="data"):
        Success(call="a call", data=data).rows("orders")


def test_field_error_names_the_place_the_value_and_the_expectation() -> None:
    rows = Success(call="a call", data={"orders": [{"a": 1}, {"a": "x"}]}).rows("orders")

    with pytest.raises(ProtocolError) as wrong:
        rows[1].decimal("a")
    with pytest.raises(ProtocolError) as absent:
        rows[0].decimal("b")

    assert str(wrong.value) == "a call: data.orders[1].a was 'x', expected a number"
    assert str(absent.value) == "a call: data.orders[0].b was absent, expected a finite number"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "", None, True, [], {}, "1,5"])
def test_number_that_is_not_finite_is_refused(value: object) -> None:
    with pytest.raises(ProtocolError, match=r"row\.a was"):
        Row("a call", "row", {"a": value}).decimal("a")


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_number_sent_as_text_is_read_exactly(value: Decimal) -> None:
    assert Row("a call", "row", {"a": str(value)}).decimal("a") == value


@given(st.integers(min_value=-(10**18), max_value=10**18))
def test_whole_number_is_read_from_number_and_text(value: int) -> None:
    assert Row("a call", "row", {"a": value}).integer("a") == value
    assert Row("a call", "row", {"a": str(value)}).integer("a") == value


def test_id_beyond_a_float_stays_exact() -> None:
    row = Row("a call", "row", {"orderId": 1_736_012_449_498_123_457})

    assert row.text("orderId", "orderID") == "1736012449498123457"


@given(JSON)
def test_any_json_body_is_an_answer_or_a_protocol_error(body: object) -> None:
    try:
        answer = guard("a call", body)
    except ProtocolError:
        return
    assert isinstance(body, dict)
    assert isinstance(answer, Success) == (str(body["code"]) in ("0", "-0"))


@given(JSON)
def test_any_data_gives_rows_or_a_protocol_error(data: object) -> None:
    try:
        rows = Success(call="a call", data=data).rows()
    except ProtocolError:
        return
    assert isinstance(data, list)
    assert [row.fields for row in rows] == data
