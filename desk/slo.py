"""Service levels: what is measured, what is too much, and when it is well again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from desk.clock import DAY_MS, HOUR_MS

BACK_AT = 0.8
"""Part of the threshold that the value must fall to before a missed level counts as met again."""
PERCENTILE = 95
RECENT_MS = HOUR_MS
LONGEST_MS = DAY_MS
"""How far back is looked where the last hour has too few samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One service level over the newest samples of a metric."""

    code: str
    """Of its alert."""
    metric: str
    unit: str
    threshold: float
    """Met up to this, in the metric's own unit."""
    newest: int
    """Samples whose 95th percentile is judged."""
    least: int
    """Fewer than these say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How a level stands."""

    level: Level
    value: float | None
    """None: too little is known to say."""
    samples: int
    missed: bool


def levels(*, latency_ms: float, lag_s: float, slippage_bps: float) -> tuple[Level, ...]:
    """The levels of a desk with these thresholds."""
    return (
        Level(
            code="slo_decision_latency",
            metric="decision_latency_ms",
            unit="ms",
            threshold=latency_ms,
            newest=50,
            least=10,
        ),
        Level(
            code="slo_ingestion_lag",
            metric="ingestion_lag_seconds",
            unit="s",
            threshold=lag_s,
            newest=100,
            least=10,
        ),
        Level(
            code="slo_slippage",
            metric="slippage_bps",
            unit="bps",
            threshold=slippage_bps,
            newest=20,
            least=5,
        ),
    )


def judge(
    level: Level, values: Sequence[float], *, was_missed: bool, floor: float | None = None
) -> Judged:
    """Hold the newest values, oldest first, against a level.

    Missed above the threshold; met again at `BACK_AT` of it, so that a value at the edge tells one
    alert and not many. Values that are no numbers count as infinitely bad. With too few values nothing
    is missed. `floor` is what is known to be no better right now, beside the samples: it counts alone
    where there are too few of them.
    """
    recent = np.array(values[-level.newest :], dtype=np.float64)
    found: list[float] = [] if floor is None else [floor]
    if len(recent) >= level.least:
        sound = np.where(np.isfinite(recent), recent, np.inf)
        found.append(float(np.percentile(sound, PERCENTILE, method="inverted_cdf")))
    if not found:
        return Judged(level=level, value=None, samples=len(recent), missed=False)
    limit = level.threshold * (BACK_AT if was_missed else 1.0)
    return Judged(level=level, value=max(found), samples=len(recent), missed=max(found) > limit)
