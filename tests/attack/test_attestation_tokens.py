"""Attacks on attestation by a platform's token: SECURITY-TESTS C. Every token is signed or forged for real."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.attestation import (
    AUTHORITY,
    BUILDS,
    CLUSTER,
    Reviewer,
    build_job,
    cluster,
    desk,
    keys_of,
    kubernetes,
    oidc,
    service_account,
)
from tests.support.tokens import EPOCH, Issuer, b64, compact, raw_sign

pytestmark = pytest.mark.attack

PROD = cluster()
STAGING = cluster("https://staging-cluster.example")
TWIN = cluster()  # another cluster that calls itself by our cluster's name, with a key of its own
PROVIDER = cluster(BUILDS, "b-1")
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def prod(**changes: Any) -> Any:
    return desk(kubernetes(**changes), documents=keys_of(PROD, STAGING))


async def test_the_honest_token_passes() -> None:
    assert await prod().code(service_account(PROD), "kubernetes") == "ok"


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param(service_account(PROD, aud=["https://kubernetes.default.svc"]), "attestation.audience", id="C-aud"),
        pytest.param(service_account(PROD, aud=[]), "attestation.claims", id="C-aud-empty"),
        pytest.param(service_account(PROD, aud=AUTHORITY + "/"), "attestation.audience", id="C-aud-slash"),
        pytest.param(service_account(STAGING), "attestation.issuer", id="C-other-cluster"),
        pytest.param(service_account(TWIN), "attestation.signature", id="C-twin-cluster"),
        pytest.param(service_account(STAGING, iss=CLUSTER), "attestation.signature", id="C-issuer-claimed"),
        pytest.param(service_account(PROD, iss=CLUSTER + "/"), "attestation.issuer", id="C-issuer-slash"),
        pytest.param(service_account(PROD, exp=EPOCH - 31), "attestation.expired", id="C-expired"),
        pytest.param(service_account(PROD, nbf=EPOCH + 31), "attestation.not_yet_valid", id="C-early"),
        pytest.param(service_account(PROD, iat=EPOCH - 3631, exp=EPOCH + 60), "attestation.too_old", id="C-old"),
        pytest.param(service_account(PROD, exp=EPOCH + 365 * 86400), "attestation.too_old", id="C-a-year-long"),
        pytest.param(service_account(PROD, iat=...), "attestation.claims", id="C-no-iat"),
        pytest.param(service_account(PROD, exp=...), "attestation.claims", id="C-no-exp"),
        pytest.param(service_account(PROD, kubernetes={"namespace": "kube-system"}), "attestation.claims", id="C-ns"),
        pytest.param(
            service_account(PROD, sub="system:serviceaccount:dev:orchestrator", kubernetes={"namespace": "dev"}),
            "attestation.not_allowed",
            id="C-namespace-not-allowed",
        ),
        pytest.param(
            service_account(PROD, sub="system:serviceaccount:*:orchestrator", kubernetes={"namespace": "*"}),
            "attestation.claims",
            id="C-namespace-star",
        ),
        pytest.param(service_account(PROD, sub="system:admin"), "attestation.claims", id="C-sub"),
        pytest.param(
            service_account(PROD, sub="system:serviceaccount:orchestration:admin"), "attestation.claims", id="C-sub-sa"
        ),
        pytest.param(service_account(PROD, **{"kubernetes.io": ...}), "attestation.claims", id="C-no-claims"),
        pytest.param(service_account(PROD, **{"kubernetes.io": "x"}), "attestation.claims", id="C-text-claims"),
        pytest.param(service_account(PROD, kubernetes={"pod": ...}), "attestation.claims", id="C-no-pod"),
        pytest.param(service_account(PROD, kubernetes={"pod": {"name": "p"}}), "attestation.claims", id="C-half-pod"),
        pytest.param(service_account(PROD, kubernetes={"serviceaccount": []}), "attestation.claims", id="C-no-sa"),
        pytest.param(
            service_account(PROD, kubernetes={"serviceaccount": {"name": "orchestrator"}}),
            "attestation.claims",
            id="C-no-uid",
        ),
        pytest.param(service_account(PROD)[:-6], "attestation.signature", id="C-cut"),
        pytest.param(service_account(PROD).rsplit(".", 1)[0] + ".", "attestation.malformed", id="C-stripped"),
        pytest.param("", "attestation.malformed", id="C-empty"),
        pytest.param("{}", "attestation.malformed", id="C-json"),
        pytest.param("x" * 9000, "attestation.malformed", id="C-large"),
        pytest.param("x" * 16385, "attestation.too_large", id="C-too-large"),
        pytest.param(PROD.sign(header=PROD.header(alg="none")), "attestation.signature", id="C-none"),
        pytest.param(PROD.sign(header=PROD.header(jku="https://evil.example")), "attestation.malformed", id="C-jku"),
        pytest.param(PROD.token(nonce="x", aud=AUTHORITY), "attestation.malformed", id="C-access-token"),
    ],
)
async def test_refused(token: str, code: str) -> None:
    made = prod()
    assert await made.code(token, "kubernetes") == code
    assert await made.code(service_account(PROD), "kubernetes") == "ok"


async def test_a_token_serves_once() -> None:
    made = prod()
    token = service_account(PROD)
    assert await made.code(token, "kubernetes") == "ok"
    assert await made.code(token, "kubernetes") == "attestation.replayed"
    made.clock.advance(3000)
    assert await made.code(token, "kubernetes") == "attestation.replayed"


async def test_another_signature_over_the_same_token_is_no_other_token() -> None:
    """(r, s) and (r, n - s) both verify: a copy must not become fresh by that."""
    made = prod()
    token = service_account(PROD)
    signed, _, _ = token.rpartition(".")
    raw = raw_sign(PROD.key, "ES256", signed.encode())
    turned = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32)
    copies = [f"{signed}.{b64(raw)}", f"{signed}.{b64(turned)}"]
    assert await made.code(copies[0], "kubernetes") == "ok"
    assert await made.code(copies[1], "kubernetes") == "attestation.replayed"


async def test_a_token_that_was_used_at_one_attestor_is_used_at_all() -> None:
    made = desk(kubernetes(), kubernetes(name="again"), documents=keys_of(PROD))
    token = service_account(PROD)
    assert await made.code(token, "kubernetes") == "ok"
    assert await made.code(token, "again") == "attestation.replayed"


async def test_a_refused_token_is_not_used_up() -> None:
    made = prod(service_accounts=["orchestration/other"])
    token = service_account(PROD)
    assert await made.code(token, "kubernetes") == "attestation.not_allowed"
    assert await made.store.scan("used-evidence") == []


async def test_keys_of_one_cluster_verify_nothing_of_another() -> None:
    made = desk(
        kubernetes(),
        kubernetes(name="staging", issuer=STAGING.issuer, cluster="staging"),
        documents=keys_of(PROD, STAGING),
    )
    forged = service_account(Issuer(issuer=CLUSTER, kid=STAGING.kid, key=STAGING.key))
    assert await made.code(forged, "kubernetes") == "attestation.signature"
    assert await made.code(service_account(PROD), "staging") == "attestation.issuer"
    assert await made.code(service_account(STAGING), "staging") == "ok"


REVIEW = {"url": "https://cluster.example:6443", "token_file": "unset"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"authenticated": False}, "attestation.signature", id="C-review-no"),
        pytest.param({"authenticated": "true"}, "attestation.signature", id="C-review-text"),
        pytest.param({"audiences": ["https://other.example"]}, "attestation.audience", id="C-review-audience"),
        pytest.param({"audiences": None}, "attestation.audience", id="C-review-no-audience"),
        pytest.param({"user": {"username": "system:admin", "uid": "x"}}, "attestation.claims", id="C-review-user"),
        pytest.param({"user": None}, "attestation.claims", id="C-review-no-user"),
        pytest.param({"pod": "another-pod"}, "attestation.claims", id="C-review-pod"),
    ],
)
async def test_the_api_server_is_believed_only_when_it_says_the_same(tmp_path, changes, code) -> None:
    own = tmp_path / "token"
    own.write_text("own-token\n")
    reviewer = Reviewer()
    if pod := changes.pop("pod", None):
        reviewer.status["user"]["extra"] = {"authentication.kubernetes.io/pod-name": [pod]}
    reviewer.status.update(changes)
    settings = kubernetes(review={**REVIEW, "token_file": str(own)})
    made = desk(settings, documents=keys_of(PROD), reviewer=reviewer)
    token = service_account(PROD)
    assert await made.code(token, "kubernetes") == code
    assert [bearer for bearer, _ in reviewer.asked] == ["Bearer own-token"]
    reviewer.status = Reviewer().status
    assert await made.code(token, "kubernetes") == "ok"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        pytest.param({"repository": "evil/models"}, "attestation.not_allowed", id="C-oidc-repository"),
        pytest.param({"repository": "bank/models/.."}, "attestation.not_allowed", id="C-oidc-deeper"),
        pytest.param({"repository": "Bank/models"}, "attestation.not_allowed", id="C-oidc-case"),
        pytest.param({"ref": "refs/heads/main-evil"}, "attestation.not_allowed", id="C-oidc-suffix"),
        pytest.param({"ref": "refs/tags/"}, "attestation.not_allowed", id="C-oidc-empty-hole"),
        pytest.param({"ref": "refs/tags/v1/x"}, "attestation.not_allowed", id="C-oidc-hole-of-two"),
        pytest.param({"ref": ...}, "attestation.claims", id="C-oidc-missing"),
        pytest.param({"ref": ["refs/heads/main"]}, "attestation.claims", id="C-oidc-list"),
        pytest.param({"ref": True}, "attestation.claims", id="C-oidc-bool"),
        pytest.param({"aud": "https://another.example"}, "attestation.audience", id="C-oidc-audience"),
        pytest.param({"iat": EPOCH - 631, "exp": EPOCH + 60}, "attestation.too_old", id="C-oidc-old"),
        pytest.param({"at_hash": "x"}, "attestation.malformed", id="C-oidc-id-token"),
        pytest.param({"sub": "a\nb"}, "attestation.claims", id="C-oidc-line-break"),
    ],
)
async def test_a_build_job_that_is_not_ours(claims, code) -> None:
    made = desk(oidc(), documents=keys_of(PROVIDER))
    assert await made.code(build_job(PROVIDER, **claims), "oidc") == code
    assert await made.code(build_job(PROVIDER), "oidc") == "ok"
    assert await made.code(build_job(PROVIDER), "oidc") == "attestation.replayed"


async def test_nobody_is_attested_by_nobody() -> None:
    assert await desk().code(service_account(PROD), "kubernetes") == "attestation.attestor_unknown"
    assert await prod().code(service_account(PROD), "oidc") == "attestation.attestor_unknown"


async def test_no_detail_holds_the_evidence() -> None:
    made = prod()
    token = service_account(PROD, aud=["x"])
    found = await made.attestors.attest("kubernetes", token)
    assert token not in repr(found)
    assert compact({"a": 1}) not in repr(found).encode()
