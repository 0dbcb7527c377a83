"""Rules over TA-Lib indicators: which calls each makes and how their values become free of any unit.

One table serves history and the live stream. A value is made of the calls' outputs by one of
`desk.market.shapes`: prices become distances in average true ranges, volumes shares of their own
average, percentages fractions.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from desk.market import shapes
from desk.market.bars import Inputs
from desk.market.shapes import Shape

CLOSE: Inputs = ("close",)
HIGH_LOW: Inputs = ("high", "low")
HIGH_LOW_CLOSE: Inputs = ("high", "low", "close")
BAR: Inputs = ("open", "high", "low", "close")
CLOSE_VOLUME: Inputs = ("close", "volume")
BAR_VOLUME: Inputs = ("high", "low", "close", "volume")
VOLUME: Inputs = ("volume",)
FILLED: Inputs = ("filled",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One output of one TA-Lib function; with `ago`, what it changed in so many bars."""

    function: str
    inputs: Inputs
    parameters: tuple[float, ...] = ()
    output: int = 0
    ago: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a rule with its windows computes."""

    calls: tuple[Call, ...]
    """Whose outputs the shape takes, after the close."""
    shape: Shape
    factor: float | None = None
    """What the shape takes after them; None: it takes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    """One rule: what its windows mean, in bars, and the plan for them."""

    meaning: tuple[str, ...]
    plan: Callable[..., Plan]
    least: int = 2
    is_rising: bool = False
    """Whether the second window must be longer than the first."""


def _one(
    function: str,
    inputs: Inputs,
    shape: Shape,
    *,
    meaning: tuple[str, ...] = ("span",),
    output: int = 0,
    is_rising: bool = False,
) -> Indicator:
    """A rule of one call that takes the windows as they are."""

    def plan(*windows: int) -> Plan:
        call = Call(function=function, inputs=inputs, parameters=windows, output=output)
        return Plan(calls=(call,), shape=shape)

    return Indicator(meaning=meaning, plan=plan, is_rising=is_rising)


def _by_range(
    function: str,
    inputs: Inputs,
    shape: Shape,
    *,
    meaning: tuple[str, ...] = ("span",),
    outputs: tuple[int, ...] = (0,),
    is_rising: bool = False,
) -> Indicator:
    """A rule in units of the average true range of its last window; that is the last output."""

    def plan(*windows: int) -> Plan:
        calls = [
            Call(function=function, inputs=inputs, parameters=windows[:-1], output=output)
            for output in outputs
        ]
        return Plan(calls=(*calls, _true_range(windows[-1])), shape=shape)

    return Indicator(meaning=(*meaning, "scale"), plan=plan, is_rising=is_rising)


def _true_range(span: int) -> Call:
    return Call(function="ATR", inputs=HIGH_LOW_CLOSE, parameters=(span,))


def _range_change(fast: int, slow: int) -> Plan:
    return Plan(calls=(_true_range(fast), _true_range(slow)), shape=shapes.balance)


def _rate_of_change(span: int, scale: int) -> Plan:
    return Plan(
        calls=(
            Call(function="ROC", inputs=CLOSE, parameters=(span,)),
            Call(function="NATR", inputs=HIGH_LOW_CLOSE, parameters=(scale,)),
        ),
        shape=shapes.in_multiples,
        factor=math.sqrt(span),
    )


def _bands(span: int) -> tuple[Call, Call]:
    upper, lower = (
        Call(function="BBANDS", inputs=CLOSE, parameters=(span, 2.0, 2.0), output=output)
        for output in (0, 2)
    )
    return upper, lower


def _band_position(span: int) -> Plan:
    return Plan(calls=_bands(span), shape=shapes.band_position)


def _band_width(span: int, scale: int) -> Plan:
    return Plan(calls=(*_bands(span), _true_range(scale)), shape=shapes.band_width)


def _stochastic(output: int) -> Callable[..., Plan]:
    def plan(fast_k: int, slow_k: int, slow_d: int) -> Plan:
        parameters = (fast_k, slow_k, 0, slow_d, 0)
        call = Call(function="STOCH", inputs=HIGH_LOW_CLOSE, parameters=parameters, output=output)
        return Plan(calls=(call,), shape=shapes.around_50)

    return plan


