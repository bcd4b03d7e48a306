"""What a worker counts and measures. `families.FAMILIES` is the whole list.

Label values come from the configuration, from our own code, or from policies behind a bound: no caller can make one.
What happens once a Check is counted in plain dictionaries (`account`) and becomes Prometheus families when scraped.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from extauthz.codes import CODES
from extauthz.model import Deny
from extauthz.telemetry.families import FAMILIES
from extauthz.telemetry.series import BUCKETS_NS, Bounded, Histogram, counted, gauged, timed
from extauthz.telemetry.trail import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from extauthz.telemetry.series import Counts, Labels
    from extauthz.telemetry.trail import Trail

log = logging.getLogger(__name__)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Upstream = Literal["jwks", "introspection", "attributes", "opa", "sts"]
UPSTREAMS: Final[tuple[Upstream, ...]] = ("jwks", "introspection", "attributes", "opa", "sts")
CACHES: Final = ("token", "decision", "exchange")
_MAX_VALUES: Final = 256
"""Values of a label that is no name of a route, a service or a code: issuers, endpoints, kinds."""
_MAX_SERIES: Final = 4096
"""Of one family that is counted or measured by name."""
_COUNTED_HERE: Final = frozenset(
    {
        *("extauthz_checks_total", "extauthz_denials_total", "extauthz_engine_faults_total"),
        *("extauthz_cache_requests_total", "extauthz_candidate_dropped_total"),
    }
)
"""Counters with a place of their own; the others are `count`ed by name."""
_FROM_ZERO: Final[Mapping[str, tuple[Labels, ...]]] = {
    "extauthz_records_dropped_total": (("buffer",), ("output",), ("record",)),
    "extauthz_reloads_total": (("ok",), ("refused",)),
    "extauthz_traces_dropped_total": (("buffer",), ("export",)),
}
"""Scraped before anything has happened, so that the first time is an increase; so is whatever has no labels."""


class Metrics(Collector):
    """One process's metrics, in a registry of their own."""

    def __init__(self, *, max_policy_codes: int = 100, version: str = "") -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.in_flight = 0
        """Checks being answered now; whoever answers counts up and down."""
        self._route = Bounded(("none",), 0)
        self._service = Bounded(("",), 0)
        self._code = Bounded(CODES, max_policy_codes)
        self._values: dict[str, Bounded] = {
            "route": self._route,
            "service": self._service,
            "code": self._code,
        }
        """Label → which values it may have; see `_labels`."""
        self._checks: Counts = {}
        self._denials: Counts = {}
        self._faults: Counts = {}
        self._caches: Counts = {(cache, outcome): 0 for cache in CACHES for outcome in ("hit", "miss")}
        self._entries: dict[str, Callable[[], int]] = {}
        self._stages = [Histogram() for _ in Stage]
        self._check = Histogram()
        self._upstreams = {upstream: Histogram() for upstream in UPSTREAMS}
        self._lock = Lock()
        counters = [family.name for family in FAMILIES.values() if family.kind == "counter"]
        self._rare: dict[str, Counts] = {
            name: dict.fromkeys(_FROM_ZERO.get(name, () if FAMILIES[name].labels else ((),)), 0)
            for name in counters
            if name not in _COUNTED_HERE
        }
        self._gauges: dict[str, Callable[[], Mapping[Labels, float]]] = {}
        self._policy = ""
        self._certificates: dict[tuple[str, ...], float] = {}
        self._version = version
        self._candidate: Callable[[], Mapping[str, Any]] | None = None
        self._revocations: Callable[[], Mapping[str, Any]] | None = None
        self.registry.register(self)

    def count(self, name: str, *labels: str, count: int = 1) -> None:
        """For what does not happen at every Check; also called by other threads. `labels` as `FAMILIES` lists them."""
        with self._lock:
            series = self._rare[name]
            found = self._labels(name, labels)
            if found in series or len(series) < _MAX_SERIES:
                series[found] = series.get(found, 0) + count

    @property
    def countable(self) -> Iterable[str]:
        """Counters that `count` takes."""
        return self._rare.keys()

    def measure(self, name: str, ask: Callable[[], Mapping[Labels, float]]) -> None:
        """Where to ask for a gauge of `FAMILIES` when scraped: label values → value. A later call takes its place."""
        FAMILIES[name]
        self._gauges[name] = ask

    def _labels(self, name: str, given: Labels) -> Labels:
        """The values within their bounds: each label's own where it has one, else that of this family's label."""
        found = []
        for label, value in zip(FAMILIES[name].labels, given, strict=True):
            bounded = self._values.get(label)
            if bounded is None:
                bounded = self._values.setdefault(f"{name}/{label}", Bounded((), _MAX_VALUES))
            found.append(bounded(value))
        return tuple(found)

    def know(self, routes: Iterable[str], services: Iterable[str] = ()) -> None:
        """Names of the configuration; only they become labels."""
        self._route.learn(routes)
        self._service.learn(services)

    def limit_policy_codes(self, most: int) -> None:
        """`telemetry.metrics.max_policy_codes`."""
        self._code.limit(most)

    def account(self, trail: Trail) -> None:
        """Everything that one finished Check adds."""
        route = self._route(trail.route.name)
        decision = trail.decision
        allowed = decision is not None and not isinstance(decision, Deny)
        key = (route, "allow" if allowed else "deny")
        self._checks[key] = self._checks.get(key, 0) + 1
        if not allowed:
            self._denied(route, self._service(trail.route.service), decision)
        if trail.token_cached is not None:
            self._caches["token", "hit" if trail.token_cached else "miss"] += 1
        if trail.decision_cached is not None:
            self._caches["decision", "hit" if trail.decision_cached else "miss"] += 1
        if trail.exchange_cached is not None:
            self._caches["exchange", "hit" if trail.exchange_cached else "miss"] += 1
        total = 0
        for histogram, ns in zip(self._stages, trail.ns, strict=True):
            if ns > 0:  # `observe_ns`, written out: eight of them a Check
                histogram.counts[bisect_left(BUCKETS_NS, ns)] += 1
                histogram.total_ns += ns
                total += ns
        self._check.observe_ns(total)
        if trail.sampled:
            self._exemplify(trail, total)

    def _exemplify(self, trail: Trail, total: int) -> None:
        """A Check whose trace is kept stands for its buckets."""
        for histogram, ns in zip(self._stages, trail.ns, strict=True):
            if ns > 0:
                histogram.exemplify(ns, trail.trace_id, trail.started)
        self._check.exemplify(total, trail.trace_id, trail.started)

    def _denied(self, route: str, service: str, decision: object) -> None:
        code, layer = "engine.internal", "engine"
        if isinstance(decision, Deny):
            code, layer = self._code(decision.code), decision.layer.value
        denial = (route, service, layer, code)
        self._denials[denial] = self._denials.get(denial, 0) + 1
        if layer == "engine":
            self._faults[code,] = self._faults.get((code,), 0) + 1

    def upstream(self, upstream: Upstream, seconds: float, good: bool = True) -> None:  # noqa: FBT001, FBT002 - two outcomes
        """One call to another server: `jwks`, `attributes` or `opa`."""
        self._upstreams[upstream].observe_ns(int(seconds * 1e9))
        if not good:
            self.count("extauthz_upstream_errors_total", upstream)

    def jwks_fetch(self, issuer: str, outcome: Literal["ok", "error"]) -> None:
        self.count("extauthz_jwks_fetches_total", issuer, outcome)

    def cache_entries(self, cache: Literal["token", "decision", "exchange"], size: Callable[[], int]) -> None:
        """Where to ask for a cache's size when scraped."""
        self._entries[cache] = size

    def records_written(self, count: int) -> None:
        self.count("extauthz_records_total", count=count)

    def records_dropped(self, count: int, reason: Literal["buffer", "output", "record"]) -> None:
        self.count("extauthz_records_dropped_total", reason, count=count)

    def reload(self, outcome: Literal["ok", "refused"]) -> None:
        self.count("extauthz_reloads_total", outcome)

    def policy(self, revision: str) -> None:
        """The active revision; empty: none."""
        self._policy = revision

    def compared(self, route: str, difference: str, code: str) -> None:
        """Both policies have answered one question; `difference` is one of our own words."""
        self.count("extauthz_candidate_comparisons_total", route, difference, code)

    def candidate_answered(self, decision: Literal["allow", "deny", "fault"]) -> None:
        self.count("extauthz_candidate_answers_total", decision)

    def candidate_rolled_back(self) -> None:
        self.count("extauthz_candidate_rollbacks_total")

    def revocations(self, numbers: Callable[[], Mapping[str, Any]]) -> None:
        """Where to ask about revocations when scraped (`authn.revocation.Revocations.numbers`)."""
        self._revocations = numbers

    def candidate(self, numbers: Callable[[], Mapping[str, Any]] | None) -> None:
        """Where to ask about the candidate when scraped (`policy.rollout.Rollout.numbers`); None: there is none."""
        self._candidate = numbers

    def api(self, endpoint: str, status: int) -> None:
        """`endpoint` is one of ours, never a caller's path."""
        self.count("extauthz_api_requests_total", endpoint, str(status))

    def certificate(self, name: str, not_after: float) -> None:
        """`name` is one of ours (`listener`, `svid`), never a caller's. `not_after`: seconds since the epoch."""
        self._certificates[name,] = not_after

    def traces_sent(self, count: int) -> None:
        self.count("extauthz_traces_total", count=count)

    def traces_dropped(self, count: int, reason: Literal["buffer", "export"]) -> None:
        if count:
            self.count("extauthz_traces_dropped_total", reason, count=count)

    def render(self, *, openmetrics: bool = False) -> bytes:
        """Prometheus text format, its media type is `CONTENT_TYPE`; or OpenMetrics 1.0, which has the exemplars."""
        page: bytes = (generate_openmetrics if openmetrics else generate_latest)(self.registry)
        return page

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield counted("extauthz_checks_total", self._checks)
        yield counted("extauthz_denials_total", self._denials)
        yield counted("extauthz_cache_requests_total", self._caches)
        yield counted("extauthz_engine_faults_total", self._faults)
        yield timed("extauthz_check_seconds", {(): self._check})
        stages: dict[Labels, Histogram] = {
            (stage.name.lower(),): histogram for stage, histogram in zip(Stage, self._stages, strict=True)
        }
        yield timed("extauthz_stage_seconds", stages)
        upstreams: dict[Labels, Histogram] = {(name,): series for name, series in self._upstreams.items()}
        yield timed("extauthz_upstream_seconds", upstreams)
        sizes: Counts = {(cache,): size() for cache, size in self._entries.items()}
        yield gauged("extauthz_cache_entries", sizes)
        yield gauged("extauthz_checks_in_flight", {(): self.in_flight})
        with self._lock:
            rare = {name: series.copy() for name, series in self._rare.items()}
        for name, series in rare.items():
            yield counted(name, series)
        yield gauged("extauthz_policy_info", {(self._policy,): 1} if self._policy else {})
        yield gauged("extauthz_build_info", {(self._version,): 1})
        yield gauged("extauthz_certificate_not_after_seconds", self._certificates)
        for name in self._gauges:
            yield gauged(name, self._measured(name))
        yield from _candidate(self._candidate() if self._candidate else {})
        yield from _revocations(self._revocations() if self._revocations else {})

    def _measured(self, name: str) -> dict[Labels, float]:
        try:
            found = self._gauges[name]()
            return {self._labels(name, labels): value for labels, value in islice(found.items(), _MAX_SERIES)}
        except Exception:
            log.exception("%s cannot be measured", name)  # the other metrics must still be had
            return {}


def _revocations(numbers: Mapping[str, Any]) -> Iterator[Metric]:
    told = numbers.get("age") is not None
    yield gauged("extauthz_revocations_sequence", {(): numbers["sequence"]} if told else {})
    yield gauged("extauthz_revocations", {(kind,): n for kind, n in numbers["entries"].items()} if numbers else {})
    yield gauged("extauthz_revocations_age_seconds", {(): numbers["age"]} if told else {})
    yield gauged("extauthz_revocations_stale", {(): int(numbers["stale"])} if numbers else {})


def _candidate(numbers: Mapping[str, Any]) -> Iterator[Metric]:
    there = bool(numbers)
    yield gauged("extauthz_candidate_info", {(numbers["candidate"], numbers["phase"]): 1} if there else {})
    yield counted("extauthz_candidate_dropped_total", {(): numbers["dropped"]} if there else {})
    yield gauged("extauthz_candidate_waiting", {(): numbers["waiting"]} if there else {})
    compared = numbers.get("compared", 0)
    ratios: dict[tuple[str, ...], float] = {}
    if compared:
        ratios = {(name,): numbers[f"{name}_denied"] / compared for name in ("live", "candidate")}
    yield gauged("extauthz_candidate_denial_ratio", ratios)
