"""Each attestor with honest evidence: what it says of the workload, and what it needs to say it."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import pkcs7
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from extauthz.attestation.attestor import Attested, selector
from extauthz.attestation.oidc import covers
from extauthz.attestation.refusal import CODES, Refused
from extauthz.attestation.settings import AttestationSettings
from extauthz.errors import ConfigError
from extauthz.store.store import StoreError
from tests.support.attestation import (
    ACCOUNT,
    AUTHORITY,
    BUILDS,
    CLUSTER,
    Cloud,
    Desk,
    Reviewer,
    build_job,
    cluster,
    desk,
    keys_of,
    kubernetes,
    oidc,
    pkcs7_evidence,
    service_account,
)
from tests.support.tokens import EPOCH

PROD = cluster()
PROVIDER = cluster(BUILDS, "b-1")
IRELAND = Cloud()


async def test_a_pod_is_described_by_its_token() -> None:
    made = desk(kubernetes(), documents=keys_of(PROD))
    found = await made.attested(service_account(PROD), "kubernetes")
    assert found.selectors == {
        "k8s:cluster:prod",
        "k8s:ns:orchestration",
        "k8s:sa:orchestrator",
        "k8s:sa-uid:0f7c2a51-1111-4222-8333-444455556666",
        "k8s:pod:orchestrator-7d9f",
        "k8s:pod-uid:9a8b7c6d-1111-4222-8333-444455556666",
        "k8s:node:node-1",
    }
    assert found.attestor == "kubernetes"
    assert found.expires_at == EPOCH + 3540 + 30
    assert len(found.evidence_id) == 64
    assert found.instance == "prod/9a8b7c6d-1111-4222-8333-444455556666"


async def test_a_token_without_a_pod_where_that_is_enough() -> None:
    made = desk(kubernetes(require_pod=False), documents=keys_of(PROD))
    token = service_account(PROD, kubernetes={"pod": ..., "node": ...})
    found = await made.attested(token, "kubernetes")
    assert not {text for text in found.selectors if "pod" in text}
    assert found.instance == ""  # it may be any pod of the account


@pytest.mark.parametrize(
    ("allowed", "code"),
    [
        ({"namespaces": ["*"]}, "ok"),
        ({"service_accounts": ["orchestration/orchestrator"]}, "ok"),
        ({"service_accounts": ["orchestration/*"]}, "ok"),
        ({"service_accounts": ["model/*"]}, "attestation.not_allowed"),
        ({"service_accounts": ["orchestration/orchestrator-2"]}, "attestation.not_allowed"),
        ({"namespaces": ["model"], "service_accounts": ["orchestration/*"]}, "attestation.not_allowed"),
    ],
)
async def test_both_allow_lists_count(allowed, code) -> None:
    made = desk(kubernetes(**allowed), documents=keys_of(PROD))
    assert await made.code(service_account(PROD), "kubernetes") == code


async def test_a_token_may_serve_again_where_the_settings_say_so() -> None:
    made = desk(kubernetes(once=False), documents=keys_of(PROD))
    token = service_account(PROD)
    assert [await made.code(token, "kubernetes") for _ in range(2)] == ["ok", "ok"]
    made.clock.advance(3571.0)
    assert await made.code(token, "kubernetes") == "attestation.expired"


async def test_keys_that_cannot_be_had_are_no_refusal_of_the_workload() -> None:
    made = desk(kubernetes(), documents={})
    assert await made.code(service_account(PROD), "kubernetes") == "attestation.unavailable"
    assert CODES["attestation.unavailable"].status == 503


async def test_keys_from_a_file(tmp_path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(PROD.jwks()))
    made = desk(kubernetes(jwks={"file": str(path)}))
    assert await made.code(service_account(PROD), "kubernetes") == "ok"
    assert made.server.calls == []


async def test_keys_are_fetched_in_the_background() -> None:
    made = desk(kubernetes(), documents=keys_of(PROD))
    made.attestors.start()
    await made.attestors.close()


# TokenReview


def reviewed(tmp_path, reviewer: Reviewer) -> Desk:
    own = tmp_path / "token"
    own.write_text("own-token")
    review = {"url": "https://cluster.example:6443/", "token_file": str(own)}
    return desk(kubernetes(review=review), documents=keys_of(PROD), reviewer=reviewer)


async def test_the_api_server_is_asked_for_our_audience(tmp_path) -> None:
    reviewer = Reviewer()
    made = reviewed(tmp_path, reviewer)
    token = service_account(PROD)
    assert await made.code(token, "kubernetes") == "ok"
    ((_, question),) = reviewer.asked
    assert question["spec"] == {"token": token, "audiences": [AUTHORITY]}
    await made.attestors.close()


@pytest.mark.parametrize(
    ("status", "code"), [({}, 500), ({}, 403), ("text", 201), (["list"], 201)], ids=["500", "403", "text", "list"]
)
async def test_an_api_server_that_does_not_answer_stops_attestation(tmp_path, status, code) -> None:
    made = reviewed(tmp_path, Reviewer(status, code))
    assert await made.code(service_account(PROD), "kubernetes") == "attestation.unavailable"


@pytest.mark.parametrize("content", [None, b"", b"two words", b"x" * 20_000])
async def test_without_a_token_of_our_own_nobody_is_asked(tmp_path, content) -> None:
    reviewer = Reviewer()
    made = reviewed(tmp_path, reviewer)
    (tmp_path / "token").unlink()
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    assert await made.code(service_account(PROD), "kubernetes") == "attestation.unavailable"
    assert reviewer.asked == []


# OIDC


async def test_a_build_job_is_described_by_its_claims() -> None:
    made = desk(oidc(selectors=["workflow", "environment"]), documents=keys_of(PROVIDER))
    assert (await made.attested(build_job(PROVIDER), "oidc")).selectors == {
        f"oidc:iss:{BUILDS}",
        "oidc:sub:repo:bank/models:environment:prod",
        "oidc:repository:bank/models",
        "oidc:ref:refs/heads/main",
        "oidc:workflow:Retrain and publish",
    }


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("a", "a", True),
        ("a", "A", False),
        ("*", "a", True),
        ("*", "", False),
        ("*", "a/b", False),
        ("refs/heads/*", "refs/heads/main", True),
        ("refs/heads/release-*", "refs/heads/release-", False),
        ("repo:bank/*:ref:refs/heads/main", "repo:bank/models:ref:refs/heads/main", True),
        ("repo:bank/*:ref:refs/heads/main", "repo:bank/x/y:ref:refs/heads/main", False),
        ("repo:bank*", "repo:bankevil/models", False),
        ("a*b", "ab", False),
        ("a*b", "axb", True),
        ("a.c", "abc", False),
        ("aa*aa", "aaa", False),
    ],
)
def test_patterns_cover_whole_parts(pattern, value, fits) -> None:
    assert covers(pattern, value) is fits


# instance identity documents


@pytest.fixture
def cloud(tmp_path) -> Desk:
    path = tmp_path / "cloud.pem"
    path.write_bytes(Cloud().pem + IRELAND.pem)
    return desk({"kind": "instance", "certificates": {"eu-west-1": str(path)}, "accounts": [ACCOUNT]})


SAID = {
    f"aws:account:{ACCOUNT}",
    "aws:region:eu-west-1",
    "aws:az:eu-west-1a",
    "aws:instance:i-1234567890abcdef0",
    "aws:image:ami-5fb8c835",
    "aws:type:t2.micro",
}


async def test_an_instance_is_described_by_its_document(cloud) -> None:
    found = await cloud.attested(IRELAND.evidence(), "instance")
    assert found.selectors == SAID
    assert found.expires_at == EPOCH - 30 + 600 + 30


@pytest.mark.parametrize("options", [(), (pkcs7.PKCS7Options.NoAttributes,), (pkcs7.PKCS7Options.NoCerts,)])
@pytest.mark.parametrize("indefinite", [False, True])
async def test_a_document_inside_its_signature(cloud, options, indefinite) -> None:
    message = IRELAND.message(IRELAND.document(), *options)
    assert (await cloud.attested(pkcs7_evidence(streamed(message) if indefinite else message), "instance")).selectors


def streamed(der: bytes, depth: int = 0) -> bytes:
    """The message as clouds write it: indefinite lengths down to the signer, the content in two parts."""
    tag, start, end = header(der)
    assert end == len(der)
    body = der[start:]
    if tag == 0x04 and depth == 5:
        half = len(body) // 2
        return b"\x24\x80" + short(body[:half]) + short(body[half:]) + b"\0\0"
    if not tag & 0x20 or depth > 4 or (tag, depth) == (0xA0, 3):
        return der
    parts = b""
    while body:
        _, _, stop = header(body)
        parts += streamed(body[:stop], depth + 1)
        body = body[stop:]
    return bytes((tag, 0x80)) + parts + b"\0\0"


def header(der: bytes) -> tuple[int, int, int]:
    """(tag, where the body starts, where it ends)"""
    size = der[1]
    if size < 0x80:
        return der[0], 2, 2 + size
    start = 2 + (size & 0x7F)
    return der[0], start, start + int.from_bytes(der[2:start])


def short(octets: bytes) -> bytes:
    return b"\x04\x82" + len(octets).to_bytes(2) + octets


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_without_certificates(tmp_path, content) -> None:
    path = tmp_path / "cloud.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="certificates"):
        desk({"kind": "instance", "certificates": {"eu-west-1": str(path)}, "accounts": [ACCOUNT]})


# the instance


async def test_a_machine_is_one_instance_over_its_starts_and_a_build_job_none(cloud) -> None:
    first = await cloud.attested(IRELAND.evidence(), "instance")
    later = await cloud.attested(IRELAND.evidence(started=EPOCH - 10.0), "instance")
    assert first.instance == later.instance == f"{ACCOUNT}/eu-west-1/i-1234567890abcdef0"
    made = desk(oidc(), documents=keys_of(PROVIDER))
    assert (await made.attested(build_job(PROVIDER), "oidc")).instance == ""


async def test_a_join_token_carries_the_operators_word_for_the_instance() -> None:
    made = desk({"kind": "join_token"})
    token = await made.attestors.issue_join_token("gateway", 60.0, instance="rack-7")
    assert (await made.attested(token, "join_token")).instance == "rack-7"
    token = await made.attestors.issue_join_token("gateway", 60.0)
    assert (await made.attested(token, "join_token")).instance == ""


# the registry


async def test_a_store_that_does_not_answer_issues_nothing() -> None:
    class Away:
        async def add(self, *_: Any, **__: Any) -> bool:
            raise StoreError("away")

    made = desk(kubernetes(), documents=keys_of(PROD), store=Away())
    with pytest.raises(StoreError):
        await made.attestors.attest("kubernetes", service_account(PROD))


async def test_join_tokens_need_their_attestor() -> None:
    with pytest.raises(ConfigError, match="join_token"):
        await desk(kubernetes()).attestors.issue_join_token("gateway", 60.0)


async def test_a_join_token_is_for_the_attestor_that_it_was_made_for() -> None:
    made = desk({"kind": "join_token"}, {"kind": "join_token", "name": "lab"})
    token = await made.attestors.issue_join_token("gateway", 60.0, attestor="lab")
    with pytest.raises(StoreError, match="lab"):
        await made.attestors.attest("join_token", token)


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda raw: json.dumps({"pkcs7": b64encode(raw).decode()})))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_evidence_is_accepted_or_refused(cloud, evidence) -> None:
    made = desk(kubernetes(), oidc(), {"kind": "join_token"}, documents=keys_of(PROD, PROVIDER))

    async def ask() -> None:
        for name in ("kubernetes", "oidc", "join_token", "instance"):
            for attestors in (made.attestors, cloud.attestors):
                assert isinstance(await attestors.attest(name, evidence), Refused)

    asyncio.run(ask())


# values and settings


def test_a_refusal_tells_what_to_do() -> None:
    refused = Refused("attestation.audience", "x")
    assert (refused.status, bool(refused.message), bool(refused.remedy)) == (403, True, True)
    with pytest.raises(KeyError):
        Refused("attestation.nothing")


@pytest.mark.parametrize("value", ["", "a\nb", "\x7f", "\u2028", "x" * 513, 1, None])
def test_selectors_are_plain_text(value) -> None:
    assert selector("oidc", "sub", value) is None


@pytest.mark.parametrize(
    "attestor",
    [
        {"kind": "none"},
        kubernetes(namespaces=[]),
        kubernetes(namespaces=["Prod"]),
        kubernetes(audiences=[]),
        kubernetes(issuer="http://cluster.example"),
        kubernetes(issuer="kubernetes/serviceaccount"),
        kubernetes(algorithms=["HS256"]),
        kubernetes(service_accounts=["orchestrator"]),
        kubernetes(service_accounts=["*/orchestrator"]),
        kubernetes(review={"url": "http://cluster.example", "token_file": "t"}),
        oidc(require={}),
        oidc(require={"sub": []}),
        oidc(require={"sub": ["a**b"]}),
        oidc(require={"a:b": ["x"]}),
        {"kind": "instance", "certificates": {}, "accounts": [ACCOUNT]},
        {"kind": "instance", "certificates": {"eu-west-1": "x"}, "accounts": []},
        {"kind": "instance", "certificates": {"eu-west-1": "x"}, "accounts": ["*"]},
        {"kind": "join_token", "max_ttl": "2d"},
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(attestor) -> None:
    with pytest.raises(ValidationError):
        AttestationSettings.model_validate({"attestors": [attestor]})


def test_one_name_for_one_attestor() -> None:
    with pytest.raises(ValidationError, match="two attestors"):
        AttestationSettings.model_validate({"attestors": [kubernetes(), kubernetes(issuer=CLUSTER + "2")]})


def test_what_was_attested_is_a_value() -> None:
    assert Attested("a", frozenset(), "", 0.0) == Attested("a", frozenset(), "", 0.0)
