"""Attacks with genuine signatures: SECURITY-TESTS A 7, 8, 9, 10 and 18."""

from __future__ import annotations

from typing import Any

import pytest

from extauthz.authn.settings import TokenRule
from extauthz.model import Workload
from tests.support.certs import TestCa, assert_denied
from tests.support.tokens import AUDIENCE, EPOCH, ISSUER, JWKS_URL, RULE, Issuer, bench, issuer_settings

pytestmark = pytest.mark.attack

HONEST = Issuer()
DOCUMENTS = {JWKS_URL: HONEST.jwks()}


async def refused(token: str, code: str, rule: TokenRule = RULE, workload: Workload | None = None, **settings: Any):
    used = bench(DOCUMENTS, issuer_settings(**settings))
    assert_denied(await used.verifier.verify(token, rule, workload), code)


async def accepted(token: str, rule: TokenRule = RULE, workload: Workload | None = None, **settings: Any) -> None:
    assert await bench(DOCUMENTS, issuer_settings(**settings)).code(token, rule, workload) == "ok"


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "access": ("at+jwt", {}),
    "access-media-type": ("application/at+jwt", {}),
    "access-mixed-case": ("AT+JWT", {}),
    "transaction": ("txntoken+jwt", {"txn": "x", "req_wl": "y"}),
    "jwt-svid": ("JWT", {"sub": "spiffe://bank.example/a"}),
    "jwt-svid-jose": ("JOSE", {"sub": "spiffe://bank.example/a"}),
    "jwt-svid-untyped": (..., {"sub": "spiffe://bank.example/a"}),
    "introspection": ("token-introspection+jwt", {"token_introspection": {"active": True}}),
    "id-token": ("JWT", {"nonce": "n", "at_hash": "h"}),
    "id-token-typed": ("id+jwt", {"nonce": "n"}),
    "logout": ("logout+jwt", {"events": {}}),
    "security-event": ("secevent+jwt", {"events": {}}),
    "dpop": ("dpop+jwt", {"htm": "GET", "htu": "https://x"}),
    "client-authentication": ("client-authentication+jwt", {}),
    "empty": ("", {}),
    "our-word-for-none": ("absent", {}),
    "our-word-as-media-type": ("application/absent", {}),
}
ACCESS = {"access", "access-media-type", "access-mixed-case"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"A07-at+jwt-gets-{kind}")
async def test_only_access_tokens_are_access_tokens(kind: str) -> None:
    typ, claims = KINDS[kind]
    token = HONEST.sign(HONEST.header(typ=typ), HONEST.claims(**claims))
    if kind in ACCESS:
        await accepted(token)
    else:
        await refused(token, "token.type")


@pytest.mark.parametrize("endpoint", ["txntoken+jwt", "dpop+jwt", "token-introspection+jwt", "logout+jwt"])
@pytest.mark.parametrize("kind", sorted(ACCESS), ids=lambda kind: f"A07-{kind}")
async def test_access_tokens_are_refused_elsewhere(endpoint: str, kind: str) -> None:
    rule = TokenRule(issuers=("main",), audiences=(AUDIENCE,), types=(endpoint,))
    await refused(HONEST.sign(HONEST.header(typ=KINDS[kind][0])), "token.type", rule)


@pytest.mark.parametrize(
    "kind", ["id-token", "introspection", "logout", "dpop", "transaction"], ids=lambda kind: f"A07-untyped-{kind}"
)
@pytest.mark.parametrize("typ", ["JWT", "JOSE", ...], ids=["JWT", "JOSE", "absent"])
async def test_generic_types_do_not_admit_other_kinds(kind: str, typ: Any) -> None:
    """Where an operator must accept `typ: JWT`, the claims of other kinds still give them away."""
    token = HONEST.sign(HONEST.header(typ=typ), HONEST.claims(**KINDS[kind][1]))
    await refused(token, "token.type", types=["JWT", "JOSE", "absent"])


@pytest.mark.parametrize("typ", [1, None, ["at+jwt"], {"a": 1}], ids=lambda typ: f"A07-typ-{type(typ).__name__}")
async def test_typ_is_a_string(typ: Any) -> None:
    await refused(HONEST.sign(HONEST.header(typ=typ)), "token.malformed")


@pytest.mark.parametrize(
    "issuer",
    [
        pytest.param(ISSUER + "/", id="A08-slash"),
        pytest.param(ISSUER.upper(), id="A08-case"),
        pytest.param(ISSUER + ".evil.example", id="A08-suffix"),
        pytest.param("x" + ISSUER, id="A08-prefix"),
        pytest.param(ISSUER + " ", id="A08-space"),
        pytest.param(ISSUER.replace("https", "http"), id="A08-scheme"),
        pytest.param(ISSUER + ":443", id="A08-port"),
        pytest.param(ISSUER.replace("e", "\u0435", 1), id="A08-homoglyph"),
        pytest.param("", id="A08-empty"),
        pytest.param([ISSUER], id="A08-array"),
        pytest.param({"iss": ISSUER}, id="A08-object"),
        pytest.param(None, id="A08-null"),
        pytest.param(1, id="A08-number"),
        pytest.param(..., id="A08-missing"),
    ],
)
async def test_issuer_is_compared_exactly(issuer: Any) -> None:
    await refused(HONEST.token(iss=issuer), "token.issuer")


