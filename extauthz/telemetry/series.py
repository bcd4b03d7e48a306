"""What metrics are made of: label values with a bound, histograms without locks, and how Prometheus gets them."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.samples import Exemplar, Timestamp

from extauthz.telemetry.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import Metric

Labels = tuple[str, ...]
Counts = dict[Labels, int]

BUCKETS: Final = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
BUCKETS_NS: Final = tuple(round(bound * 1e9) for bound in BUCKETS)
OTHER: Final = "other"
_LONGEST: Final = 128
"""Characters of a label value: longer than any code."""


class Bounded:
    """Lets known label values through, and of others the first `room`; the rest become `other`."""

    __slots__ = ("_given", "_known", "_room")

    def __init__(self, known: Iterable[str], room: int) -> None:
        self._known = {OTHER, *known}
        self._room = room
        self._given = 0

    def limit(self, room: int) -> None:
        """From now on at most `room` values that nobody knew before; those that were let through stay."""
        self._room = room

    def learn(self, values: Iterable[str]) -> None:
        """Values from the configuration: always let through."""
        self._known.update(values)

    def __call__(self, value: str) -> str:
        if value in self._known:
            return value
        if self._given >= self._room or not value.isprintable() or len(value) > _LONGEST:
            return OTHER
        self._given += 1
        self._known.add(value)
        return value


class Histogram:
    """One series: counts by bucket, in nanoseconds, without locks: only the event loop's thread writes."""

    __slots__ = ("counts", "exemplars", "total_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total_ns = 0
        self.exemplars: dict[int, tuple[str, int, float]] = {}
        """Bucket → an observation in it: the newest whose trace is kept."""

    def observe_ns(self, ns: int) -> None:
        self.counts[bisect_left(BUCKETS_NS, ns)] += 1
        self.total_ns += ns

    def exemplify(self, ns: int, trace_id: str, at: float) -> None:
        """`at`: seconds since the epoch."""
        self.exemplars[bisect_left(BUCKETS_NS, ns)] = (trace_id, ns, at)

    def add_to(self, family: HistogramMetricFamily, labels: Labels) -> None:
        cumulated: list[Any] = []
        so_far = 0
        for index, (bound, count) in enumerate(zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True)):
            so_far += count
            bucket: tuple[Any, ...] = (bound, so_far)
            if (seen := self.exemplars.get(index)) is not None:
                trace_id, ns, at = seen
                bucket = (*bucket, Exemplar({"trace_id": trace_id}, ns / 1e9, Timestamp(int(at), int(at % 1 * 1e9))))
            cumulated.append(bucket)
        family.add_metric(labels, cumulated, sum_value=self.total_ns / 1e9)


def counted(name: str, series: Mapping[Labels, float]) -> Metric:
    family = CounterMetricFamily(name.removesuffix("_total"), FAMILIES[name].help, labels=FAMILIES[name].labels)
    for labels, count in series.items():
        family.add_metric(labels, count)
    return family


def gauged(name: str, series: Mapping[Labels, float]) -> Metric:
    family = GaugeMetricFamily(name, FAMILIES[name].help, labels=FAMILIES[name].labels)
    for labels, value in series.items():
        family.add_metric(labels, value)
    return family


def timed(name: str, series: Mapping[Labels, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, FAMILIES[name].help, labels=FAMILIES[name].labels)
    for labels, histogram in series.items():
        histogram.add_to(family, labels)
    return family
