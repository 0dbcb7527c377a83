"""The shapes over whole columns, compiled: each value is read, shaped, clipped and cast in one pass.

numba takes a second to be imported: only whoever computes history does.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desk.market import shapes
from desk.market.candles import Floats
from desk.market.compiled import compiled as compiled_of
from desk.market.shapes import Shape

type Features = NDArray[np.float32]

_compiled = partial(compiled_of, of=("market",))

_per: Any = _compiled(shapes.per)
_raw: Any = _compiled(shapes.raw)
_hundredth: Any = _compiled(shapes.hundredth)
_around_50: Any = _compiled(shapes.around_50)
_around_minus_50: Any = _compiled(shapes.around_minus_50)
_saturated: Any = _compiled(shapes.saturated)
_balance: Any = _compiled(shapes.balance)
_distance: Any = _compiled(shapes.distance)
_in_ranges: Any = _compiled(shapes.in_ranges)
_in_multiples: Any = _compiled(shapes.in_multiples)
_band_position: Any = _compiled(shapes.band_position)
_band_width: Any = _compiled(shapes.band_width)

_RAW, _HUNDREDTH, _AROUND_50, _AROUND_MINUS_50, _SATURATED = range(5)
_BALANCE, _DISTANCE, _IN_RANGES, _IN_MULTIPLES, _BAND_POSITION, _BAND_WIDTH = range(5, 11)

_FORMS: dict[Shape, int] = {
    shapes.raw: _RAW,
    shapes.hundredth: _HUNDREDTH,
    shapes.around_50: _AROUND_50,
    shapes.around_minus_50: _AROUND_MINUS_50,
    shapes.saturated: _SATURATED,
    shapes.balance: _BALANCE,
    shapes.distance: _DISTANCE,
    shapes.in_ranges: _IN_RANGES,
    shapes.in_multiples: _IN_MULTIPLES,
    shapes.band_position: _BAND_POSITION,
    shapes.band_width: _BAND_WIDTH,
}
"""What `_fill` knows each shape by."""


def write(
    shape: Shape, of: Sequence[Floats], factor: float | None, clip: float, out: Features
) -> None:
    """Write a shape's values to float32[R], within ±clip; NaN stays.

    `of` has the close and the outputs that the shape takes, float64[R] each.
    """
    # Columns that the shape does not take are not read: any will do.
    close, a, b, c = [*of, of[0], of[0]][:4]
    _fill(_FORMS[shape], close, a, b, c, factor or 0.0, np.float32(clip), out)


@_compiled
def _within(value: Any, clip: Any) -> Any:
    """As float32 within ±clip; NaN stays."""
    small = np.float32(value)
    if small > clip:
        return clip
    if small < -clip:
        return -clip
    return small


@_compiled
def _fill(  # noqa: PLR0912, PLR0917 - one loop per shape, each compiled as it stands
    form: int, close: Any, a: Any, b: Any, c: Any, factor: float, clip: np.float32, out: Any
) -> None:
    if form == _RAW:
        for row in range(out.size):
            out[row] = _within(_raw(_per, close[row], a[row]), clip)
    elif form == _HUNDREDTH:
        for row in range(out.size):
            out[row] = _within(_hundredth(_per, close[row], a[row]), clip)
    elif form == _AROUND_50:
        for row in range(out.size):
            out[row] = _within(_around_50(_per, close[row], a[row]), clip)
    elif form == _AROUND_MINUS_50:
        for row in range(out.size):
            out[row] = _within(_around_minus_50(_per, close[row], a[row]), clip)
    elif form == _SATURATED:
        for row in range(out.size):
            out[row] = _within(_saturated(_per, close[row], a[row]), clip)
    elif form == _BALANCE:
        for row in range(out.size):
            out[row] = _within(_balance(_per, close[row], a[row], b[row]), clip)
    elif form == _DISTANCE:
        for row in range(out.size):
            out[row] = _within(_distance(_per, close[row], a[row], b[row]), clip)
    elif form == _IN_RANGES:
        for row in range(out.size):
            out[row] = _within(_in_ranges(_per, close[row], a[row], b[row]), clip)
    elif form == _IN_MULTIPLES:
        for row in range(out.size):
            out[row] = _within(_in_multiples(_per, close[row], a[row], b[row], factor), clip)
    elif form == _BAND_POSITION:
        for row in range(out.size):
            out[row] = _within(_band_position(_per, close[row], a[row], b[row]), clip)
    elif form == _BAND_WIDTH:
        for row in range(out.size):
            out[row] = _within(_band_width(_per, close[row], a[row], b[row], c[row]), clip)