async def test_a08_no_issuers_on_the_route() -> None:
    """Empty means refuse."""
    await refused(HONEST.token(), "token.issuer", TokenRule(audiences=(AUDIENCE,)))


@pytest.mark.parametrize(
    ("audience", "code"),
    [
        pytest.param("reports", "token.audience", id="A09-other"),
        pytest.param(["reports", "ledger"], "token.audience", id="A09-others"),
        pytest.param(AUDIENCE + " ", "token.audience", id="A09-space"),
        pytest.param(AUDIENCE.upper(), "token.audience", id="A09-case"),
        pytest.param("*", "token.audience", id="A09-wildcard"),
        pytest.param(f"{AUDIENCE} reports", "token.audience", id="A09-joined"),
        pytest.param("", "token.claims", id="A09-empty"),
        pytest.param([], "token.claims", id="A09-empty-array"),
        pytest.param([AUDIENCE, 1], "token.claims", id="A09-number-member"),
        pytest.param([AUDIENCE, None], "token.claims", id="A09-null-member"),
        pytest.param([AUDIENCE, [AUDIENCE]], "token.claims", id="A09-nested"),
        pytest.param([AUDIENCE, ""], "token.claims", id="A09-empty-member"),
        pytest.param({AUDIENCE: True}, "token.claims", id="A09-object"),
        pytest.param(None, "token.claims", id="A09-null"),
        pytest.param(1, "token.claims", id="A09-number"),
        pytest.param(..., "token.claims", id="A09-missing"),
    ],
)
async def test_audience(audience: Any, code: str) -> None:
    await refused(HONEST.token(aud=audience), code)


async def test_one_of_several_audiences_is_enough() -> None:
    await accepted(HONEST.token(aud=["reports", AUDIENCE]))


LEEWAY = 30


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        pytest.param({"exp": ...}, "token.claims", id="A10-exp-missing"),
        pytest.param({"exp": None}, "token.claims", id="A10-exp-null"),
        pytest.param({"exp": float(EPOCH + 300)}, "token.claims", id="A10-exp-float"),
        pytest.param({"exp": str(EPOCH + 300)}, "token.claims", id="A10-exp-string"),
        pytest.param({"exp": -1}, "token.claims", id="A10-exp-negative"),
        pytest.param({"exp": True}, "token.claims", id="A10-exp-bool"),
        pytest.param({"exp": [EPOCH + 300]}, "token.claims", id="A10-exp-array"),
        pytest.param({"exp": 2**62}, "token.claims", id="A10-exp-huge"),
        pytest.param({"exp": 0}, "token.expired", id="A10-exp-zero"),
        pytest.param({"nbf": "now"}, "token.claims", id="A10-nbf-string"),
        pytest.param({"nbf": None}, "token.claims", id="A10-nbf-null"),
        pytest.param({"nbf": EPOCH - 0.5}, "token.claims", id="A10-nbf-float"),
        pytest.param({"nbf": -1}, "token.claims", id="A10-nbf-negative"),
        pytest.param({"nbf": 2**62}, "token.claims", id="A10-nbf-huge"),
        pytest.param({"iat": ...}, "token.claims", id="A10-iat-missing"),
        pytest.param({"iat": "now"}, "token.claims", id="A10-iat-string"),
        pytest.param({"iat": -5}, "token.claims", id="A10-iat-negative"),
        pytest.param({"iat": EPOCH + 31}, "token.not_yet_valid", id="A10-iat-future"),
        pytest.param({"iat": EPOCH - 4000}, "token.lifetime", id="A10-lifetime"),
        pytest.param({"iat": 0}, "token.lifetime", id="A10-iat-zero"),
        pytest.param({"exp": EPOCH - LEEWAY}, "token.expired", id="A10-exp-at-boundary"),
        pytest.param({"nbf": EPOCH + LEEWAY + 1}, "token.not_yet_valid", id="A10-nbf-past-boundary"),
        pytest.param({"jti": ...}, "token.claims", id="A10-required-missing"),
        pytest.param({"jti": ""}, "token.claims", id="A10-required-empty"),
        pytest.param({"sub": ...}, "token.claims", id="A10-sub-missing"),
        pytest.param({"sub": ""}, "token.claims", id="A10-sub-empty"),
        pytest.param({"sub": 7}, "token.claims", id="A10-sub-number"),
        pytest.param({"sub": "alice\r\nx-admin: 1"}, "token.claims", id="A10-sub-crlf"),
        pytest.param({"sub": "a" * 513}, "token.claims", id="A10-sub-long"),
        pytest.param({"scope": 'a "b"'}, "token.claims", id="A10-scope-characters"),
        pytest.param({"scope": {"a": 1}}, "token.claims", id="A10-scope-object"),
        pytest.param({"purpose": ["payment"]}, "token.claims", id="A10-purpose-array"),
    ],
)
async def test_time_and_form_of_claims(claims: dict[str, Any], code: str) -> None:
    await refused(HONEST.token(**claims), code)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"exp": EPOCH - LEEWAY + 1}, id="A10-exp-inside"),
        pytest.param({"nbf": EPOCH + LEEWAY}, id="A10-nbf-at-boundary"),
        pytest.param({"iat": EPOCH + LEEWAY}, id="A10-iat-at-boundary"),
    ],
)
async def test_skew_is_forgiven_up_to_the_boundary(claims: dict[str, Any]) -> None:
    await accepted(HONEST.token(**claims))


