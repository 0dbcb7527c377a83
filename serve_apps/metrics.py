"""`GET /metrics`: facts of the store, what actors and policy have counted, and what this process counts.

Gauges are made from the store at each scrape: a restarted process leaves no stale series behind.
Counters and histograms of actors go on over their restarts; those of this API begin anew with it,
as Prometheus expects of a counter.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from actors.tally_book import sums
from desk.counting import Counts, Labels, Meter, Values, added, counted
from desk.errors import StoreUnavailable
from desk.meters import METERS
from serve_apps.context import Context
from serve_apps.metric_facts import GAUGES, Series, local_facts, stored_facts

CONTENT_TYPE = CONTENT_TYPE_LATEST


def render(ctx: Context) -> bytes:
    """Read the facts and return them as text. A store that is away is a fact too: `desk_store_up` 0."""
    facts, counts = local_facts(ctx), counted()
    try:
        facts |= stored_facts(ctx)
        counts = added(sums(ctx.store), counts)
        facts["desk_store_up"] = {(): 1}
    except StoreUnavailable:
        facts["desk_store_up"] = {(): 0}
    registry = CollectorRegistry()
    registry.register(_Reading(facts, counts))
    return generate_latest(registry)


class _Reading(Collector):
    """One scrape. Every family is there in each, also the one that has no series yet."""

    def __init__(self, facts: Series, counts: Counts) -> None:
        self._facts, self._counts = facts, counts

    def collect(self) -> Iterator[Metric]:
        for name, (text, labels) in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=labels)
            for values, value in sorted(self._facts.get(name, {}).items()):
                gauge.add_metric(values, float(value))
            yield gauge
        for meter in METERS.values():
            series = self._counts.get(meter.name, {})
            if not meter.labels and not series:
                series = {(): (0.0,) * (len(meter.buckets) + 2 if meter.buckets else 1)}
            yield _family(meter, sorted(series.items()))

    def describe(self) -> Iterable[Metric]:
        return ()


def _family(meter: Meter, series: Iterable[tuple[Labels, Values]]) -> Metric:
    if not meter.buckets:
        counter = CounterMetricFamily(meter.name, meter.text, labels=meter.labels)
        for labels, values in series:
            counter.add_metric(labels, values[0])
        return counter
    histogram = HistogramMetricFamily(meter.name, meter.text, labels=meter.labels)
    bounds = [*(str(bound) for bound in meter.buckets), "+Inf"]
    for labels, values in series:
        if len(values) == len(bounds) + 1:  # else an earlier release counted in other buckets
            below = list(zip(bounds, accumulate(values[:-1]), strict=True))
            histogram.add_metric(labels, below, values[-1])
    return histogram
