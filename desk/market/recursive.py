"""TA-Lib indicators over one stretch of candles, all rows at once or candle by candle: the same bytes.

Both begin at the stretch's first candle. TA-Lib's batch functions and its streaming handles agree bit
for bit then, and so does the arithmetic around them (see `indicators`).
"""

import inspect
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache, partial
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desk.market.anchors import Stretch
from desk.market.bars import Bars, BarsOf, Inputs
from desk.market.candles import Candle, Candles, Floats
from desk.market.feature_rules import RULES, Feature
from desk.market.indicators import INDICATORS, Call, Plan
from desk.market.rolling import Rows
from desk.market.shapes import per

type Features = NDArray[np.float32]
type Block = np.ndarray[tuple[int, int], np.dtype[np.float32]]

_COLUMNS = ("open", "high", "low", "close", "volume", "filled")
_CLOSE = _COLUMNS.index("close")
type _Asked = tuple[str, Inputs, tuple[float, ...]]
"""A call without what is done with its outputs: two rules that agree in it share it."""


def load() -> None:
    """Import TA-Lib now, which takes half a second, and not with the first call."""
    _batch("EMA")


def plan_of(feature: Feature) -> Plan:
    """What a feature of an indicator computes. Raises KeyError for a rule that is none."""
    return INDICATORS[feature.rule].plan(*feature.windows)


def warm_up_of(feature: Feature) -> int:
    """Candles before a row that the feature needs, however bars lie: its anchor's least `warm_up`."""
    bars = max(_lookback(call) for call in plan_of(feature).calls)
    return (bars + 2) * feature.bars - 2


def _lookback(call: Call) -> int:
    from talib import abstract  # noqa: PLC0415 - see `_batch`

    made_by_name: Any = abstract
    function = made_by_name.Function(call.function)
    function.parameters = dict(zip(function.parameters, call.parameters, strict=False))
    return int(function.lookback) + call.ago


# --- all rows of a stretch ----------------------------------------------------------------------


class Blocks:
    """The columns of features over one stretch after another."""

    def __init__(self, features: Sequence[Feature], clip: float) -> None:
        self._clip = clip
        self._windowed = [(n, one) for n, one in enumerate(features) if one.rule in RULES]
        planned = [
            (n, one, plan_of(one)) for n, one in enumerate(features) if one.rule not in RULES
        ]
        self._planned = [
            (column, one.bars, plan, [((one.bars, _asked(call)), call) for call in plan.calls])
            for column, one, plan in planned
        ]
        last_use = {key: column for column, _, _, calls in self._planned for key, _ in calls}
        self._done_after = [
            [key for key, last in last_use.items() if last == column]
            for column in range(len(features))
        ]

    def fill(self, stretch: Stretch, block: Block) -> None:
        """Write float32[F, R] of the rows from `first_row` on, filled-in candles included, within ±clip.

        Each feature's rows lie side by side: TA-Lib's columns are shaped and cast into their place
        while they are in the processor's cache.
        """
        if self._windowed:
            windows = Rows(stretch.candles, stretch.first_row + 1)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                for column, feature in self._windowed:
                    row = block[column]
                    row[:] = RULES[feature.rule](windows, feature.windows)
                    # After the cast, which keeps the order of values and is exact at the ends.
                    np.clip(row, -self._clip, self._clip, out=row)
        if self._planned:
            self._set_indicators(stretch, block)

    def _set_indicators(self, stretch: Stretch, block: Block) -> None:
        from desk.market import columns  # noqa: PLC0415 - see there

        bars, made = BarsOf(stretch), dict[tuple[int, _Asked], tuple[Floats, ...]]()
        for column, size, plan, calls in self._planned:
            own = bars[size]
            first = stretch.first_row if size == 1 else 0
            of = [own.close[first:]]
            for key, call in calls:
                if key not in made:
                    made[key] = _called(key[1], own)
                values = made[key][call.output]
                of.append(_changed(values, call.ago, first) if call.ago else values[first:])
            row = block[column] if size == 1 else np.empty(len(own.close), dtype=np.float32)
            columns.write(plan.shape, of, plan.factor, self._clip, row)
            if size > 1:
                block[column] = row[own.newest]
            del of
            for key in self._done_after[column]:
                del made[key]  # its memory is the next call's, while it is in the cache