@pytest.mark.parametrize(
    ("rule", "claims", "code"),
    [
        pytest.param({"purposes": ("payment",)}, {"purpose": "marketing"}, "token.purpose", id="A07-purpose-other"),
        pytest.param({"purposes": ("payment",)}, {"purpose": ...}, "token.purpose", id="A07-purpose-missing"),
        pytest.param({"scopes": ("transfers:admin",)}, {}, "token.scope", id="A07-scope-missing"),
        pytest.param({"scopes": ("transfers:write",)}, {"scope": ...}, "token.scope", id="A07-scope-none"),
        pytest.param({"scopes": ("a",)}, {"scope": "ab a:b"}, "token.scope", id="A07-scope-prefix"),
    ],
)
async def test_purpose_and_scope(rule: dict[str, Any], claims: dict[str, Any], code: str) -> None:
    await refused(HONEST.token(**claims), code, TokenRule(issuers=("main",), audiences=(AUDIENCE,), **rule))


CA = TestCa()
OWN = CA.leaf("spiffe://bank.example/env/prod/ns/edge/sa/gateway")
THIEF = CA.leaf("spiffe://bank.example/env/prod/ns/edge/sa/gateway")


def holder(x5t: str) -> Workload:
    return Workload("spiffe://bank.example/env/prod/ns/edge/sa/gateway", "bank.example", certificate_sha256=x5t)


BOUND = {"cnf": {"x5t#S256": OWN.x5t}}


@pytest.mark.parametrize(
    ("claims", "workload", "code"),
    [
        pytest.param(BOUND, holder(THIEF.x5t), "transport.binding_mismatch", id="A18-same-id-other-certificate"),
        pytest.param(BOUND, holder(""), "transport.binding_mismatch", id="A18-workload-without-certificate"),
        pytest.param(BOUND, None, "transport.binding_mismatch", id="A18-no-workload"),
        pytest.param({"cnf": {"jkt": "x" * 43}}, holder(OWN.x5t), "transport.binding_mismatch", id="A18-dpop"),
        pytest.param({"cnf": {"kid": "k"}}, holder(OWN.x5t), "transport.binding_mismatch", id="A18-kid"),
        pytest.param({"cnf": {}}, holder(OWN.x5t), "transport.binding_mismatch", id="A18-empty"),
        pytest.param(
            {"cnf": {"x5t#S256": OWN.x5t, "jkt": "x"}}, holder(OWN.x5t), "transport.binding_mismatch", id="A18-both"
        ),
        pytest.param({"cnf": {"x5t#s256": OWN.x5t}}, holder(OWN.x5t), "transport.binding_mismatch", id="A18-case"),
        pytest.param({"cnf": None}, holder(OWN.x5t), "token.claims", id="A18-null"),
        pytest.param({"cnf": OWN.x5t}, holder(OWN.x5t), "token.claims", id="A18-string"),
        pytest.param({"cnf": {"x5t#S256": ""}}, holder(""), "token.claims", id="A18-empty-thumbprint"),
        pytest.param({"cnf": {"x5t#S256": OWN.hash}}, holder(OWN.x5t), "token.claims", id="A18-hex"),
        pytest.param({"cnf": {"x5t#S256": [OWN.x5t]}}, holder(OWN.x5t), "token.claims", id="A18-array"),
    ],
)
async def test_bound_token(claims: dict[str, Any], workload: Workload | None, code: str) -> None:
    await refused(HONEST.token(**claims), code, workload=workload)


async def test_a18_route_needs_a_bound_token() -> None:
    rule = TokenRule(issuers=("main",), audiences=(AUDIENCE,), binding="required")
    await refused(HONEST.token(), "transport.binding_missing", rule, holder(OWN.x5t))
    await accepted(HONEST.token(**BOUND), rule, holder(OWN.x5t))
