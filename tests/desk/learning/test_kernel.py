"""Compiled sizing is the sizing of intents, number for number."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from desk.learning import kernel
from desk.trading.instruments import Instrument
from desk.trading.intents import target_lots


@given(
    target=st.sampled_from([-1.0, -0.5, 0.0, 0.3, 1.0]),
    size_quote=st.floats(0.5, 100.0),
    price_ticks=st.integers(1, 1_000),
    held_lots=st.integers(-200, 200),
    steps=st.sampled_from([("0.1", "0.01"), ("0.01", "1"), ("0.5", "0.1")]),
)
def test_compiled_lots_are_those_of_intents(
    target: float, size_quote: float, price_ticks: int, held_lots: int, steps: tuple[str, str]
) -> None:
    tick, lot = steps
    instrument = Instrument(
        pair="BTC-USDT",
        tick=Decimal(tick),
        lot=Decimal(lot),
        min_quantity=Decimal(lot) * 3,
        min_notional=Decimal(5),
        maker_rate=Decimal(0),
        taker_rate=Decimal(0),
        max_leverage=20,
    )

    expected = target_lots(
        target,
        size_quote=size_quote,
        price_ticks=price_ticks,
        held_lots=held_lots,
        instrument=instrument,
    )

    unit = float(instrument.tick) * float(instrument.lot)
    found = kernel._lots_to_hold(target, size_quote, price_ticks, held_lots, unit, 3, 5.0)
    assert found == expected
