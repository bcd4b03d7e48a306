"""Metrics: one list, the same in code, in what is scraped, and in docs/telemetry.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from extauthz.model import Allow, Deny, Reason, deny
from extauthz.telemetry.families import FAMILIES
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.series import BUCKETS, Bounded
from extauthz.telemetry.trail import RouteFacts, Stage, Trail

DOCS = Path(__file__).parents[3] / "docs" / "telemetry.md"
CANDIDATE = {
    "candidate": "rev-2",
    "phase": "shadow",
    "dropped": 3,
    "waiting": 1,
    "compared": 8,
    "live_denied": 2,
    "candidate_denied": 4,
}
OWN = {
    *("extauthz_checks_total", "extauthz_denials_total", "extauthz_engine_faults_total"),
    *("extauthz_cache_requests_total", "extauthz_cache_entries", "extauthz_checks_in_flight"),
    *("extauthz_policy_info", "extauthz_build_info", "extauthz_certificate_not_after_seconds"),
}
"""Families with methods of their own; so have `candidate` and `revocations`."""
ROUTE = RouteFacts("create-transfer", service="transfers")


def trail(decision: Allow | Deny | None, route: RouteFacts = ROUTE) -> Trail:
    made = Trail(0.0)
    made.route, made.decision = route, decision
    return made


def known(**more: int) -> Metrics:
    metrics = Metrics(version="0.1.0", **more)
    metrics.know(["create-transfer"], ["transfers"])
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def every_metric() -> Metrics:
    """Metrics in which every family has a sample."""
    metrics = known()
    made = trail(deny("engine.deadline"))
    made.token_cached = made.decision_cached = True
    for stage in Stage:
        made.mark(stage)
    metrics.account(made)
    metrics.upstream("opa", 0.001, False)
    metrics.jwks_fetch("https://issuer.example", "ok")
    metrics.cache_entries("token", lambda: 5)
    metrics.records_written(1)
    metrics.records_dropped(1, "buffer")
    metrics.reload("ok")
    metrics.policy("rev-1")
    metrics.certificate("svid", 1_800_000_000)
    metrics.revocations(lambda: {"sequence": 7, "entries": {"jti": 2}, "age": 1.5, "stale": False})
    metrics.compared("create-transfer", "allowed_to_denied", "role.denied")
    metrics.candidate_answered("allow")
    metrics.candidate_rolled_back()
    metrics.candidate(lambda: CANDIDATE)
    metrics.api("evaluation", 200)
    metrics.traces_sent(1)
    metrics.traces_dropped(1, "buffer")
    for family in FAMILIES.values():
        if family.name in OWN or re.search("_(candidate|revocations)", family.name):
            continue
        if family.kind == "counter":
            metrics.count(family.name, *family.labels)
        elif family.kind == "gauge":
            metrics.measure(family.name, lambda family=family: {family.labels: 2.0})
    return metrics


def test_what_is_scraped_is_what_is_declared() -> None:
    scraped: dict[str, tuple[str, frozenset[str]]] = {}
    for family in text_string_to_metric_families(every_metric().render().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {frozenset(label for label in sample.labels if label != "le") for sample in family.samples}
        assert len(labels) == 1, name
        scraped[name] = (family.type, labels.pop())
        assert family.documentation == FAMILIES[name].help
    assert scraped == {name: (family.kind, frozenset(family.labels)) for name, family in FAMILIES.items()}


def test_the_document_lists_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(extauthz_\w+)` \| (\w+) \| ([^|]*) \|", DOCS.read_text(), re.MULTILINE)
    documented = [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]
    assert documented == [(name, family.kind, family.labels) for name, family in FAMILIES.items()]


def test_a_candidate_is_shown_while_there_is_one() -> None:
    metrics = every_metric()
    assert value(metrics, "extauthz_candidate_info", revision="rev-2", phase="shadow") == 1
    assert value(metrics, "extauthz_candidate_denial_ratio", policy="live") == 0.25
    assert value(metrics, "extauthz_candidate_denial_ratio", policy="candidate") == 0.5
    assert value(metrics, "extauthz_candidate_dropped_total") == 3
    labels = {"route": "create-transfer", "difference": "allowed_to_denied", "code": "role.denied"}
    assert value(metrics, "extauthz_candidate_comparisons_total", **labels) == 1
    metrics.candidate(None)
    assert value(metrics, "extauthz_candidate_info", revision="rev-2", phase="shadow") is None
    metrics.candidate(lambda: {**CANDIDATE, "compared": 0})
    assert value(metrics, "extauthz_candidate_denial_ratio", policy="live") is None


def test_checks_and_denials() -> None:
    metrics = known()
    for decision in (Allow(), Allow(), deny("token.expired"), None):
        metrics.account(trail(decision))
    route = {"route": "create-transfer"}
    assert value(metrics, "extauthz_checks_total", decision="allow", **route) == 2
    assert value(metrics, "extauthz_checks_total", decision="deny", **route) == 2
    denial = {"service": "transfers", **route}
    assert value(metrics, "extauthz_denials_total", layer="token", code="token.expired", **denial) == 1
    assert value(metrics, "extauthz_denials_total", layer="engine", code="engine.internal", **denial) == 1
    assert value(metrics, "extauthz_engine_faults_total", code="engine.internal") == 1


def test_stages_are_split() -> None:
    metrics = known()
    made = trail(Allow())
    made.ns[Stage.TOKEN], made.ns[Stage.POLICY] = 10_000, 700_000
    metrics.account(made)
    assert value(metrics, "extauthz_stage_seconds_count", stage="token") == 1
    assert value(metrics, "extauthz_stage_seconds_count", stage="parse") == 0
    assert value(metrics, "extauthz_stage_seconds_bucket", stage="token", le="1e-05") == 1
    assert value(metrics, "extauthz_stage_seconds_bucket", stage="policy", le="0.0005") == 0
    assert value(metrics, "extauthz_stage_seconds_bucket", stage="policy", le="0.001") == 1
    assert value(metrics, "extauthz_stage_seconds_bucket", stage="policy", le="+Inf") == 1
    assert value(metrics, "extauthz_stage_seconds_sum", stage="policy") == pytest.approx(0.0007)
    assert value(metrics, "extauthz_check_seconds_sum") == pytest.approx(0.00071)


def test_buckets_go_from_ten_microseconds_to_five_seconds() -> None:
    assert (BUCKETS[0], BUCKETS[-1]) == (0.00001, 5.0)
    assert list(BUCKETS) == sorted(set(BUCKETS))
    metrics = known()
    metrics.upstream("jwks", 60)
    assert value(metrics, "extauthz_upstream_seconds_bucket", upstream="jwks", le="5.0") == 0
    assert value(metrics, "extauthz_upstream_seconds_bucket", upstream="jwks", le="+Inf") == 1


def test_caches() -> None:
    metrics = known()
    for token, decision in ((True, True), (True, False), (None, None)):
        made = trail(Allow())
        made.token_cached, made.decision_cached = token, decision
        metrics.account(made)
    assert value(metrics, "extauthz_cache_requests_total", cache="token", outcome="hit") == 2
    assert value(metrics, "extauthz_cache_requests_total", cache="token", outcome="miss") == 0
    assert value(metrics, "extauthz_cache_requests_total", cache="decision", outcome="miss") == 1
    size = [3]
    metrics.cache_entries("decision", lambda: size[0])
    assert value(metrics, "extauthz_cache_entries", cache="decision") == 3
    size[0] = 4
    assert value(metrics, "extauthz_cache_entries", cache="decision") == 4


def test_names_that_the_configuration_does_not_have_are_no_labels() -> None:
    metrics = known()
    metrics.account(trail(Allow(), RouteFacts("made-up")))
    metrics.account(trail(deny("token.missing"), RouteFacts("made-up", service="made-up")))
    assert value(metrics, "extauthz_checks_total", route="other", decision="allow") == 1
    labels = {"route": "other", "service": "other", "layer": "token", "code": "token.missing"}
    assert value(metrics, "extauthz_denials_total", **labels) == 1
    assert b"made-up" not in metrics.render()


def test_codes_of_policies_have_a_bound() -> None:
    metrics = known(max_policy_codes=2)
    for code in ("attribute.a", "attribute.b", "attribute.c", "attribute.a", "role.denied", "attribute.x\n"):
        metrics.account(trail(Deny((Reason(code),))))
    text = metrics.render().decode()
    codes = re.findall(r'code="([^"]*)"', text)
    assert sorted(set(codes)) == ["attribute.a", "attribute.b", "other", "role.denied"]


def test_bounded_refuses_what_no_label_should_be() -> None:
    bounded = Bounded(["a"], 1)
    assert [bounded(text) for text in ("a", "x" * 129, "\n", "b", "c", "b", "a")] == [
        "a",
        "other",
        "other",
        "b",
        "other",
        "b",
        "a",
    ]


def test_one_revision_is_active() -> None:
    metrics = known()
    metrics.policy("one")
    metrics.policy("two")
    assert value(metrics, "extauthz_policy_info", revision="two") == 1
    assert value(metrics, "extauthz_policy_info", revision="one") is None


def test_checks_in_flight() -> None:
    metrics = known()
    metrics.in_flight += 2
    assert value(metrics, "extauthz_checks_in_flight") == 2


def test_registries_are_separate() -> None:
    one, two = known(), known()
    one.account(trail(Allow()))
    assert value(two, "extauthz_checks_total", route="create-transfer", decision="allow") is None
