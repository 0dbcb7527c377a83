"""What is made of one number and of a column of numbers is the same, to the bit."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.market import shapes
from desk.market.columns import write
from desk.market.indicators import INDICATORS
from desk.market.shapes import Shape

SHAPES: list[Shape] = [
    shape for name, shape in vars(shapes).items() if inspect.isfunction(shape) and name != "per"
]
CLIP = 5.0

numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 50.0, 100.0, -100.0, 1e-320, 1e300, -1e300, np.inf, np.nan]),
    st.floats(width=64, allow_nan=False),
    st.floats(-200.0, 200.0),
)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@given(rows=st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=40))
def test_a_column_has_the_bits_of_its_numbers(
    shape: Shape, rows: list[tuple[float, float, float, float]]
) -> None:
    taken = [name for name in inspect.signature(shape).parameters if name != "per"]
    factor = 3.7 if "factor" in taken else None
    count = len([name for name in taken if name not in ("_per", "factor")])
    of = [np.array(column) for column in zip(*rows, strict=True)][:count]
    extra = () if factor is None else (factor,)
    found = np.empty(len(rows), dtype=np.float32)

    write(shape, of, factor, CLIP, found)

    with np.errstate(over="ignore"):
        alone = [np.float32(shape(shapes.per, *row[:count], *extra)) for row in rows]
    wanted = np.clip(np.array(alone, dtype=np.float32), -CLIP, CLIP)
    is_number = ~np.isnan(wanted)
    assert np.isnan(found).tolist() == (~is_number).tolist()
    assert found[is_number].tobytes() == wanted[is_number].tobytes()


def test_every_shape_is_some_indicators() -> None:
    plans = [known.plan(*range(3, 3 + len(known.meaning))) for known in INDICATORS.values()]

    assert {plan.shape for plan in plans} == set(SHAPES)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, np.inf])
def test_nothing_is_divided_by_nothing(value: float) -> None:
    assert shapes.per(value, 0.0) == shapes.per(value, -0.0) == 0.0