def _changed(values: Floats, ago: int, first: int) -> Floats:
    """What changed in `ago` bars, of every bar from `first` on; NaN where there were not so many."""
    if first >= ago:
        return values[first:] - values[first - ago : len(values) - ago]
    changed = np.full(len(values), np.nan)
    changed[ago:] = values[ago:] - values[:-ago]
    return changed[first:]


def _called(asked: _Asked, bars: Bars) -> tuple[Floats, ...]:
    function, inputs, parameters = asked
    made = _batch(function)(*bars.columns(inputs), *parameters)
    return made if isinstance(made, tuple) else (made,)


@cache
def _batch(function: str) -> Callable[..., Floats | tuple[Floats, ...]]:
    import talib  # noqa: PLC0415 - brings pandas along, which takes half a second

    # Without the wrapper that looks for columns of pandas and polars.
    return inspect.unwrap(getattr(talib, function))


def _asked(call: Call) -> _Asked:
    return call.function, call.inputs, call.parameters


# --- candle by candle ---------------------------------------------------------------------------

type Bar = tuple[float, float, float, float, float, float]
"""Open, high, low, close, volume, and the fraction of it that was filled in."""


class Handles:
    """The columns of features at the newest candle of a stretch, carried on candle by candle.

    Holds TA-Lib's streaming handles: it cannot be pickled, and is opened anew from stored candles
    after a restart.
    """

    def __init__(self, features: Sequence[Feature], stretch: Stretch, clip: float) -> None:
        """Open at the end of a stretch, which has a row with features there."""
        self._clip = clip
        self._slot = stretch.first_slot + len(stretch.candles) - 1
        self._values = [0.0] * len(features)
        self._windowed = [(n, one) for n, one in enumerate(features) if one.rule in RULES]
        self._reach = stretch.first_row + 1
        self._tail = [stretch.candles.take(slice(-self._reach, None))] if self._windowed else []
        bars = BarsOf(stretch)
        planned = [(n, one) for n, one in enumerate(features) if one.rule not in RULES]
        self._groups = [
            _Group([(n, plan_of(one)) for n, one in planned if one.bars == size], bars[size])
            for size in dict.fromkeys(one.bars for _, one in planned)
        ]
        for group in self._groups:
            group.begin(bars[1], stretch.first_slot, self._values)

    def push(self, candle: Candle, *, filled: float = 0.0) -> None:
        """Go on to the candle of the next slot, a finite one. Not to be used after an error."""
        self._slot += 1
        if self._windowed:
            self._tail.append(Candles.of([candle]))
        bar = (*candle[1:], filled)
        for group in self._groups:
            group.push(self._slot, bar, self._values)

    def fill(self, close: float, step_ms: int) -> None:
        """Go on over one slot without a candle."""
        open_ms = (self._slot + 1) * step_ms
        self.push(Candle(open_ms, close, close, close, close, 0.0), filled=1.0)

    def row(self) -> Features:
        """float32[F] of the newest candle."""
        if self._windowed:
            tail = Candles.concat(self._tail).take(slice(-self._reach, None))
            self._tail = [tail]
            windows = Rows(tail, self._reach)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                for place, feature in self._windowed:
                    self._values[place] = float(RULES[feature.rule](windows, feature.windows)[0])
        values = np.array(self._values, dtype=np.float32)
        np.minimum(values, self._clip, out=values)
        return np.maximum(values, -self._clip, out=values)


