"""The fill specification, rule by rule, on candles small enough to check by hand."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.market.candles import Candle
from desk.trading.fills import (
    Book,
    Due,
    Exits,
    FillCause,
    FillSpec,
    LotOrder,
    PathOrder,
    TickCandle,
    advance,
    apply_fill,
    commission,
    funding_amount,
    liquidation_ticks,
    quote_ticks,
    tick_candle,
)
from desk.trading.instruments import Instrument
from desk.trading.intents import legs

MINUTE = 60_000
OPEN = 28_800_000
INSTRUMENT = Instrument(
    pair="BTC-USDT",
    tick=Decimal("0.1"),
    lot=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=20,
)
SPEC = FillSpec(slippage_bps=Decimal(0))


def orders(held: int, target: int) -> list[LotOrder]:
    return [
        LotOrder(order_id=f"o{n}", lots=lots, reduce_only=reduce)
        for n, (lots, reduce) in enumerate(legs(held, target))
    ]


def held(lots: int, price_ticks: int = 1000, exits: Exits | None = None) -> Book:
    book, _ = apply_fill(Book(cash=Decimal(100)), lots, price_ticks, Decimal(0), INSTRUMENT)
    return replace(book, exits=exits, settled_open_ms=OPEN - MINUTE)


def candle(open_: int, high: int, low: int, close: int) -> TickCandle:
    return TickCandle(OPEN, open_, high, low, close)


def test_a_buy_pays_the_ask_and_a_sell_gets_the_bid_rounded_against_the_trader() -> None:
    spec = FillSpec(slippage_bps=Decimal("1.5"))

    bid, ask = quote_ticks(1001, spec)

    assert (bid, ask) == (1000, 1002)
    assert quote_ticks(400_000, spec) == (399_940, 400_060)


@given(st.integers(1, 10**9), st.decimals(0, 50, places=2))
def test_a_quote_never_flatters_and_is_less_than_a_tick_off(ticks: int, bps: Decimal) -> None:
    bid, ask = quote_ticks(ticks, FillSpec(slippage_bps=bps))

    assert 0 <= ticks * (1 - bps / 10_000) - bid < 1
    assert 0 <= ask - ticks * (1 + bps / 10_000) < 1


def test_commission_is_rounded_half_even_at_eight_decimals() -> None:
    assert commission(Decimal("0.00000001"), Decimal("0.5"), Decimal(1)) == 0
    assert commission(Decimal("0.00000003"), Decimal("0.5"), Decimal(1)) == Decimal("0.00000002")


def test_an_order_fills_at_the_next_open_one_second_after_it() -> None:
    book, fills, _ = advance(
        Book(cash=Decimal(100)), orders(0, 3), candle(1000, 1010, 990, 1005), [],
        spec=SPEC, instrument=INSTRUMENT,
    )  # fmt: skip

    assert [(f.order_id, f.lots, f.price_ticks, f.filled_ms) for f in fills] == [
        ("o0", 3, 1000, OPEN + 1000)
    ]
    assert fills[0].fee == Decimal("0.00015")
    assert book.lots == 3
    assert book.cash == Decimal("99.99985")
    assert book.equity(1005, INSTRUMENT) == book.cash + Decimal("0.0015")


def test_a_flip_closes_the_whole_position_first_and_opens_anew() -> None:
    book, fills, _ = advance(
        held(4), orders(4, -2), candle(1010, 1010, 1010, 1010), [], spec=SPEC, instrument=INSTRUMENT
    )

    assert [(f.lots, f.realized_pnl) for f in fills] == [(-4, Decimal("0.0040")), (-2, 0)]
    assert book.lots == -2
    assert book.average_price(INSTRUMENT) == Decimal(101)


def test_a_reduce_only_order_with_nothing_to_reduce_gets_no_fill() -> None:
    close = LotOrder(order_id="x", lots=-5, reduce_only=True)
    quiet = candle(1000, 1000, 1000, 1000)

    _, flat, _ = advance(Book(), [close], quiet, [], spec=SPEC, instrument=INSTRUMENT)
    _, short, _ = advance(held(-2), [close], quiet, [], spec=SPEC, instrument=INSTRUMENT)
    book, trimmed, _ = advance(held(2), [close], quiet, [], spec=SPEC, instrument=INSTRUMENT)

    assert flat == short == []
    assert [f.lots for f in trimmed] == [-2]
    assert book.lots == 0


def test_a_candle_already_settled_changes_nothing() -> None:
    once, _, _ = advance(
        Book(), orders(0, 1), candle(1000, 1001, 999, 1000), [], spec=SPEC, instrument=INSTRUMENT
    )

    again, fills, funding = advance(
        once, orders(1, 0), candle(1000, 1001, 999, 1000), [], spec=SPEC, instrument=INSTRUMENT
    )

    assert again == once
    assert fills == funding == []


def test_a_due_at_the_open_is_paid_by_the_position_before_the_order_of_that_close() -> None:
    due = Due(due_ms=OPEN, mark_ticks=1000, rate=Decimal("0.0001"))
    quiet = candle(1000, 1000, 1000, 1000)

    _, _, opened = advance(Book(), orders(0, 9), quiet, [due], spec=SPEC, instrument=INSTRUMENT)
    book, _, closed = advance(held(9), orders(9, 0), quiet, [due], spec=SPEC, instrument=INSTRUMENT)

    assert opened == []
    assert [payment.amount for payment in closed] == [Decimal("-0.00009")]
    assert book.cash == Decimal(100) - Decimal("0.00009") - Decimal("0.00045")


def test_a_due_inside_a_long_candle_is_paid_by_what_its_quote_left() -> None:
    spec = replace(SPEC, interval="12h")
    due = Due(due_ms=OPEN + 4 * 3_600_000, mark_ticks=1000, rate=Decimal("-0.0001"))

    _, _, funding = advance(
        Book(),
        orders(0, 9),
        candle(1000, 1000, 1000, 1000),
        [due],
        spec=spec,
        instrument=INSTRUMENT,
    )

    assert [payment.amount for payment in funding] == [Decimal("0.00009")]


def test_a_due_without_a_rate_is_recorded_and_moves_no_cash() -> None:
    due = Due(due_ms=OPEN, mark_ticks=1000, rate=None)

    book, _, funding = advance(
        held(9), [], candle(1000, 1000, 1000, 1000), [due], spec=SPEC, instrument=INSTRUMENT
    )

    assert book.cash == 100
    assert [(payment.lots, payment.amount) for payment in funding] == [(9, 0)]


def test_a_short_is_paid_a_positive_rate() -> None:
    assert funding_amount(-10, 1000, Decimal("0.0001"), INSTRUMENT) == Decimal("0.0001")


@pytest.mark.parametrize(
    ("bar", "price", "at_ms"),
    [
        (candle(970, 1000, 960, 990), 970, OPEN + 1000),  # the gap is met at the quote
        (candle(1000, 1001, 975, 990), 980, OPEN + MINUTE),
        (candle(1000, 1040, 980, 1000), 980, OPEN + MINUTE),  # touched exactly; low is nearer
    ],
)
def test_a_stop_fills_at_its_trigger_or_where_the_gap_left_the_market(
    bar: TickCandle, price: int, at_ms: int
) -> None:
    exits = Exits(target_lots=5, stop_ticks=980, take_ticks=1040)

    book, fills, _ = advance(held(5, exits=exits), [], bar, [], spec=SPEC, instrument=INSTRUMENT)

    assert [(f.cause, f.lots, f.price_ticks, f.filled_ms) for f in fills] == [
        (FillCause.STOP, -5, price, at_ms)
    ]
    assert book.lots == 0
    assert book.exits is None


def test_the_nearer_extreme_is_visited_first_unless_the_path_is_fixed() -> None:
    exits = Exits(target_lots=5, stop_ticks=980, take_ticks=1040)
    bar = candle(1000, 1050, 975, 1000)

    _, adaptive, _ = advance(held(5, exits=exits), [], bar, [], spec=SPEC, instrument=INSTRUMENT)
    _, fixed, _ = advance(
        held(5, exits=exits), [], bar, [],
        spec=replace(SPEC, path=PathOrder.FIXED), instrument=INSTRUMENT,
    )  # fmt: skip

    assert [f.cause for f in adaptive] == [FillCause.STOP]
    assert [(f.cause, f.price_ticks, f.is_maker) for f in fixed] == [
        (FillCause.TAKE_PROFIT, 1040, True)
    ]


def test_new_exits_meet_the_quote_and_a_marketable_take_profit_is_taker_there() -> None:
    exits = Exits(target_lots=5, stop_ticks=900, take_ticks=990)

    book, fills, _ = advance(
        Book(), orders(0, 5), candle(1000, 1000, 1000, 1000), [],
        spec=SPEC, instrument=INSTRUMENT, exits=exits,
    )  # fmt: skip

    assert [(f.cause, f.price_ticks, f.is_maker) for f in fills] == [
        (FillCause.ORDER, 1000, False),
        (FillCause.TAKE_PROFIT, 1000, False),
    ]
    assert book.lots == 0


def test_an_exit_on_the_quote_comes_before_the_orders_of_the_decision() -> None:
    resting = Exits(target_lots=5, stop_ticks=980)
    wanted = Exits(target_lots=8, stop_ticks=950, take_ticks=1000)

    book, fills, _ = advance(
        held(5, exits=resting), orders(5, 8), candle(970, 970, 970, 970), [],
        spec=SPEC, instrument=INSTRUMENT, exits=wanted,
    )  # fmt: skip

    assert [(f.cause, f.lots) for f in fills] == [(FillCause.STOP, -5), (FillCause.ORDER, 3)]
    assert book.lots == 3
    assert book.exits == replace(wanted, is_trimmed=True)


def test_a_liquidation_at_its_level_loses_exactly_the_margin() -> None:
    spec = replace(SPEC, maintenance_rate=Decimal("0.0045"))
    level = liquidation_ticks(Decimal(100), 1000, 10, spec, INSTRUMENT)
    exits = Exits(target_lots=1000, stop_ticks=level, is_liquidation=True)

    book, fills, _ = advance(
        held(1000, exits=exits), [], candle(1000, 1000, 1, 1), [], spec=spec, instrument=INSTRUMENT
    )

    assert level == 905  # 100 · 0.9 / 0.995 = 90.452…, toward the market
    assert [f.cause for f in fills] == [FillCause.LIQUIDATION]
    assert abs((100 - book.cash) - 10) < Decimal("0.06")


def test_scaling_out_releases_cost_in_proportion() -> None:
    bought, _ = apply_fill(Book(), 2, 1000, Decimal(0), INSTRUMENT)
    averaged, _ = apply_fill(bought, 1, 1030, Decimal(0), INSTRUMENT)

    book, realized = apply_fill(averaged, -1, 1040, Decimal(0), INSTRUMENT)

    assert averaged.average_price(INSTRUMENT) == Decimal(101)
    assert realized == Decimal("0.003")
    assert book.cost == Decimal("0.202")


@given(
    st.lists(
        st.tuples(st.integers(-50, 50).filter(bool), st.integers(900, 1100)),
        min_size=1,
        max_size=30,
    )
)
def test_money_is_conserved_whatever_the_fills(trades: list[tuple[int, int]]) -> None:
    book, spent = Book(), Decimal(0)
    for lots, ticks in trades:
        fee = commission(abs(lots) * INSTRUMENT.lot, ticks * INSTRUMENT.tick, SPEC.taker_rate)
        book, _ = apply_fill(book, lots, ticks, fee, INSTRUMENT)
        spent += lots * INSTRUMENT.lot * ticks * INSTRUMENT.tick + fee

    assert book.cash - book.cost == -spent
    assert book.lots == sum(lots for lots, _ in trades)


def test_a_candle_without_a_price_is_refused() -> None:
    with pytest.raises(BadInput, match="below one tick"):
        tick_candle(Candle(OPEN, 0.0, 1.0, 0.0, 1.0, 1.0), INSTRUMENT)


def test_the_spec_id_moves_with_every_number() -> None:
    ids = {
        SPEC.spec_id,
        replace(SPEC, slippage_bps=Decimal(1)).spec_id,
        replace(SPEC, version=2).spec_id,
        replace(SPEC, interval="5m").spec_id,
        replace(SPEC, path=PathOrder.FIXED).spec_id,
        replace(SPEC, taker_rate=Decimal("0.0004")).spec_id,
    }

    assert len(ids) == 6
    assert replace(SPEC, taker_rate=Decimal("0.00050")).spec_id == SPEC.spec_id


def test_slippage_finer_than_the_specification_is_refused() -> None:
    with pytest.raises(BadInput, match="multiples"):
        FillSpec(slippage_bps=Decimal("0.001"))
