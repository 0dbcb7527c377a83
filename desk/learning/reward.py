"""What a step of training is worth: growth of equity, after everything it cost."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desk.learning.compiled import compiled
from desk.market.candles import Floats

DEFAULT_SCALE = 1_000.0
"""Rewards in tenths of a percent of equity: a minute's move is then a fraction of one."""

LEAST_GROWTH = 1e-6
"""A step that ruins the account counts as a fall to this fraction, so that its reward is finite."""


_SMALL = 0.1
"""Up to here, either way, the series below is exact to the last bit or two."""


@compiled
def log_growth(growth: Floats, scale: float, reward: Floats) -> None:
    """Write the scaled log of equity after ÷ before one candle, float64[N], all costs included.

    Rewards of an episode add up to the scaled log of its whole growth. By log g = 2 artanh((g - 1) /
    (g + 1)) and its series: the library's logarithm takes one number at a time.
    """
    large = 0
    for lane in range(len(growth)):
        large += abs(growth[lane] - 1.0) > _SMALL
    for lane in range(len(growth)):
        change = growth[lane] - 1.0
        part = change / (2.0 + change)
        square = part * part
        series = 1.0 / 11.0 + square / 13.0
        series = 1.0 / 9.0 + square * series
        series = 1.0 / 7.0 + square * series
        series = 1.0 / 5.0 + square * series
        series = 1.0 / 3.0 + square * series
        reward[lane] = scale * 2.0 * (part + part * square * series)
    if large == 0:  # almost always; the loop below asks lane by lane, and cost a fifth of a step
        return
    for lane in range(len(growth)):
        if abs(growth[lane] - 1.0) > _SMALL:
            reward[lane] = scale * math.log(max(growth[lane], LEAST_GROWTH))


class RewardTerms(NamedTuple):
    """What a step's reward is made of, float64[N] each; they add up to it."""

    growth: Floats
    """Scaled log-growth of equity."""
    turnover: Floats
    """Minus the coefficient times what was traded as a part of the starting cash, scaled."""
    drawdown: Floats
    """Minus the coefficient times what the step added to the episode's deepest drawdown, scaled."""

    @property
    def total(self) -> Floats:
        """The reward."""
        return self.growth + self.turnover + self.drawdown


class Drawdown:
    """Each lane's deepest fall from its peak since its episode began, as a fraction of the peak."""

    def __init__(self, lanes: int) -> None:
        self._peak, self._deepest = np.zeros(lanes), np.zeros(lanes)

    def begin(self, equity: Floats, is_new: NDArray[np.bool_]) -> None:
        """Forget what was before in lanes that start anew, at this equity."""
        self._peak[is_new], self._deepest[is_new] = equity[is_new], 0.0

    def deepened(self, equity: Floats) -> Floats:
        """How much this equity adds to the deepest drawdown of each lane, 0 or more."""
        np.maximum(self._peak, equity, out=self._peak)
        deepest = np.maximum(self._deepest, 1.0 - equity / self._peak)
        added = deepest - self._deepest
        self._deepest = deepest
        return added

    def get_state(self) -> dict[str, Floats]:
        """Peaks and deepest falls, float64[N] each."""
        return {"peak": self._peak.copy(), "deepest": self._deepest.copy()}

    def set_state(self, state: dict[str, Floats]) -> None:
        """Go on from `get_state`."""
        self._peak, self._deepest = state["peak"].copy(), state["deepest"].copy()
