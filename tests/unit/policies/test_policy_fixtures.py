"""Every fixture is answered as `fixtures/expected.yaml` says, whole and cut down to what its entrypoint reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from extauthz.model import Allow, Deny
from extauthz.policy.loader import load
from extauthz.policy.projection import Report, analyse, projector
from extauthz.policy.result import parse

FIXTURES = Path(__file__).resolve().parents[3] / "policies" / "fixtures"
EXPECTED = yaml.safe_load((FIXTURES / "expected.yaml").read_text())
ENTRYPOINTS = {
    f"extauthz/{name}/decision" for name in ("approvals", "datasets", "features", "main", "models", "payments")
}


@pytest.fixture(scope="session")
def report(opa, policies) -> Report:
    return analyse(opa.tool, load(policies))


def test_every_fixture_is_expected():
    assert {file.stem for file in FIXTURES.glob("*.json")} == set(EXPECTED)


def test_every_entrypoint_has_an_allowed_and_a_denied_fixture():
    answers = {(one["entrypoint"], one["allow"]) for one in EXPECTED.values()}
    assert answers == {(name, allow) for name in ENTRYPOINTS for allow in (True, False)}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_fixture_is_answered_as_expected(opa, report, name):
    expected = EXPECTED[name]
    document = json.loads((FIXTURES / f"{name}.json").read_text())
    query = f"data.{expected['entrypoint'].replace('/', '.')}"
    result = opa.eval(query, document)
    projected = json.loads(projector(report.analyses[expected["entrypoint"]])(document))
    assert opa.eval(query, projected) == result
    decision = parse(result)
    if expected["allow"]:
        assert isinstance(decision, Allow)
        assert list(decision.obligations.mask) == expected["mask"]
    else:
        assert isinstance(decision, Deny)
        assert [reason.code for reason in decision.reasons] == expected["codes"]
        assert all(reason.message and reason.remedy and reason.detail for reason in decision.reasons)


def test_main_answers_as_the_domain(opa):
    for name in ("payments_deny_tenant", "approvals_allow", "models_deny_zone", "features_allow", "datasets_allow"):
        document = json.loads((FIXTURES / f"{name}.json").read_text())
        query = f"data.{EXPECTED[name]['entrypoint'].replace('/', '.')}"
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
    assert readers == {"extauthz/approvals/decision", "extauthz/main/decision"}


HOSTILE = "x\x00\x1b[31m\u2028\x85\r\nset-cookie: a=b" * 100


@pytest.mark.parametrize("name", ["payments_allow_approved", "features_allow", "models_allow_score", "datasets_allow"])
def test_hostile_text_is_denied_and_never_repeated(opa, name):
    allowed = json.loads((FIXTURES / f"{name}.json").read_text())
    query = f"data.{EXPECTED[name]['entrypoint'].replace('/', '.')}"
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
