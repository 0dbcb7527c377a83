"""Metric samples as buckets of time."""

from collections.abc import Mapping, Sequence

import numpy as np

from desk.store.port import Sample
from serve_apps.schemas import MetricPoint, MetricSeries

KNOWN = ("decision_latency_ms", "ingestion_lag_seconds", "slippage_bps")
"""Names the desk records; a page that names none gets these."""
MAX_POINTS = 2_000


def of_stage(samples: Sequence[Sample], stage: str = "total") -> list[Sample]:
    """Samples of one stage of a latency; those of metrics without stages all count as the total."""
    return [sample for sample in samples if sample.tags.get("stage", "total") == stage]


def apart(samples: Sequence[Sample]) -> dict[tuple[tuple[str, str], ...], list[Sample]]:
    """Samples by the pair and interval they are of; those that name neither stand together."""
    found: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        named = ((name, sample.tags[name]) for name in ("pair", "interval") if name in sample.tags)
        found.setdefault(tuple(named), []).append(sample)
    return dict(sorted(found.items()))


def series_of(
    name: str,
    samples: Sequence[Sample],
    *,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    tags: Mapping[str, str] | None = None,
) -> MetricSeries:
    """Fold samples of one name into buckets of `step_ms` that start on multiples of it."""
    finite = [sample for sample in samples if np.isfinite(sample.value)]
    values = np.array([sample.value for sample in finite], dtype=np.float64)
    buckets = np.array([sample.recorded_at_ms // step_ms for sample in finite], dtype=np.int64)
    points = [
        _point(int(bucket) * step_ms, values[buckets == bucket]) for bucket in np.unique(buckets)
    ]
    return MetricSeries(
        name=name,
        tags=dict(tags or {}),
        unit=samples[-1].unit if samples else "",
        start_ms=start_ms,
        end_ms=end_ms,
        step_ms=step_ms,
        count=len(values),
        p50=percentile(values, 50),
        p95=percentile(values, 95),
        max=float(values.max()) if len(values) else None,
        points=points,
    )


def percentile(
    values: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]], rank: int
) -> float | None:
    """A percentile, or None of nothing: an empty series has no latency, not a latency of 0."""
    return float(np.percentile(values, rank)) if len(values) else None


def _point(start_ms: int, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> MetricPoint:
    return MetricPoint(
        t=start_ms,
        count=len(values),
        mean=float(values.mean()),
        p50=float(np.percentile(values, 50)),
        p95=float(np.percentile(values, 95)),
        min=float(values.min()),
        max=float(values.max()),
    )
