"""Attacks through issuers that are asked about tokens: SECURITY-TESTS A 7, 16 and 19 (and 18 on a hit)."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.authn.claims import Accepted, accept
from extauthz.authn.held import Verified
from extauthz.authn.introspection import WAITING
from extauthz.authn.introspection_answer import accept_answer
from extauthz.authn.settings import RevocationSettings
from extauthz.endpoint import BreakerSettings
from extauthz.model import Deny, Workload
from tests.support.certs import TestCa, assert_denied
from tests.support.introspection import ALWAYS, OPAQUE, TOKEN, URL, active, desk, respond, rule, until
from tests.support.tokens import EPOCH, ISSUER, Issuer, compact, generate, issuer_settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.attack

SECRET = "a-secret-that-must-stay-one"
HONEST = Issuer()
FAILURES = BreakerSettings().failures
CA = TestCa()
OWN = CA.leaf("spiffe://bank.example/env/prod/ns/edge/sa/gateway")
THIEF = CA.leaf("spiffe://bank.example/env/prod/ns/edge/sa/thief")


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTROSPECTION_SECRET", SECRET)


def peer(leaf: Any) -> Workload:
    return Workload(leaf.uris[0], "bank.example", certificate_sha256=leaf.x5t)


def written(**changes: Any) -> str:
    return compact(active(**changes)).decode()


UNUSABLE = {
    "active-string": active(active="true"),
    "active-number": active(active=1),
    "active-missing": active(active=...),
    "active-null": active(active=None),
    "active-list": active(active=[True]),
    "active-other-case": active(active=..., Active=True),
    "active-twice": written()[:-1].encode() + b',"active":false}',
    "active-twice-escaped": written(active=False)[:-1].encode() + rb',"\u0061ctive":true}',
    "sub-twice": written()[:-1].encode() + b',"sub":"root"}',
    "array": [active()],
    "text": "active",
    "empty": b"",
    "cut": written().encode()[:-1],
    "two-documents": written().encode() * 2,
    "utf-16": written().encode("utf-16"),
    "byte-order-mark": b"\xef\xbb\xbf" + written().encode(),
    "nan": written()[:-1].encode() + b',"exp2":NaN}',
    "deep": active(extra=json.loads("[" * 20 + "]" * 20)),
    "many": active(extra=list(range(1000))),
    "huge": active(extra="x" * 70_000),
    "enormous": b"{" + b" " * 2_000_000 + b"}",
    "status-201": respond(active(), 201),
    "status-204": httpx.Response(204),
    "status-400": respond(active(), 400),
    "status-401": respond(active(), 401),
    "status-403": respond(active(), 403),
    "status-500": respond(active(), 500),
    "redirect": respond(active(), 302, location=ISSUER + "/elsewhere"),
    "redirect-that-keeps-the-form": respond(active(), 307, location="https://evil.example/introspect"),
    "html": respond(active(), kind="text/html"),
    "text-plain": respond(active(), kind="text/plain"),
    "no-content-type": respond(active(), kind=""),
    "signed-answer": respond(active(), kind="application/token-introspection+jwt"),
    "json-like": respond(active(), kind="application/json-seq"),
    "compressed": respond(gzip.compress(compact(active())), **{"content-encoding": "gzip"}),
    "connection-lost": httpx.ReadError("gone"),
    "nobody-there": httpx.ConnectError("refused"),
}


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=[f"A19-{name}" for name in UNUSABLE])
async def test_what_is_no_answer_never_allows(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    used = desk()
    used.issuer.fallback = answer
    denied = await used.verifier.verify(TOKEN, OPAQUE, None)
    assert_denied(denied, "engine.introspection_unavailable")
    assert used.verifier.cached(TOKEN, OPAQUE, None) is None
    assert len(used.issuer.calls) == 1
    for secret in (TOKEN, SECRET):
        assert secret not in caplog.text
        assert secret not in repr(denied)


REFUSED = {
    "A19-other-audience": ({"aud": "reports"}, "token.audience"),
    "A19-audience-missing": ({"aud": ...}, "token.claims"),
    "A19-audience-empty": ({"aud": []}, "token.claims"),
    "A19-audience-of-numbers": ({"aud": [1]}, "token.claims"),
    "A19-audience-prefix": ({"aud": "payments.evil.example"}, "token.audience"),
    "A19-other-issuer": ({"iss": "https://evil.example"}, "token.issuer"),
    "A19-issuer-null": ({"iss": None}, "token.issuer"),
    "A19-issuer-slash": ({"iss": ISSUER + "/"}, "token.issuer"),
    "A19-expired": ({"exp": EPOCH - 31}, "token.expired"),
    "A19-expiry-missing": ({"exp": ...}, "token.claims"),
    "A19-expiry-text": ({"exp": str(EPOCH + 300)}, "token.claims"),
    "A19-expiry-true": ({"exp": True}, "token.claims"),
    "A19-expiry-far": ({"exp": EPOCH + 30 * 86400}, "token.lifetime"),
    "A19-early": ({"nbf": EPOCH + 60}, "token.not_yet_valid"),
    "A19-born-later": ({"iat": EPOCH + 60}, "token.not_yet_valid"),
    "A19-nobody": ({"sub": ...}, "token.claims"),
    "A19-subject-of-control-characters": ({"sub": "alice\r\nx-admin: 1"}, "token.claims"),
    "A19-scope-object": ({"scope": {"transfers:write": True}}, "token.claims"),
    "A07-refresh-token": ({"token_type": ...}, "token.type"),
    "A07-refresh-token-named": ({"token_type": "refresh_token"}, "token.type"),
    "A07-refresh-token-by-typ": ({"token_type": ..., "typ": "Refresh"}, "token.type"),
    "A07-refresh-token-by-one-of-two": ({"typ": "Refresh"}, "token.type"),
    "A07-type-not-text": ({"token_type": ["Bearer"]}, "token.type"),
    "A07-dpop": ({"token_type": "DPoP"}, "token.type"),
    "A07-id-token": ({"nonce": "n"}, "token.type"),
    "A07-logout-token": ({"events": {}}, "token.type"),
    "A07-nested-answer": ({"token_introspection": active()}, "token.type"),
    "A18-dpop-key": ({"cnf": {"jkt": "x" * 43}}, "transport.binding_mismatch"),
    "A18-other-certificate": ({"cnf": {"x5t#S256": THIEF.x5t}}, "transport.binding_mismatch"),
}


@pytest.mark.parametrize(("changes", "code"), REFUSED.values(), ids=list(REFUSED))
async def test_an_active_answer_is_judged_like_claims(changes: dict[str, Any], code: str) -> None:
    used = desk({TOKEN: active(**changes)})
    assert_denied(await used.verifier.verify(TOKEN, OPAQUE, peer(OWN)), code)
    assert not isinstance(used.verifier.cached(TOKEN, OPAQUE, peer(OWN)), Verified)


@pytest.mark.parametrize(
    ("other", "code"),
    [
        pytest.param(rule("opaque", audiences=("reports",)), "token.audience", id="A16-other-audience"),
        pytest.param(rule("opaque", scopes=("transfers:admin",)), "token.scope", id="A16-more-scopes"),
        pytest.param(rule("opaque", purposes=("marketing",)), "token.purpose", id="A16-other-purpose"),
        pytest.param(rule("opaque", binding="required"), "transport.binding_missing", id="A16-binding"),
        pytest.param(rule("opaque", acr=("gold",)), "token.step_up", id="A16-step-up"),
        pytest.param(rule("opaque", issuers=()), "token.malformed", id="A16-no-issuers"),
        pytest.param(rule("never"), "token.malformed", id="A16-never"),
    ],
)
async def test_no_hit_across_routes(other: Any, code: str) -> None:
    used = desk()
    assert await used.code() == "ok"
    assert used.verifier.cached(TOKEN, other, None) is None
    assert_denied(await used.verifier.verify(TOKEN, other, None), code)
    assert isinstance(used.verifier.cached(TOKEN, OPAQUE, None), Verified)


async def test_a16_what_is_known_is_never_older_than_the_token() -> None:
    used = desk({TOKEN: active(exp=EPOCH - 28)}, cache_ttl="10s")
    assert await used.code() == "ok"
    used.clock.advance(2)
    assert_denied(used.verifier.cached(TOKEN, OPAQUE, None), "token.expired")


async def test_a18_binding_is_asked_on_every_hit() -> None:
    used = desk({TOKEN: active(cnf={"x5t#S256": OWN.x5t})})
    assert await used.code(workload=peer(THIEF)) == "transport.binding_mismatch"
    assert isinstance(used.verifier.cached(TOKEN, OPAQUE, peer(OWN)), Verified)
    for stranger in (peer(THIEF), None):
        assert_denied(used.verifier.cached(TOKEN, OPAQUE, stranger), "transport.binding_mismatch")


@pytest.mark.parametrize(
    "revoked",
    [
        pytest.param({"jti": ["t-9"]}, id="A16-revoked-jti"),
        pytest.param({"sub": ["alice"]}, id="A16-revoked-sub"),
        pytest.param({"token": [hashlib.sha256(TOKEN.encode()).hexdigest()]}, id="A16-revoked-digest"),
    ],
)
async def test_revocation_reaches_what_is_believed(revoked: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "revoked.json"
    file.write_text("{}")
    used = desk({TOKEN: active(jti="t-9")}, revocations=RevocationSettings(file=file))
    assert await used.code() == "ok"
    file.write_text(json.dumps(revoked))
    assert used.revocations.reload()
    for _ in range(2):
        assert_denied(used.verifier.cached(TOKEN, OPAQUE, None), "token.revoked")
        assert await used.code() == "token.revoked"
    assert len(used.issuer.calls) == 1


async def test_a19_garbage_costs_the_issuer_a_bounded_number_of_calls_at_a_time() -> None:
    used = desk(max_concurrent=4, timeout="10s")
    assert await used.code() == "ok"
    gate = asyncio.Event()
    used.issuer.before = gate.wait
    flood = [used.start(f"garbage-{number}") for number in range(2000)]
    most = 4 * (1 + WAITING)
    await until(lambda: used.issuer.running == 4 and sum(check.done() for check in flood) == len(flood) - most)
    assert await used.code() == "ok"  # what is known is not in the way of the flood
    gate.set()
    codes = await asyncio.gather(*flood)
    assert codes.count("token.inactive") == most
    assert codes.count("engine.introspection_unavailable") == len(flood) - most
    assert len(used.issuer.calls) == 1 + most
    assert used.issuer.peak == 4


async def test_a19_the_same_garbage_is_asked_about_once() -> None:
    used = desk()
    codes = {await used.code("garbage") for _ in range(100)}
    assert codes == {"token.inactive"}
    assert len(used.issuer.calls) == 1


async def test_a19_garbage_of_another_form_is_never_asked_about() -> None:
    used = desk(prefix="xat_")
    assert {await used.code(f"garbage-{number}") for number in range(100)} == {"token.malformed"}
    assert used.issuer.calls == []


async def test_a19_garbage_does_not_push_out_what_is_known() -> None:
    used = desk(cache_entries=16, refused_entries=16)
    assert await used.code() == "ok"
    assert isinstance(used.verifier.cached(TOKEN, OPAQUE, None), Verified)
    for number in range(200):
        assert await used.code(f"garbage-{number}") == "token.inactive"
    assert isinstance(used.verifier.cached(TOKEN, OPAQUE, None), Verified)
    assert len(used.introspector._inactive) <= 16


@pytest.mark.parametrize("answer", [respond({}, 400), respond({}, 500), b"no json", active(active="true")])
async def test_a19_tokens_that_spoil_their_answer_do_not_cut_others_off(answer: Any) -> None:
    """Who can make an issuer answer badly about their own token must not close the door for everybody."""
    used = desk()
    for number in range(3 * FAILURES):
        used.issuer.known[f"mine-{number}"] = answer
        assert await used.code(f"mine-{number}") == "engine.introspection_unavailable"
    assert await used.code() == "ok"


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param(Issuer(key=generate("ES256")).token(), "token.signature", id="A19-forged"),
        pytest.param(HONEST.token(exp=EPOCH - 60), "token.expired", id="A19-expired"),
        pytest.param(HONEST.sign(header=HONEST.header(typ="jwt")), "token.type", id="A19-other-type"),
        pytest.param("a.b.c", "token.malformed", id="A19-like-a-jwt"),
    ],
)
@pytest.mark.parametrize("asked", [OPAQUE, ALWAYS], ids=["opaque", "always"])
async def test_a_jwt_that_is_no_good_is_never_shown_to_the_issuer(asked: Any, token: str, code: str) -> None:
    used = desk({token: active()}, jwts=HONEST)
    assert_denied(await used.verifier.verify(token, asked, None), code)
    assert used.issuer.calls == []


SIGNED = HONEST.token(cnf={"x5t#S256": OWN.x5t})
KNOWN = {"active": True, "token_type": "Bearer"}
ABOUT_A_JWT = {
    "A19-another-subject": ({**KNOWN, "sub": "root"}, "token.claims"),
    "A19-another-token": ({**KNOWN, "jti": "t-2"}, "token.claims"),
    "A19-another-audience": ({**KNOWN, "aud": "reports"}, "token.audience"),
    "A19-another-issuer": ({**KNOWN, "iss": "https://evil.example"}, "token.issuer"),
    "A19-ended-early": ({**KNOWN, "exp": EPOCH - 60}, "token.expired"),
    "A19-inactive": ({"active": False}, "token.inactive"),
    "A18-bound-to-another": ({**KNOWN, "cnf": {"x5t#S256": THIEF.x5t}}, "transport.binding_mismatch"),
    "A07-refresh-token": ({"active": True}, "token.type"),
}


@pytest.mark.parametrize(("answer", "code"), ABOUT_A_JWT.values(), ids=list(ABOUT_A_JWT))
async def test_an_answer_about_a_jwt_can_only_narrow_it(answer: dict[str, Any], code: str) -> None:
    used = desk({SIGNED: answer}, jwts=HONEST)
    assert_denied(await used.verifier.verify(SIGNED, ALWAYS, peer(OWN)), code)
    assert not isinstance(used.verifier.cached(SIGNED, ALWAYS, peer(OWN)), Verified)


async def test_a18_an_answer_does_not_unbind_a_jwt() -> None:
    used = desk({SIGNED: KNOWN}, jwts=HONEST)
    assert await used.code(SIGNED, ALWAYS, peer(THIEF)) == "transport.binding_mismatch"
    assert used.issuer.calls == []
    assert await used.code(SIGNED, ALWAYS, peer(OWN)) == "ok"
    assert_denied(used.verifier.cached(SIGNED, ALWAYS, peer(THIEF)), "transport.binding_mismatch")


async def test_a16_what_is_known_of_a_jwt_is_no_opaque_token() -> None:
    """A cached answer about a JWT rests on its signature; without that it says nothing."""
    token = HONEST.token()
    used = desk({token: KNOWN}, jwts=HONEST)
    assert await used.code(token, ALWAYS) == "ok"
    assert used.introspector.cached(token, ALWAYS, None) is None


@pytest.mark.parametrize("token", ["xat_1.2", "a.b.c.d.e", "....", "A" * 8000])
async def test_a19_odd_tokens_are_asked_about_as_they_are(token: str) -> None:
    used = desk()
    assert await used.code(token) == "token.inactive"
    assert [call["token"] for call in used.issuer.calls] == [token]


SETTINGS = issuer_settings(introspection={"url": URL, "client": "mtls"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    [*active(), "nbf", "jti", "cnf", "act", "ancestors", "acr", "auth_time", "typ", "purpose", "events"]
)
LOCAL = accept(HONEST.claims(), "at+jwt", SETTINGS, OPAQUE, float(EPOCH), "0" * 64)


@given(st.dictionaries(MEMBERS, JSON, max_size=4), st.booleans())
def test_a19_whatever_an_answer_says_it_is_accepted_or_refused_by_name(changes: dict[str, Any], signed: bool) -> None:
    assert isinstance(LOCAL, Accepted)
    judged = accept_answer(active(**changes), SETTINGS, OPAQUE, float(EPOCH), "0" * 64, LOCAL if signed else None)
    assert isinstance(judged, Accepted | Deny)
    if isinstance(judged, Accepted) and signed:
        assert judged.subject.id == LOCAL.subject.id
        assert judged.subject.scopes <= LOCAL.subject.scopes
        assert judged.expires <= LOCAL.expires
        assert judged.step_up_at <= LOCAL.step_up_at
