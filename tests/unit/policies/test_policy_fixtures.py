"""Every fixture is answered as `fixtures/cases.yaml` says, whole and cut down to what its entrypoint reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from extauthz.model import Deny
from extauthz.policy.case_files import load_cases
from extauthz.policy.cases import judge
from extauthz.policy.loader import load
from extauthz.policy.projection import Report, analyse, projector
from extauthz.policy.result import parse

FIXTURES = Path(__file__).resolve().parents[3] / "policies" / "fixtures"
CASES = {case.name: case for case in load_cases(FIXTURES.parent)}
ENTRYPOINTS = {
    f"extauthz/{name}/decision"
    for name in ("approvals", "datasets", "egress", "exchange", "features", "main", "models", "operations", "payments")
}


@pytest.fixture(scope="session")
def report(opa, policies) -> Report:
    return analyse(opa.tool, load(policies))


def test_every_fixture_is_expected():
    assert {file.stem for file in FIXTURES.glob("*.json")} == set(CASES)


def test_every_entrypoint_has_an_allowed_and_a_denied_fixture():
    answers = {(case.entrypoint, case.expected.allow) for case in CASES.values()}
    assert answers == {(name, allow) for name in ENTRYPOINTS for allow in (True, False)}


@pytest.mark.parametrize("name", sorted(CASES))
def test_fixture_is_answered_as_expected(opa, report, name):
    case = CASES[name]
    assert case.expected.codes or case.expected.mask is not None
    query = f"data.{case.entrypoint.replace('/', '.')}"
    result = opa.eval(query, case.input)
    projected = json.loads(projector(report.analyses[case.entrypoint])(case.input))
    assert opa.eval(query, projected) == result
    decision = parse(result)
    assert judge(case, decision).problems == ()
    if isinstance(decision, Deny):
        assert all(reason.message and reason.remedy and reason.detail for reason in decision.reasons)


def test_main_answers_as_the_domain(opa):
    for name in ("payments_deny_tenant", "approvals_allow", "models_deny_zone", "features_allow", "datasets_allow"):
        document = json.loads((FIXTURES / f"{name}.json").read_text())
        query = f"data.{CASES[name].entrypoint.replace('/', '.')}"
        assert opa.eval("data.extauthz.main.decision", document) == opa.eval(query, document)


def test_entrypoints_are_declared(report):
    assert set(report.declared) == ENTRYPOINTS


def test_entrypoints_read_narrowly(report):
    whole = {(), ("subject",), ("subject", "properties"), ("resource",), ("resource", "properties"), ("context",)}
    for name in ENTRYPOINTS:
        analysis = report.analyses[name]
        assert analysis.defined
        assert not whole & set(analysis.paths)
        assert not analysis.nondeterministic


def test_only_approvals_tell_subjects_apart(report):
    readers = {name for name in ENTRYPOINTS if ("subject", "id") in report.analyses[name].paths}
    # An exchange is never answered from a cache.
    assert readers == {"extauthz/approvals/decision", "extauthz/exchange/decision", "extauthz/main/decision"}


HOSTILE = "x\x00\x1b[31m\u2028\x85\r\nset-cookie: a=b" * 100


@pytest.mark.parametrize("name", ["payments_allow_approved", "features_allow", "models_allow_score", "datasets_allow"])
def test_hostile_text_is_denied_and_never_repeated(opa, name):
    allowed = json.loads((FIXTURES / f"{name}.json").read_text())
    query = f"data.{CASES[name].entrypoint.replace('/', '.')}"
    places = [
        ("subject", "properties"),
        ("resource", "properties"),
        ("resource",),
        ("context",),
        ("context", "workload"),
    ]
    places += [("resource", "properties", part) for part in ("model", "dataset")]
    for place in places:
        document = json.loads(json.dumps(allowed))
        holder = document
        for key in place:
            holder = holder.get(key, {})
        holder |= {key: HOSTILE for key, value in holder.items() if isinstance(value, str)}
        changed = document != allowed
        decision = parse(opa.eval(query, document))
        assert isinstance(decision, Deny) == changed
        if isinstance(decision, Deny):
            assert "set-cookie" not in str(decision.reasons)
