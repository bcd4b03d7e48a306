"""Every metric, in one place. `FAMILIES` is the whole list; `docs/telemetry.md` repeats it and a test compares.

Label values come from the configuration, from our own code, or from policies behind a bound: no caller can make one.
What happens once a Check is counted in plain dictionaries (`account`) and becomes Prometheus families when scraped.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from extauthz.codes import CODES
from extauthz.model import Deny
from extauthz.telemetry.trail import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from extauthz.telemetry.trail import Trail

    Counts = dict[tuple[str, ...], int]
    Timings = dict[tuple[str, ...], "Histogram"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
_BUCKETS_NS: Final = tuple(round(bound * 1e9) for bound in BUCKETS)
OTHER: Final = "other"
Upstream = Literal["jwks", "introspection", "attributes", "opa", "sts"]
UPSTREAMS: Final[tuple[Upstream, ...]] = ("jwks", "introspection", "attributes", "opa", "sts")
CACHES: Final = ("token", "decision", "exchange")
_MAX_ISSUERS: Final = 256


@dataclass(frozen=True, slots=True)
class Family:
    """`name` as it is scraped."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


def _families(*families: Family) -> dict[str, Family]:
    return {family.name: family for family in families}


FAMILIES: Final = _families(
    Family("extauthz_checks_total", "counter", ("route", "decision"), "Checks answered."),
    Family("extauthz_denials_total", "counter", ("route", "service", "layer", "code"), "Denials, by first reason."),
    Family("extauthz_check_seconds", "histogram", (), "Time of a whole Check."),
    Family("extauthz_stage_seconds", "histogram", ("stage",), "Time of one stage of a Check."),
    Family("extauthz_upstream_seconds", "histogram", ("upstream",), "Time of one call to another server."),
    Family("extauthz_upstream_errors_total", "counter", ("upstream",), "Calls to another server that failed."),
    Family("extauthz_cache_requests_total", "counter", ("cache", "outcome"), "Cache lookups."),
    Family("extauthz_cache_entries", "gauge", ("cache",), "Entries in a cache."),
    Family("extauthz_jwks_fetches_total", "counter", ("issuer", "outcome"), "Fetches of an issuer's keys."),
    Family("extauthz_engine_faults_total", "counter", ("code",), "Checks without a decision, by our own code."),
    Family("extauthz_records_total", "counter", (), "Decision records written."),
    Family("extauthz_records_dropped_total", "counter", ("reason",), "Decision records lost."),
    Family("extauthz_reloads_total", "counter", ("outcome",), "Reloads of the configuration or the policy."),
    Family("extauthz_policy_info", "gauge", ("revision",), "1 for the active policy revision."),
    Family("extauthz_build_info", "gauge", ("version",), "1 for the running version."),
    Family(
        "extauthz_certificate_not_after_seconds", "gauge", ("certificate",), "When a certificate of ours ends (epoch)."
    ),
    Family("extauthz_checks_in_flight", "gauge", (), "Checks being answered now."),
    Family("extauthz_revocations_sequence", "gauge", (), "The newest revocation that is known."),
    Family("extauthz_revocations", "gauge", ("kind",), "Revocations in force that the source told."),
    Family("extauthz_revocations_age_seconds", "gauge", (), "Time since all revocations were last known."),
    Family("extauthz_revocations_stale", "gauge", (), "1 while routes with effects deny for stale revocations."),
    Family("extauthz_candidate_info", "gauge", ("revision", "phase"), "1 for the candidate policy and what it does."),
    Family(
        "extauthz_candidate_comparisons_total",
        "counter",
        ("route", "difference", "code"),
        "Questions put to both policies, by what differs.",
    ),
    Family("extauthz_candidate_answers_total", "counter", ("decision",), "Checks that the candidate was to answer."),
    Family("extauthz_candidate_dropped_total", "counter", (), "Comparisons dropped because the queue was full."),
    Family("extauthz_candidate_waiting", "gauge", (), "Comparisons that wait."),
    Family(
        "extauthz_candidate_denial_ratio", "gauge", ("policy",), "Share of the compared questions denied in the window."
    ),
    Family("extauthz_candidate_rollbacks_total", "counter", (), "Candidates that were taken back by themselves."),
    Family("extauthz_api_requests_total", "counter", ("endpoint", "status"), "Requests to the HTTP API."),
)