class _Group:
    """The handles of one size of bar, and the columns made of their values."""

    def __init__(self, planned: Sequence[tuple[int, Plan]], bars: Bars) -> None:
        self._size = bars.size
        self._bar: list[float] | None = None
        self._rings: list[tuple[int, deque[float]]] = []
        asked = dict.fromkeys(_asked(call) for _, plan in planned for call in plan.calls)
        opened = {one: _opened(one, bars) for one in asked}
        outs: list[float] = [float(bars.close[-1])]
        places: dict[_Asked, int] = {}
        self._updates: list[tuple[Callable[[Bar], tuple[float, ...]], list[Any], list[Any]]] = []
        # Handles of the same inputs together, those of one output first: the order of `push`.
        for inputs in dict.fromkeys(inputs for _, inputs, _ in asked):
            those = [one for one in asked if one[1] == inputs]
            single = [one for one in those if not isinstance(opened[one].value, tuple)]
            several = [one for one in those if isinstance(opened[one].value, tuple)]
            for one in (*single, *several):
                places[one] = len(outs)
                outs += _all(opened[one].value)
            updates = [[opened[one].update for one in part] for part in (single, several)]
            self._updates.append((_taking(inputs), updates[0], updates[1]))
        changes = dict.fromkeys(call for _, plan in planned for call in plan.calls if call.ago)
        self._changes = {call: len(outs) + number for number, call in enumerate(changes)}
        for call in changes:
            series = _series(call, bars)
            outs.append(float(series[-1] - series[-1 - call.ago]))
            ring = deque((float(value) for value in series[-call.ago :]), maxlen=call.ago)
            self._rings.append((places[_asked(call)] + call.output, ring))

        def place(call: Call) -> int:
            return self._changes[call] if call.ago else places[_asked(call)] + call.output

        self._columns = [
            (
                column,
                partial(plan.shape, per),
                itemgetter(0, *(place(call) for call in plan.calls)),
                () if plan.factor is None else (plan.factor,),
            )
            for column, plan in planned
        ]
        self._outs = outs

    def begin(self, candles: Bars, first_slot: int, values: list[float]) -> None:
        """Set the columns, and gather the candles of the bar that has not closed yet."""
        self._set(self._outs, values)
        stop = first_slot + len(candles.close)
        for slot in range(stop - stop % self._size, stop):
            at = slot - first_slot
            bar = tuple(float(column[at]) for column in candles.columns(_COLUMNS))
            self._gather(slot, bar)  # pyright: ignore[reportArgumentType] - six columns

    def push(self, slot: int, bar: Bar, values: list[float]) -> None:
        if self._size > 1:
            closed = self._gather(slot, bar)
            if closed is None:
                return
            bar = closed
        outs = [bar[_CLOSE]]
        for take, single, several in self._updates:
            taken = take(bar)
            outs += [update(*taken) for update in single]
            for update in several:
                outs += update(*taken)
        for place, ring in self._rings:
            value = outs[place]
            outs.append(value - ring[0])
            ring.append(value)
        self._set(outs, values)

    def _set(self, outs: list[float], values: list[float]) -> None:
        for column, shape, chosen, factor in self._columns:
            values[column] = shape(*chosen(outs), *factor)

    def _gather(self, slot: int, bar: Bar) -> Bar | None:
        """Add a candle to its bar; the bar when that closes it. One begun in its middle is left out."""
        if slot % self._size == 0:
            self._bar = list(bar)
        elif (gathered := self._bar) is not None:
            _, high, low, close, volume, filled = bar
            gathered[1], gathered[2] = max(gathered[1], high), min(gathered[2], low)
            gathered[3] = close
            gathered[4] += volume
            gathered[5] += filled
        if (slot + 1) % self._size or self._bar is None:
            return None
        begun, high, low, close, volume, filled = self._bar
        self._bar = None
        return begun, high, low, close, volume, filled / self._size


def _opened(asked: _Asked, bars: Bars) -> Any:
    from talib import stream  # noqa: PLC0415 - see `_batch`

    function, inputs, parameters = asked
    open_at_end: Any = getattr(stream, function)
    return open_at_end(*bars.columns(inputs), *parameters)


def _series(call: Call, bars: Bars) -> Floats:
    return _called(_asked(call), bars)[call.output]


def _taking(inputs: Inputs) -> Callable[[Bar], tuple[float, ...]]:
    places = [_COLUMNS.index(name) for name in inputs]
    if len(places) == 1:
        return itemgetter(slice(places[0], places[0] + 1))
    return itemgetter(*places)


def _all(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