def _direction(span: int) -> Plan:
    calls = tuple(
        Call(function=name, inputs=HIGH_LOW_CLOSE, parameters=(span,))
        for name in ("PLUS_DI", "MINUS_DI")
    )
    return Plan(calls=calls, shape=shapes.balance)


def _volume_balance(function: str, inputs: Inputs) -> Callable[[int], Plan]:
    """What a running sum changed, as a share of the volume of so many bars of average volume."""

    def plan(span: int) -> Plan:
        return Plan(
            calls=(
                Call(function=function, inputs=inputs, ago=span),
                Call(function="EMA", inputs=VOLUME, parameters=(span,)),
            ),
            shape=shapes.in_multiples,
            factor=float(span),
        )

    return plan


def _volume_trend(fast: int, slow: int) -> Plan:
    calls = tuple(Call(function="EMA", inputs=VOLUME, parameters=(span,)) for span in (fast, slow))
    return Plan(calls=calls, shape=shapes.balance)


_FAST_SLOW_SIGNAL = ("fast", "slow", "signal")
_STOCHASTIC = ("fast_k", "slow_k", "slow_d")

INDICATORS: Mapping[str, Indicator] = {
    "rsi": _one("RSI", CLOSE, shapes.around_50),
    "cmo": _one("CMO", CLOSE, shapes.hundredth),
    "mfi": _one("MFI", BAR_VOLUME, shapes.around_50),
    "cci": _one("CCI", HIGH_LOW_CLOSE, shapes.hundredth),
    "willr": _one("WILLR", HIGH_LOW_CLOSE, shapes.around_minus_50),
    "adx": _one("ADX", HIGH_LOW_CLOSE, shapes.hundredth),
    "di_balance": Indicator(meaning=("span",), plan=_direction),
    "aroon": _one("AROONOSC", HIGH_LOW, shapes.hundredth),
    "stoch_k": Indicator(meaning=_STOCHASTIC, plan=_stochastic(0)),
    "stoch_d": Indicator(meaning=_STOCHASTIC, plan=_stochastic(1)),
    "natr": _one("NATR", HIGH_LOW_CLOSE, shapes.saturated),
    "atr_change": Indicator(meaning=("fast", "slow"), plan=_range_change, is_rising=True),
    "roc": Indicator(meaning=("span", "scale"), plan=_rate_of_change),
    "sma_distance": _by_range("SMA", CLOSE, shapes.distance),
    "ema_distance": _by_range("EMA", CLOSE, shapes.distance),
    "tema_distance": _by_range("TEMA", CLOSE, shapes.distance),
    "kama_distance": _by_range("KAMA", CLOSE, shapes.distance),
    "linear_distance": _by_range("LINEARREG", CLOSE, shapes.distance),
    "linear_slope": _by_range("LINEARREG_SLOPE", CLOSE, shapes.in_ranges),
    "macd": _by_range("MACD", CLOSE, shapes.in_ranges, meaning=_FAST_SLOW_SIGNAL, is_rising=True),
    "macd_signal": _by_range(
        "MACD", CLOSE, shapes.in_ranges, meaning=_FAST_SLOW_SIGNAL, outputs=(1,), is_rising=True
    ),
    "macd_histogram": _by_range(
        "MACD", CLOSE, shapes.in_ranges, meaning=_FAST_SLOW_SIGNAL, outputs=(2,), is_rising=True
    ),
    "band_position": Indicator(meaning=("span",), plan=_band_position),
    "band_width": Indicator(meaning=("span", "scale"), plan=_band_width),
    "balance_of_power": _one("BOP", BAR, shapes.raw, meaning=()),
    "obv_change": Indicator(meaning=("span",), plan=_volume_balance("OBV", CLOSE_VOLUME)),
    "ad_change": Indicator(meaning=("span",), plan=_volume_balance("AD", BAR_VOLUME)),
    "volume_trend": Indicator(meaning=("fast", "slow"), plan=_volume_trend, is_rising=True),
    "filled_share": _one("SMA", FILLED, shapes.raw),
}
"""By rule name. A new one is a line here, its lookback found by asking TA-Lib."""
