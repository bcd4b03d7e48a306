"""The Check server that other projects' tests get: real processes, and none of them left."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from extauthz.errors import ConfigError, ExtauthzError
from extauthz.testing import assert_allowed, assert_denied, connect, server, serving
from tests.support.leftovers import processes_of
from tests.support.parts import require_embedded, require_opa

REQUIRED = {"sidecar": require_opa, "embedded": require_embedded}
AUDIENCE = "https://payments.bank.example"
PAYMENT = {"tenant": "acme", "amount": 10}


@pytest.fixture
def folder(monkeypatch):
    """Where the server's own folder goes, so that what is left can be seen."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as made:
        monkeypatch.setattr(server, "short_folder", lambda: made)
        yield Path(made)


def _clerk(extauthz, **claims):
    claims = {"roles": ["clerk"], "tenant": "acme", "scope": "payments.write", **claims}
    return extauthz.token("alice", audience=AUDIENCE, **claims)


@pytest.mark.opa
@pytest.mark.parametrize("engine", [pytest.param("sidecar"), pytest.param("embedded", marks=pytest.mark.embedded)])
def test_it_serves_and_leaves_nothing(sample, folder, engine):
    REQUIRED[engine]()
    require_opa()
    with serving(sample / "extauthz.yaml", engine=engine) as extauthz:
        token = _clerk(extauthz)
        allowed = extauthz.check("POST", "/v1/payments", token=token, json=PAYMENT, route="create-payment")
        assert_allowed(allowed, subject="alice")
        assert allowed.record["engine"] == engine
        denied = extauthz.check("POST", "/v1/payments", token=token, json={**PAYMENT, "tenant": "globex"})
        assert_denied(denied, layer="attribute", code="attribute.tenant_mismatch")
        assert denied.record["result"]["reasons"][0]["detail"] == "subject acme, resource globex"
        bound = _clerk(extauthz, bound_to="spiffe://bank.example/env/prod/ns/web/sa/shop")
        assert_denied(extauthz.check("POST", "/v1/payments", token=bound, json=PAYMENT), layer="transport")
        foreign = extauthz.check("POST", "/internal/settlements", caller="spiffe://evil.example/env/prod/ns/batch/sa/x")
        assert_denied(foreign, code="workload.trust_domain")
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []


@pytest.mark.opa
def test_a_policy_that_does_not_compile_is_told_with_the_log(sample, folder):
    require_opa()
    with (sample / "policies" / "payments" / "payments.rego").open("a") as policy:
        policy.write("\nbroken := {\n")
    with pytest.raises(ExtauthzError, match=r"(?s)extauthz serve did not start.*payments\.rego"):
        serving(sample / "extauthz.yaml").__enter__()
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []


def test_a_configuration_that_is_refused_starts_nothing(sample, folder):
    (sample / "extauthz.yaml").write_text("version: 2\n")
    with pytest.raises(ConfigError, match=r"extauthz\.yaml:1"):
        serving(sample / "extauthz.yaml").__enter__()
    assert list(folder.iterdir()) == []


def test_nobody_at_the_address(monkeypatch, tmp_path):
    monkeypatch.setattr(server, "_TIMEOUT", 0.2)
    with (
        connect(f"unix://{tmp_path}/none.sock") as extauthz,
        pytest.raises(ExtauthzError, match=r"none\.sock did not answer: DEADLINE_EXCEEDED"),
    ):
        extauthz.check("GET", "/")


@pytest.mark.parametrize("ask", [lambda server: server.token("a", audience="b"), lambda server: server.workload("c")])
def test_without_the_folder_there_are_no_credentials(ask):
    with (
        connect("127.0.0.1:1") as extauthz,
        pytest.raises(ExtauthzError, match="--extauthz-folder"),
    ):
        ask(extauthz)


def test_without_the_folder_there_are_no_records():
    with connect("127.0.0.1:1") as extauthz:
        assert extauthz.record("d-1") is None
        assert extauthz.claims("t") is None
        assert extauthz.remedy("attribute.x") == ""


@pytest.mark.opa
def test_a_running_server_is_asked_by_its_address(sample, folder):
    require_opa()
    with serving(sample / "extauthz.yaml") as started:
        made = next(folder.glob("xt-*/f"))
        with connect(started.address, made) as extauthz:
            answer = extauthz.check("POST", "/v1/payments", token=_clerk(extauthz), json=PAYMENT)
            assert_allowed(answer, subject="alice")
            assert answer.record["request"]["route"] == "create-payment"
