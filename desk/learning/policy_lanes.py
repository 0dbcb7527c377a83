"""A policy over many observations at once: compiled, and to the last bit what it says to each alone.

`MlpPolicy.forward` adds up input by input, so does this; it only keeps a few inputs in hand at a time.
For learning and evaluation: importing numba takes seconds and 180 MiB, which serving has no use for.
"""

# Compiled functions take their arrays one by one, and numba's decorator hides their types.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from desk.learning.compiled import compiled
from desk.learning.observation import Observation
from desk.learning.policy import MlpPolicy, Weights

_LANES = 1_024
"""Rows at a time: their layers stay in the cache."""


def forward_lanes(policy: MlpPolicy) -> Callable[[Observation], NDArray[np.float32]]:
    """Return a function from float32[N, F + 1] to logits float32[N, K], equal to `policy.forward`."""
    transposed = [(np.ascontiguousarray(weight.T), bias) for weight, bias in policy.layers]

    def forward(observations: Observation) -> NDArray[np.float32]:
        logits = np.empty((len(observations), len(policy.levels)), dtype=np.float32)
        for first in range(0, len(observations), _LANES):
            values = np.ascontiguousarray(observations[first : first + _LANES], dtype=np.float32)
            for number, (weight, bias) in enumerate(transposed):
                if number:
                    np.tanh(values, out=values)
                sums = np.empty((len(values), len(bias)), dtype=np.float32)
                _dense(values, weight, bias, sums)
                values = sums
            logits[first : first + _LANES] = values
        return logits

    return forward


# Without fastmath nothing is contracted into one rounding or added up in another order.
@compiled
def _dense(values: Observation, weight: Weights, bias: Weights, sums: Observation) -> None:
    """Sums of float32[N, I] through weights float32[I, O], input by input, and then the bias."""
    inputs, outputs = weight.shape
    whole = 1 + (inputs - 1) // 4 * 4
    for row in range(len(values)):
        first = values[row, 0]
        for out in range(outputs):
            sums[row, out] = first * weight[0, out]
        for at in range(1, whole, 4):
            one, two = values[row, at], values[row, at + 1]
            three, four = values[row, at + 2], values[row, at + 3]
            for out in range(outputs):
                sums[row, out] = (
                    ((sums[row, out] + one * weight[at, out]) + two * weight[at + 1, out])
                    + three * weight[at + 2, out]
                ) + four * weight[at + 3, out]
        for at in range(whole, inputs):
            one = values[row, at]
            for out in range(outputs):
                sums[row, out] += one * weight[at, out]
        for out in range(outputs):
            sums[row, out] += bias[out]
