"""Rows survive their way through JSON."""

import math
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.store import kinds
from desk.store.codec import from_json, to_json
from desk.store.port import Kind
from desk.trading.ledger import Ledger, Position
from desk.trading.orders import Leg, Order, OrderState, Side

decimals = st.decimals(allow_nan=False, allow_infinity=False, places=None)
texts = st.text(max_size=12)
orders = st.builds(
    Order,
    client_order_id=texts,
    account=texts,
    run_id=texts,
    decision_id=texts,
    trade_id=texts,
    pair=st.just("BTC-USDT"),
    leg=st.sampled_from(Leg),
    side=st.sampled_from(Side),
    quantity=decimals,
    reduce_only=st.booleans(),
    reference_price=decimals,
    decided_open_ms=st.integers(0, 2**53),
    created_ms=st.integers(0, 2**53),
    trace_id=texts,
    limit_price=st.none() | decimals,
    state=st.sampled_from(OrderState),
    reserved_quote=decimals,
    reason=texts,
    version=st.integers(0, 2**31),
)


@given(order=orders)
def test_an_order_comes_back_with_every_digit(order: Order):
    back = from_json(Order, to_json(Order, order))

    assert back == order
    for each in fields(Order):
        was, is_now = getattr(order, each.name), getattr(back, each.name)
        assert type(is_now) is type(was)
        assert str(is_now) == str(was)


@given(quantity=decimals, mark=decimals)
def test_nested_rows_and_mappings_come_back(quantity: Decimal, mark: Decimal):
    position = Position(
        pair="BTC-USDT",
        quantity=quantity,
        average_price=mark,
        trade_id="t",
        run_id="r",
        opened_ms=1,
    )
    ledger = Ledger(
        account="paper",
        starting_cash=mark,
        cash=quantity,
        positions={"BTC-USDT": position},
        marks={"BTC-USDT": mark},
    )

    assert from_json(Ledger, to_json(Ledger, ledger)) == ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    value: float
    series: tuple[float, ...] = ()
    anything: Any = None


@given(value=st.floats(allow_nan=False), series=st.lists(st.floats(allow_nan=False)))
def test_floats_come_back_bit_for_bit(value: float, series: list[float]):
    figures = Figures(value=value, series=tuple(series), anything={"x": value})

    assert from_json(Figures, to_json(Figures, figures)) == figures


def test_a_value_that_is_no_number_comes_back_as_such():
    back = from_json(Figures, to_json(Figures, Figures(value=math.nan, anything=[math.inf])))

    assert math.isnan(back.value)
    assert back.anything == [math.inf]


def test_a_newer_writers_field_is_ignored_and_an_older_ones_absence_filled_in():
    assert from_json(Figures, b'{"value": 1.5, "added_later": {"a": 1}}') == Figures(value=1.5)


def test_a_row_that_lacks_a_field_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="value"):
        from_json(Figures, b'{"series": []}')


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(kinds).values() if isinstance(kind, Kind)],
    ids=lambda kind: kind.name,
)
def test_every_kind_of_document_can_be_stored(kind: Kind[Any]):
    with pytest.raises(ValueError, match="Input should be"):
        from_json(kind.type, b"[]")


def test_kinds_have_names_of_their_own():
    names = [kind.name for kind in vars(kinds).values() if isinstance(kind, Kind)]

    assert len(names) == len(set(names))
    assert kinds.decisions_of_run("r1").name not in names
