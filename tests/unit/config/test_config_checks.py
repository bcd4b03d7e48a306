"""Every rule of `config.checks`: what it refuses and where, and a near miss that it accepts."""

from __future__ import annotations

from typing import Any

import pytest

from extauthz.config import inspect, load_text
from extauthz.config.checks.rule import Registry, advice, error
from extauthz.config.loader import validate
from extauthz.errors import ConfigError
from extauthz.strict_yaml import parse

from . import audit_cases, authority_cases, judgement_cases
from .conftest import REMOVE
from .rule_cases import ACCEPTED, GRANTS, ISSUER, REFUSED, more, own


@pytest.mark.parametrize(("rule", "changes", "key", "words"), REFUSED)
def test_a_rule_refuses(text, rule, changes, key, words):
    written = text(changes)
    with pytest.raises(ConfigError) as caught:
        load_text(written)
    found = [problem for problem in caught.value.problems if problem.key == key and words in problem.message]
    assert found, caught.value.problems
    assert found[0].line > 0 or f"\n{key.split('.')[0]}:" not in written
    assert found[0].remedy
    config = validate(parse(written.encode(), "f"))
    mine = list(error.rules[rule](config))
    assert any(words in finding.message for finding in mine)


@pytest.mark.parametrize(("rule", "changes"), ACCEPTED)
def test_a_near_miss_is_accepted(text, rule, changes):
    load_text(text(changes))
    assert rule in error.rules


def test_every_rule_is_tried_both_ways():
    assert {rule for rule, *_ in REFUSED} == set(error.rules)
    assert {rule for rule, _ in ACCEPTED} == set(error.rules)


def test_several_findings_come_at_once(text):
    with pytest.raises(ConfigError) as caught:
        load_text(text({"routes.1.on_failure": "open", "routes.1.evaluation": "async", "server.listen": "0.0.0.0:1"}))
    assert len(caught.value.problems) == 3


ADVICE: list[tuple[str, dict[str, Any], str]] = [
    ("api_keys_are_taken_somewhere", {"api_keys": {"file": "api-keys.yaml"}}, "api_keys.file"),
    ("nothing_is_declared_in_vain", {"issuers.+": ISSUER}, "issuers[1].name"),
    (
        "introspection_is_used",
        {"issuers.0.introspection": {"url": "https://bank.example/i", "client": {"id": "x", "secret_env": "X"}}},
        "issuers[0].introspection",
    ),
    ("token_service_is_used", {"sts": {"url": "https://authority.example/token"}}, "sts"),
    ("nothing_is_declared_in_vain", {"routes.1.attributes": []}, "attributes.sources[1].name"),
    ("every_route_lets_somebody_in", {"routes.0.workloads": []}, "routes[0].workloads"),
    ("every_route_lets_somebody_in", {"routes.0.token.issuers": []}, "routes[0].token.issuers"),
    (
        "anonymous_callers_are_meant",
        own("none", {"routes.0.public": True, "routes.0.workloads": []}),
        "routes[0].credential",
    ),
    ("the_environment_is_named", {"environment": REMOVE}, "environment"),
    ("tokens_say_what_they_are", {"issuers.0.types": ["at+jwt", "absent"]}, "issuers[0].types"),
    ("effects_can_be_stopped", {}, "revocation.file"),
    (
        "the_feed_knows_who_asks",
        {"revocation.feed": {"url": "https://authority.bank.example/v1/revocations"}},
        "revocation.feed",
    ),
    ("cache_times_take_effect", {"routes.0.cache_ttl": "40s"}, "routes[0].cache_ttl"),
    ("files_are_there", {}, "policy.path"),
    ("entrypoints_have_a_package", {"routes.0.policy": "extauthz/payment/decision"}, "routes[0].policy"),
    ("health_and_metrics_are_visible", {"server.http": "0.0.0.0:9190"}, "server.http"),
    *audit_cases.ADVICE,
    ("break_glass_is_for_some_route", GRANTS, "break_glass"),
    ("break_glass_keys_can_be_read", {"break_glass": {"keys": "extauthz.yaml", "audience": "a"}}, "break_glass.keys"),
    *authority_cases.ADVICE,
    *judgement_cases.ADVICE,
]
QUIET = {"revocation.file": "revoked.yaml"}


@pytest.mark.parametrize(("rule", "changes", "key"), ADVICE)
def test_advice_is_given_and_changes_nothing(text, tmp_path, rule, changes, key):
    file = tmp_path / "extauthz.yaml"
    file.write_text(text(changes))
    if rule == "entrypoints_have_a_package":
        write_policy(tmp_path)
    report = inspect(file)
    assert report.config is not None, report.problems
    assert report.problems == ()
    assert key in {warning.key for warning in report.warnings}
    assert all(warning.remedy for warning in report.warnings)


def write_policy(directory):
    (directory / "policies").mkdir()
    (directory / "policies" / "payments.rego").write_text("# METADATA\npackage extauthz.payments # here\n\nx := 1\n")
    (directory / "policies" / "payment_test.rego").write_text("package extauthz.payment\n")


def test_there_is_a_configuration_that_needs_no_advice(text, tmp_path):
    file = tmp_path / "extauthz.yaml"
    file.write_text(text(QUIET))
    (tmp_path / "revoked.yaml").write_text("{}")
    write_policy(tmp_path)
    report = inspect(file)
    assert report.warnings == ()
    assert report.problems == ()


def test_all_advice_is_tried():
    assert {rule for rule, *_ in ADVICE} == set(advice.rules)


def test_the_registry_refuses_a_second_rule_of_one_name():
    registry = Registry()

    def rule(_config):
        yield from ()

    registry(rule)
    with pytest.raises(AssertionError, match="twice"):
        registry(rule)


def test_many_routes_of_one_template_are_compared_quickly(text):
    routes = [
        more(name=f"r{n}", match_hosts=[f"t{n}.tenants.example", f"*.t{n}.tenants.example"])["routes.+"]
        for n in range(300)
    ]
    assert len(load_text(text({"routes": routes, "attributes": REMOVE})).routes) == 300
    routes.append(more(name="all", match_hosts=["*.t7.tenants.example"])["routes.+"])
    with pytest.raises(ConfigError, match="r7 and all"):
        load_text(text({"routes": routes, "attributes": REMOVE}))
