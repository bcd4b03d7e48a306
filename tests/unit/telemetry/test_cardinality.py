"""However hostile the requests, the policies and the configuration's numbers: how many series there are has a bound.

The bound is computed from what the server knows, never from what came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from extauthz.codes import CODES, Layer
from extauthz.model import Allow, Deny, Reason, Subject, Workload
from extauthz.telemetry.families import FAMILIES
from extauthz.telemetry.metrics import CACHES, UPSTREAMS, Metrics
from extauthz.telemetry.series import BUCKETS
from extauthz.telemetry.trail import RouteFacts, Stage, Trail
from tests.support.attribute_questions import request

if TYPE_CHECKING:
    from collections.abc import Callable

ROUTES, SERVICES, POLICY_CODES = ("read", "write"), ("transfers",), 5
VALUES = 256
"""Of a label that is no route, service or code."""
HISTOGRAM = len(BUCKETS) + 3
"""Series of one: buckets, +Inf, sum and count."""
ANY = st.text(max_size=140) | st.sampled_from(["read", "other", "none", "token.expired", 'a"} 1\nevil{x="', "\ud800"])
LAYERED = st.builds("{}.{}".format, st.sampled_from(list(Layer)), ANY) | st.sampled_from(sorted(CODES))


@st.composite
def trails(draw: st.DrawFn) -> Trail:
    made = Trail(draw(st.floats(0, 2e9)), draw(ANY))
    headers = {"traceparent": draw(ANY | st.just(f"00-{1:032x}-{2:016x}-01")), "x-tenant": draw(ANY)}
    made.describe(request(b"", headers))
    made.trace()
    made.method, made.host, made.path, made.source = draw(ANY), draw(ANY), draw(ANY), draw(ANY)
    made.route = RouteFacts(draw(ANY), draw(ANY), draw(ANY), draw(ANY), draw(ANY), draw(ANY))
    made.subject = Subject(draw(ANY), draw(ANY), draw(ANY), claims={"tenant": draw(ANY)})
    made.workload = Workload(draw(ANY), draw(ANY), tenant=draw(ANY))
    made.decision = draw(
        st.none() | st.just(Allow()) | st.builds(Deny, st.builds(Reason, LAYERED).map(lambda one: (one,)))
    )
    made.token_cached, made.decision_cached, made.exchange_cached = (draw(st.none() | st.booleans()) for _ in range(3))
    made.ns = draw(st.lists(st.integers(0, 10**11), min_size=len(Stage), max_size=len(Stage)))
    return made


def series(metrics: Metrics, *, openmetrics: bool = False) -> dict[str, int]:
    """Family → series in a scrape, which must be one that can be read."""
    page = metrics.render(openmetrics=openmetrics).decode()
    if openmetrics:
        return {"": sum(not line.startswith("#") for line in page.splitlines())}
    found = {}
    for family in text_string_to_metric_families(page):
        seen = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(seen) == len(set(seen))
        found[f"{family.name}_total" if family.type == "counter" else family.name] = len(seen)
    return found


def bound() -> dict[str, int]:
    routes, services = len(ROUTES) + 2, len(SERVICES) + 2  # none or "", other
    codes = len(CODES) + POLICY_CODES + 1
    known = {
        "extauthz_checks_total": routes * 2,
        "extauthz_denials_total": routes * services * len(Layer) * codes,
        "extauthz_engine_faults_total": codes,
        "extauthz_check_seconds": HISTOGRAM,
        "extauthz_stage_seconds": HISTOGRAM * len(Stage),
        "extauthz_upstream_seconds": HISTOGRAM * len(UPSTREAMS),
        "extauthz_cache_requests_total": 2 * len(CACHES),
    }
    return {name: known.get(name, 4096) for name in FAMILIES}


def fresh() -> Metrics:
    metrics = Metrics(version="0.1.0", max_policy_codes=POLICY_CODES)
    metrics.know(ROUTES, SERVICES)
    return metrics


def within(metrics: Metrics) -> None:
    found, most = series(metrics), bound()
    assert {name: count for name, count in found.items() if count > most[name]} == {}


@given(st.lists(trails(), max_size=30))
def test_no_check_makes_more_series_than_the_configuration_allows(checks: list[Trail]) -> None:
    metrics = fresh()
    for one in checks:
        metrics.account(one)
    within(metrics)
    assert series(metrics)["extauthz_checks_total"] <= 2 * (len(ROUTES) + 2)
    series(metrics, openmetrics=True)


@given(st.data())
def test_what_is_counted_and_measured_by_name_is_bounded_too(data: st.DataObject) -> None:
    metrics = fresh()
    counters = [name for name in metrics.countable if FAMILIES[name].labels]
    gauges = [family for family in FAMILIES.values() if family.kind == "gauge"]
    for name in data.draw(st.lists(st.sampled_from(counters), max_size=30)):
        metrics.count(name, *(data.draw(ANY) for _ in FAMILIES[name].labels))
    for family in data.draw(st.lists(st.sampled_from(gauges), max_size=5)):
        values = data.draw(st.lists(st.tuples(*[ANY for _ in family.labels]), max_size=10))
        metrics.measure(family.name, lambda values=values: dict.fromkeys(values, 1.0))
    within(metrics)


def test_a_flood_of_values_ends_as_other() -> None:
    metrics = fresh()
    flood: dict[str, Callable[[int], Any]] = {
        "extauthz_jwks_fetches_total": lambda n: (f"issuer-{n}", "ok"),
        "extauthz_breaker_transitions_total": lambda n: (f"endpoint-{n}", "open"),
        "extauthz_failure_plans_total": lambda n: (f"route-{n}", f"cause-{n}", f"plan-{n}"),
        "extauthz_candidate_comparisons_total": lambda n: ("read", "code", f"attribute.made-up-{n}"),
    }
    for number in range(5000):
        for name, labels in flood.items():
            metrics.count(name, *labels(number))
    metrics.measure("extauthz_quarantines", lambda: {(f"kind-{number}",): 1.0 for number in range(9000)})
    for number in range(5000):
        made = Trail(0.0)
        made.route, made.decision = RouteFacts(f"r{number}", f"s{number}"), Deny((Reason(f"attribute.x{number}"),))
        metrics.account(made)
    found = series(metrics)
    assert found["extauthz_jwks_fetches_total"] == VALUES + 1
    assert found["extauthz_breaker_transitions_total"] == VALUES + 1
    assert found["extauthz_failure_plans_total"] <= 4096
    assert found["extauthz_quarantines"] <= VALUES + 1
    codes = {
        sample.labels["code"] for family in metrics.collect() for sample in family.samples if "code" in sample.labels
    }
    assert len(codes - set(CODES)) <= POLICY_CODES + 1
    assert found["extauthz_denials_total"] == 1  # every route, service and code is another one
    within(metrics)
