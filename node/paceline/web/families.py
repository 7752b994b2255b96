"""Turns the body of a MetricsReply into metric families of prometheus_client, by the table of metrics
(``table.py``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from paceline.web.table import METRICS, Body, MetricSpec, Sample


class Collects(Protocol):
    """The interface of a collector of prometheus_client."""

    def collect(self) -> Iterable[Metric]: ...


def families(body: Body) -> Iterator[Metric]:
    """The metrics that have samples."""
    for spec in METRICS:
        samples = list(spec.samples(body))
        if samples:
            yield _family(spec, samples)


def _family(spec: MetricSpec, samples: list[Sample]) -> Metric:
    if spec.kind == "histogram":
        histogram = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
        for labels, value in samples:
            histogram.add_metric(labels, buckets(value), value["sum_us"] / 1e6)
        return histogram
    family: CounterMetricFamily | GaugeMetricFamily
    if spec.kind == "counter":
        family = CounterMetricFamily(spec.name.removesuffix("_total"), spec.help, labels=spec.labels)
    else:
        family = GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def buckets(histogram: dict[str, Any]) -> list[tuple[str, float]]:
    """(upper bound in seconds, how many values up to there) of a core histogram."""
    bounds = [f"{bound / 1e6:.6f}".rstrip("0").rstrip(".") for bound in histogram["bounds_us"]]
    return list(zip([*bounds, "+Inf"], accumulate(histogram["counts"]), strict=True))


class MetricsSnapshot:
    """A collector for prometheus_client: a node's metrics at one moment, and those of its process."""

    def __init__(self, body: Body, process: Collects) -> None:
        self._body = body
        self._process = process

    def collect(self) -> Iterator[Metric]:
        yield from families(self._body)
        yield from self._process.collect()