_RARE: Final = (
    "extauthz_upstream_errors_total",
    "extauthz_jwks_fetches_total",
    "extauthz_records_total",
    "extauthz_records_dropped_total",
    "extauthz_reloads_total",
    "extauthz_candidate_comparisons_total",
    "extauthz_candidate_answers_total",
    "extauthz_candidate_rollbacks_total",
    "extauthz_api_requests_total",
)


class Bounded:
    """Lets known label values through, and of others the first `room`; the rest become `other`."""

    __slots__ = ("_given", "_known", "_room")

    def __init__(self, known: Iterable[str], room: int) -> None:
        self._known = set(known)
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
        if self._given >= self._room or not value.isprintable() or len(value) > 128:  # noqa: PLR2004 - longer than any code
            return OTHER
        self._given += 1
        self._known.add(value)
        return value


class Histogram:
    """One series: counts by bucket, in nanoseconds, without locks: only the event loop's thread writes."""

    __slots__ = ("counts", "total_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total_ns = 0

    def observe_ns(self, ns: int) -> None:
        self.counts[bisect_left(_BUCKETS_NS, ns)] += 1
        self.total_ns += ns

    def add_to(self, family: HistogramMetricFamily, labels: tuple[str, ...]) -> None:
        cumulated, so_far = [], 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            so_far += count
            cumulated.append((bound, so_far))
        family.add_metric(labels, cumulated, sum_value=self.total_ns / 1e9)


class Metrics(Collector):
    """One process's metrics, in a registry of their own."""

    def __init__(self, *, max_policy_codes: int = 100, version: str = "") -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.in_flight = 0
        """Checks being answered now; whoever answers counts up and down."""
        self._route = Bounded(("none",), 0)
        self._service = Bounded(("",), 0)
        self._code = Bounded(CODES, max_policy_codes)
        self._issuer = Bounded((), _MAX_ISSUERS)
        self._checks: Counts = {}
        self._denials: Counts = {}
        self._faults: Counts = {}
        self._caches: Counts = {(cache, outcome): 0 for cache in CACHES for outcome in ("hit", "miss")}
        self._entries: dict[str, Callable[[], int]] = {}
        self._stages = [Histogram() for _ in Stage]
        self._check = Histogram()
        self._upstreams = {upstream: Histogram() for upstream in UPSTREAMS}
        self._lock = Lock()
        self._rare: dict[str, Counts] = {name: {} for name in _RARE}
        self._policy = ""
        self._certificates: dict[tuple[str, ...], float] = {}
        self._version = version
        self._candidate: Callable[[], Mapping[str, Any]] | None = None
        self._revocations: Callable[[], Mapping[str, Any]] | None = None
        self.registry.register(self)

    def _add(self, name: str, *labels: str, count: int = 1) -> None:
        """For what does not happen at every Check; also called by other threads."""
        with self._lock:
            series = self._rare[name]
            series[labels] = series.get(labels, 0) + count

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
                histogram.counts[bisect_left(_BUCKETS_NS, ns)] += 1
                histogram.total_ns += ns
                total += ns
        self._check.observe_ns(total)

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
            self._add("extauthz_upstream_errors_total", upstream)

    def jwks_fetch(self, issuer: str, outcome: Literal["ok", "error"]) -> None:
        self._add("extauthz_jwks_fetches_total", self._issuer(issuer), outcome)

    def cache_entries(self, cache: Literal["token", "decision", "exchange"], size: Callable[[], int]) -> None:
        """Where to ask for a cache's size when scraped."""
        self._entries[cache] = size

    def records_written(self, count: int) -> None:
        self._add("extauthz_records_total", count=count)

    def records_dropped(self, count: int, reason: Literal["buffer", "output", "record"]) -> None:
        self._add("extauthz_records_dropped_total", reason, count=count)

    def reload(self, outcome: Literal["ok", "refused"]) -> None:
        self._add("extauthz_reloads_total", outcome)

    def policy(self, revision: str) -> None:
        """The active revision; empty: none."""
        self._policy = revision

    def compared(self, route: str, difference: str, code: str) -> None:
        """Both policies have answered one question; `difference` is one of our own words."""
        self._add("extauthz_candidate_comparisons_total", self._route(route), difference, code and self._code(code))

    def candidate_answered(self, decision: Literal["allow", "deny", "fault"]) -> None:
        self._add("extauthz_candidate_answers_total", decision)

    def candidate_rolled_back(self) -> None:
        self._add("extauthz_candidate_rollbacks_total")

    def revocations(self, numbers: Callable[[], Mapping[str, Any]]) -> None:
        """Where to ask about revocations when scraped (`authn.revocation.Revocations.numbers`)."""
        self._revocations = numbers

    def candidate(self, numbers: Callable[[], Mapping[str, Any]] | None) -> None:
        """Where to ask about the candidate when scraped (`policy.rollout.Rollout.numbers`); None: there is none."""
        self._candidate = numbers

    def api(self, endpoint: str, status: int) -> None:
        """`endpoint` is one of ours, never a caller's path."""
        self._add("extauthz_api_requests_total", endpoint, str(status))

    def certificate(self, name: str, not_after: float) -> None:
        """`name` is one of ours (`listener`, `svid`), never a caller's. `not_after`: seconds since the epoch."""
        self._certificates[name,] = not_after

    def render(self) -> bytes:
        """Prometheus text format; its media type is `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield _counted("extauthz_checks_total", self._checks)
        yield _counted("extauthz_denials_total", self._denials)
        yield _counted("extauthz_cache_requests_total", self._caches)
        yield _counted("extauthz_engine_faults_total", self._faults)
        yield _timed("extauthz_check_seconds", {(): self._check})
        stages: Timings = {
            (stage.name.lower(),): histogram for stage, histogram in zip(Stage, self._stages, strict=True)
        }
        yield _timed("extauthz_stage_seconds", stages)
        upstreams: Timings = {(name,): series for name, series in self._upstreams.items()}
        yield _timed("extauthz_upstream_seconds", upstreams)
        sizes: Counts = {(cache,): size() for cache, size in self._entries.items()}
        yield _gauged("extauthz_cache_entries", sizes)
        yield _gauged("extauthz_checks_in_flight", {(): self.in_flight})
        with self._lock:
            rare = {name: series.copy() for name, series in self._rare.items()}
        for name, series in rare.items():
            yield _counted(name, series)
        yield _gauged("extauthz_policy_info", {(self._policy,): 1} if self._policy else {})
        yield _gauged("extauthz_build_info", {(self._version,): 1})
        yield _gauged("extauthz_certificate_not_after_seconds", self._certificates)
        yield from _candidate(self._candidate() if self._candidate else {})
        yield from _revocations(self._revocations() if self._revocations else {})


def _revocations(numbers: Mapping[str, Any]) -> Iterator[Metric]:
    told = numbers.get("age") is not None
    yield _gauged("extauthz_revocations_sequence", {(): numbers["sequence"]} if told else {})
    yield _gauged("extauthz_revocations", {(kind,): n for kind, n in numbers["entries"].items()} if numbers else {})
    yield _gauged("extauthz_revocations_age_seconds", {(): numbers["age"]} if told else {})
    yield _gauged("extauthz_revocations_stale", {(): int(numbers["stale"])} if numbers else {})


def _candidate(numbers: Mapping[str, Any]) -> Iterator[Metric]:
    there = bool(numbers)
    yield _gauged("extauthz_candidate_info", {(numbers["candidate"], numbers["phase"]): 1} if there else {})
    yield _counted("extauthz_candidate_dropped_total", {(): numbers["dropped"]} if there else {})
    yield _gauged("extauthz_candidate_waiting", {(): numbers["waiting"]} if there else {})
    compared = numbers.get("compared", 0)
    ratios: dict[tuple[str, ...], float] = {}
    if compared:
        ratios = {(name,): numbers[f"{name}_denied"] / compared for name in ("live", "candidate")}
    yield _gauged("extauthz_candidate_denial_ratio", ratios)


def _counted(name: str, series: Counts) -> Metric:
    family = CounterMetricFamily(name.removesuffix("_total"), FAMILIES[name].help, labels=FAMILIES[name].labels)
    for labels, count in series.items():
        family.add_metric(labels, count)
    return family


def _gauged(name: str, series: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, FAMILIES[name].help, labels=FAMILIES[name].labels)
    for labels, value in series.items():
        family.add_metric(labels, value)
    return family


def _timed(name: str, series: Timings) -> Metric:
    family = HistogramMetricFamily(name, FAMILIES[name].help, labels=FAMILIES[name].labels)
    for labels, histogram in series.items():
        histogram.add_to(family, labels)
    return family
