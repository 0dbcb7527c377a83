"""What a step of training is worth: growth of equity, after everything it cost."""

import numpy as np

from desk.market.candles import Floats

DEFAULT_SCALE = 1_000.0
"""Rewards in tenths of a percent of equity: a minute's move is then a fraction of one."""

LEAST_GROWTH = 1e-6
"""A step that ruins the account counts as a fall to this fraction, so that its reward is finite."""


def log_growth(growth: Floats, scale: float) -> Floats:
    """Scaled log of equity after ÷ before one candle, float64[N], all costs included.

    Rewards of an episode add up to the scaled log of its whole growth.
    """
    return scale * np.log(np.maximum(growth, LEAST_GROWTH))
