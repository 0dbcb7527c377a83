"""The trend rule the desk ships with: not trained, stated here, and labelled a baseline everywhere.

Long when the hour's mean close stands well above the four hours' one, short when well below, flat
in between; a held position is kept until the trend has nearly gone. As one linear layer it is
served, evaluated and promoted exactly like a trained network.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desk.errors import BadInput
from desk.learning.observation import Observation
from desk.learning.policy import LEVELS, policy_card
from desk.market.features import FEATURES_V1, FeatureSet

BASELINE_VERSION_ID = "baseline-trend-v1"
BASELINE_ALGORITHM = "baseline_trend_rule"
BASELINE_NAME = "Trend rule (baseline, not trained)"

TREND_FEATURE = "trend_60_240"
ENTER_TREND = 0.6
"""Standard deviations between the two means at which flat gives way to a position."""
LEAVE_TREND = 0.2
"""Standard deviations below which a held position is given up."""
STEEPNESS = 5.0
"""Logits per standard deviation: how quickly confidence grows beyond a border."""


def baseline_tensors() -> dict[str, NDArray[np.float32]]:
    """Return the rule as `layers.0.weight` float32[3, F + 1] and `layers.0.bias` float32[3]."""
    weight = np.zeros((len(LEVELS), FEATURES_V1.size + 1), dtype=np.float32)
    weight[:, FEATURES_V1.index(TREND_FEATURE)] = [-STEEPNESS, 0.0, STEEPNESS]
    loyalty = STEEPNESS * (ENTER_TREND - LEAVE_TREND)
    weight[:, -1] = [-loyalty, 0.0, loyalty]
    bias = np.array([0.0, STEEPNESS * ENTER_TREND, 0.0], dtype=np.float32)
    return {"layers.0.weight": weight, "layers.0.bias": bias}


def baseline_card() -> dict[str, Any]:
    """Return the card of the baseline, without the hash of its file."""
    return policy_card(
        version_id=BASELINE_VERSION_ID,
        algorithm=BASELINE_ALGORITHM,
        is_baseline=True,
        hyperparameters={
            "trend_feature": TREND_FEATURE,
            "enter_trend": ENTER_TREND,
            "leave_trend": LEAVE_TREND,
            "steepness": STEEPNESS,
        },
        software={},
    )


def check_rule(features: FeatureSet) -> None:
    """Raise `BadInput` for features that the rule cannot be read from."""
    if TREND_FEATURE not in features.names:
        raise BadInput(
            "feature_set_id",
            f"was {features.feature_set_id}, which has no {TREND_FEATURE}: the trend rule looks at it;"
            f" use {FEATURES_V1.feature_set_id}, or leave the rule out",
        )


def trend_rule(
    features: FeatureSet, levels: Sequence[float]
) -> Callable[[Observation], NDArray[np.int64]]:
    """The rule over another set of features and levels: observations float32[N, F + 1] to int64[N].

    An index points to the level that is nearest to the rule's short, flat or long. Raises `BadInput`
    where the features lack the trend.
    """
    check_rule(features)
    column = features.names.index(TREND_FEATURE)
    rule = baseline_tensors()
    trend = FEATURES_V1.index(TREND_FEATURE)
    weight = rule["layers.0.weight"][:, [trend, -1]]
    bias = rule["layers.0.bias"]
    distances = np.abs(np.subtract.outer(LEVELS, np.array(levels)))
    nearest = distances.argmin(axis=1).astype(np.int64)

    def answer(observations: Observation) -> NDArray[np.int64]:
        # Two products added in one order: no linear algebra library whose sums differ by machine.
        first = observations[:, column, None] * weight[:, 0]
        logits = first + observations[:, -1, None] * weight[:, 1] + bias
        return nearest[logits.argmax(axis=1)]

    return answer
