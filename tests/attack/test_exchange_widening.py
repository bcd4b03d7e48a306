"""A 17: nothing comes out of an exchange wider than it went in, and nobody gets in who should not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extauthz.errors import EngineFault
from extauthz.sts.answers import JWT, TRANSACTION_TOKEN, Issued, Refused
from extauthz.sts.interfaces import Client
from extauthz.sts.mint import chained
from tests.support.sts import (
    DOMAIN,
    FEATURES,
    GATEWAY,
    IDP,
    MODEL,
    OPAQUE,
    SCORER,
    STORAGE,
    STS,
    claims_of,
    desk,
    digest,
)
from tests.support.tokens import EPOCH, Issuer, public_jwk

pytestmark = pytest.mark.attack
REVOKED = ("invalid_request", "token.revoked")


def workload(number: int) -> str:
    return f"spiffe://bank.example/env/prod/ns/n{number}/sa/s"


# ------------------------------------------------------------------ widening


@pytest.mark.parametrize("scope", ["admin", "transfers:read admin", "transfers:read transfers:write x", "transfers:*"])
async def test_scope_is_not_widened(scope):
    bench = desk()
    assert await bench.refused(GATEWAY, bench.user_token(), scope=scope) == ("invalid_scope", "exchange.scope")


async def test_scope_given_up_does_not_come_back():
    bench = desk()
    first = await bench.exchanged(GATEWAY, bench.user_token(), MODEL, scope="transfers:read")
    assert await bench.refused(SCORER, first, STORAGE, scope="transfers:write") == ("invalid_scope", "exchange.scope")
    none = await bench.exchanged(GATEWAY, bench.user_token(scope=...), MODEL)
    assert "scope" not in claims_of(none)
    assert (await bench.refused(SCORER, none, STORAGE, scope="transfers:read"))[0] == "invalid_scope"


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(FEATURES, id="no-target-registered"),
        pytest.param(replace(GATEWAY, exchange_to=frozenset({STORAGE})), id="another-target"),
        pytest.param(replace(GATEWAY, exchange_to=frozenset({MODEL + "/"})), id="nearly-this-target"),
    ],
)
async def test_audience_is_registered(client):
    bench = desk()
    token = bench.user_token(aud=["payments", STORAGE])
    assert await bench.refused(client, token, MODEL) == ("invalid_target", "exchange.target")


async def test_one_audience_a_token():
    bench = desk()
    for audience, resource in (
        ([MODEL, DOMAIN], None),
        (None, None),
        (MODEL, DOMAIN),
        ("a b", None),
        ("a" * 513, None),
    ):
        answer = await bench.exchange(GATEWAY, bench.user_token(), audience, resource=resource)
        assert isinstance(answer, Refused)
        assert answer.error == "invalid_target"


async def test_token_for_somebody_else_is_not_exchanged():
    bench = desk()
    for audience in ("other", MODEL, ["other"], "payments2"):
        assert (await bench.refused(GATEWAY, bench.user_token(aud=audience)))[1] == "token.audience"
    first = await bench.exchanged(GATEWAY, bench.user_token(), MODEL)
    thief = replace(SCORER, audiences=frozenset({STORAGE}))
    assert await bench.refused(thief, first, STORAGE) == ("invalid_request", "token.audience")


@pytest.mark.parametrize("asked", [None, 299, 300, 301, 86400, 999999])
async def test_lifetime_is_never_longer_than_what_is_left(asked):
    bench = desk()
    bench.clock.advance(100)
    answer = await bench.exchange(GATEWAY, bench.user_token(), MODEL, lifetime=asked)
    assert isinstance(answer, Issued)
    assert claims_of(answer.token)["exp"] == EPOCH + 300
    assert answer.expires_in == 200


@pytest.mark.parametrize("asked", ["0", "-1", "1.5", "1e3", "9999999", "NaN", " 5", "٣"])
async def test_lifetime_is_a_number_of_seconds(asked):
    bench = desk()
    assert await bench.refused(GATEWAY, bench.user_token(), lifetime=asked) == ("invalid_request", "exchange.lifetime")


async def test_leeway_does_not_add_up_from_hop_to_hop():
    """A verifier forgives 30 s of skew; an exchange forgives none, or eight hops would make four minutes of it."""
    bench = desk()
    first = await bench.exchanged(GATEWAY, bench.user_token(), MODEL)
    bench.clock.advance(299)
    assert claims_of(await bench.exchanged(SCORER, first, STORAGE))["exp"] == EPOCH + 300
    for seconds in (1, 15):
        bench.clock.advance(seconds)
        assert await bench.refused(SCORER, first, STORAGE) == ("invalid_request", "token.expired")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fraud-scoring", "payment"),
        ("risk-explanation", "fraud-scoring"),
        ("risk-explanation", "feature-read"),
        ("payment", "training"),
        ("training", "payment"),
        (..., "payment"),
    ],
)
async def test_purpose_only_narrows(old, new):
    bench = desk()
    token = bench.user_token(purpose=old)
    assert await bench.refused(GATEWAY, token, purpose=new) == ("invalid_request", "exchange.purpose")


@pytest.mark.parametrize("purpose", ["Payment", "payment ", "a" * 65, "p\u00e4yment", "-x"])
async def test_purpose_is_a_plain_word(purpose):
    bench = desk()
    assert (await bench.refused(GATEWAY, bench.user_token(), purpose=purpose))[1] == "exchange.purpose"


# ------------------------------------------------------------------ the subject token


async def test_expired_early_and_forged_subject_tokens():
    bench = desk()
    stranger = Issuer()
    cases = {
        "token.expired": bench.user_token(exp=EPOCH - 31, iat=EPOCH - 300),
        "token.not_yet_valid": bench.user_token(nbf=EPOCH + 60),
        "token.lifetime": bench.user_token(exp=EPOCH + 90000),
        "token.signature": stranger.token(),
        "token.issuer": bench.idp.token(iss="https://evil.example"),
        "token.key_unknown": bench.idp.sign(header=bench.idp.header(kid="other")),
        "token.type": bench.idp.sign(header=bench.idp.header(typ="JWT")),
        "token.malformed": "x.y",
        "token.header_refused": bench.idp.sign(header=bench.idp.header(jwk=public_jwk(stranger.key))),
        "token.inactive": "xat_" + "A" * 43,
    }
    for code, token in cases.items():
        assert await bench.refused(GATEWAY, token) == ("invalid_request", code), code
    assert bench.policy.asked == []


async def test_our_own_name_needs_our_own_key():
    bench = desk()
    claims = {**bench.idp.claims(), "iss": STS, "subject_type": "user"}
    assert (await bench.refused(GATEWAY, bench.idp.sign(claims=claims)))[1] == "token.key_unknown"
    kid = bench.signer.keys[0].id
    assert (await bench.refused(GATEWAY, bench.idp.sign(bench.idp.header(kid=kid), claims)))[1] == "token.signature"


async def test_withdrawn_key_verifies_nothing_any_more():
    bench = desk()
    first = await bench.exchanged(GATEWAY, bench.user_token(), MODEL)
    compromised = bench.signer.keys.pop()
    bench.signer.keys.append(type(bench.signer)().keys[0])
    assert (await bench.refused(SCORER, first, STORAGE))[1] == "token.key_unknown"
    bench.signer.keys.append(compromised)
    await bench.book.revoke("key", compromised.id, until=EPOCH + 1000, reason="compromised")
    assert await bench.refused(SCORER, first, STORAGE) == REVOKED


@pytest.mark.parametrize("typ", ["txntoken+jwt", "JWT", "secevent+jwt", "token-introspection+jwt", "dpop+jwt"])
async def test_other_kinds_of_our_own_tokens_are_no_access_tokens(typ):
    bench = desk()
    assert (await bench.refused(SCORER, bench.own(typ), STORAGE))[1] == "token.type"
    assert await bench.exchanged(SCORER, bench.own(), STORAGE)


async def test_access_token_is_no_transaction_token():
    bench = desk()
    kinds = {"subject_token_type": TRANSACTION_TOKEN, "requested_token_type": TRANSACTION_TOKEN}
    assert (await bench.refused(SCORER, bench.own(aud=DOMAIN), DOMAIN, **kinds))[1] == "token.type"
    foreign = bench.idp.sign(bench.idp.header(typ="txntoken+jwt"), bench.idp.claims(aud=DOMAIN))
    assert (await bench.refused(SCORER, foreign, DOMAIN, **kinds))[1] == "token.issuer"


@pytest.mark.parametrize("kind", ["id_token", "refresh_token", "saml2", "x", ""])
async def test_other_subject_token_types(kind):
    bench = desk()
    named = kind and f"urn:ietf:params:oauth:token-type:{kind}"
    assert (await bench.refused(GATEWAY, bench.user_token(), subject_token_type=named))[1] == "exchange.request"


# ------------------------------------------------------------------ revocation


@pytest.mark.parametrize("kind", ["jti", "token", "subject"])
async def test_revoked_subject_token(kind):
    bench = desk()
    token = bench.user_token()
    value = {"jti": "t-1", "token": digest(token), "subject": "alice"}[kind]
    await bench.book.revoke(kind, value, until=EPOCH + 1000, reason="test")
    assert await bench.refused(GATEWAY, token) == REVOKED


async def test_revoked_root_revokes_the_whole_tree():
    bench = desk()
    first = await bench.exchanged(GATEWAY, bench.user_token(), MODEL)
    second = await bench.exchanged(SCORER, first, STORAGE)
    store = replace(FEATURES, exchange_to=frozenset({MODEL}))
    assert await bench.exchanged(store, second, MODEL)
    await bench.book.revoke("jti", "t-1", until=EPOCH + 1000, reason="signed out")
    assert await bench.refused(SCORER, first, STORAGE) == REVOKED
    assert await bench.refused(store, second, MODEL) == REVOKED


async def test_revoked_workload_neither_asks_nor_stands_in_a_chain():
    bench = desk()
    first = await bench.exchanged(GATEWAY, bench.user_token(), MODEL)
    await bench.book.revoke("workload", GATEWAY.spiffe_id, until=EPOCH + 1000, reason="taken over")
    assert await bench.refused(GATEWAY, bench.user_token()) == ("invalid_client", "workload.revoked")
    assert await bench.refused(SCORER, first, STORAGE) == REVOKED
    await bench.book.revoke("workload", SCORER.certificate_sha256, until=EPOCH + 1000, reason="key lost")
    assert await bench.refused(SCORER, first, STORAGE) == ("invalid_client", "workload.revoked")


# ------------------------------------------------------------------ act, may_act, loops


@pytest.mark.parametrize(
    "act",
    [
        "spiffe://bank.example/env/prod/ns/edge/sa/gateway",
        [],
        {},
        None,
        {"sub": ""},
        {"sub": 7},
        {"sub": "gateway"},
        {"sub": "spiffe://bank.example/../x"},
        {"sub": workload(1), "act": "x"},
        {"sub": workload(1), "act": {}},
    ],
)
async def test_malformed_chain(act):
    bench = desk()
    error, code = await bench.refused(SCORER, bench.own(act=act), STORAGE)
    assert error == "invalid_request"
    assert code in {"token.claims", "exchange.act"}


async def test_chain_written_by_another_issuer():
    bench = desk()
    token = bench.user_token(act={"sub": "spiffe://bank.example/env/prod/ns/edge/sa/admin"})
    assert await bench.refused(GATEWAY, token) == ("invalid_request", "token.claims")
    assert await bench.refused(GATEWAY, bench.user_token(ancestors=["t-0"])) == ("invalid_request", "token.claims")


async def test_depth_is_bounded():
    bench = desk()
    seven = tuple(map(workload, range(7)))
    longest = claims_of(await bench.exchanged(SCORER, bench.own(act=chained(seven)), STORAGE))
    assert longest["act"] == chained((SCORER.spiffe_id, *seven))
    eight = (*seven, workload(8))
    assert await bench.refused(SCORER, bench.own(act=chained(eight)), STORAGE) == ("invalid_request", "exchange.depth")
    nine = (*eight, workload(9))
    assert await bench.refused(SCORER, bench.own(act=chained(nine)), STORAGE) == ("invalid_request", "token.claims")
    ancestors = [f"t-{number}" for number in range(8)]
    assert (await bench.refused(SCORER, bench.own(ancestors=ancestors), STORAGE))[1] == "exchange.depth"
    assert (await desk(max_depth=1).refused(SCORER, bench.own(), STORAGE))[0] == "invalid_request"
    short = desk(max_depth=1)
    assert (await short.refused(SCORER, short.own(act=chained(seven[:1])), STORAGE))[1] == "exchange.depth"


async def test_a_loop_is_refused():
    bench = desk()
    first = await bench.exchanged(GATEWAY, bench.user_token(), MODEL)
    back = await bench.exchanged(SCORER, first, "payments")
    assert await bench.refused(GATEWAY, back) == ("invalid_request", "exchange.loop")
    twice = bench.own(act=chained((workload(1), workload(1))))
    assert (await bench.refused(SCORER, twice, STORAGE))[1] == "exchange.loop"
    assert (await bench.refused(SCORER, bench.own(act={"sub": SCORER.spiffe_id}), STORAGE))[1] == "exchange.loop"
    itself = bench.own(sub=SCORER.spiffe_id, subject_type="workload")
    assert (await bench.refused(SCORER, itself, STORAGE))[1] == "exchange.loop"


@pytest.mark.parametrize(
    "may_act",
    [
        {"sub": SCORER.spiffe_id},
        {"sub": GATEWAY.spiffe_id.upper()},
        {"sub": GATEWAY.spiffe_id, "client_id": SCORER.spiffe_id},
        {"sub": GATEWAY.spiffe_id, "iss": IDP},
        {"sub": GATEWAY.spiffe_id, "email": "a@example.org"},
        {"client_id": GATEWAY.spiffe_id},
        {},
        [GATEWAY.spiffe_id],
        GATEWAY.spiffe_id,
        None,
    ],
)
async def test_may_act_names_somebody_else_or_nothing_known(may_act):
    bench = desk()
    assert await bench.refused(GATEWAY, bench.user_token(may_act=may_act)) == ("invalid_request", "exchange.may_act")


async def test_may_act_names_the_client():
    bench = desk()
    for may_act in ({"sub": GATEWAY.spiffe_id}, {"sub": GATEWAY.spiffe_id, "iss": STS}):
        claims = claims_of(await bench.exchanged(GATEWAY, bench.user_token(may_act=may_act), MODEL))
        assert "may_act" not in claims


# ------------------------------------------------------------------ clients


async def test_no_client_no_token():
    bench = desk()
    answer = await bench.exchange(None, bench.user_token(), MODEL)  # type: ignore[arg-type]
    assert isinstance(answer, Refused)
    assert (answer.error, answer.status) == ("invalid_client", 401)
    assert (await bench.refused(GATEWAY, bench.user_token(), client_id=SCORER.spiffe_id))[0] == "invalid_client"
    assert await bench.exchanged(GATEWAY, bench.user_token(), MODEL, client_id=GATEWAY.spiffe_id)


async def test_token_is_bound_to_who_asked_whatever_it_was_bound_to():
    bench = desk()
    token = bench.user_token(cnf={"x5t#S256": "U" * 43})
    claims = claims_of(await bench.exchanged(GATEWAY, token, MODEL))
    assert claims["cnf"] == {"x5t#S256": GATEWAY.certificate_sha256}
    for cnf in ({"jkt": "U" * 43}, {"x5t#S256": "short"}, [], {"x5t#S256": "U" * 43, "jkt": "U" * 43}):
        error, _ = await bench.refused(GATEWAY, bench.user_token(cnf=cnf))
        assert error == "invalid_request"


async def test_claims_that_would_speak_for_us_are_not_carried():
    bench = desk()
    hostile = {"client_id": "admin", "iss2": "x", "cnf": {"x5t#S256": "U" * 43}, "subject_type": "workload", "txn": "1"}
    claims = claims_of(await bench.exchanged(GATEWAY, bench.user_token(**hostile), MODEL))
    assert claims["client_id"] == GATEWAY.spiffe_id
    assert claims["subject_type"] == "user"
    assert claims.keys().isdisjoint({"iss2", "txn"})


async def test_a_claim_means_what_the_settings_say_and_nothing_else():
    """The issuer's own `roles` are not ours where the settings take them from elsewhere."""
    issuer = {"name": "idp", "issuer": IDP, "algorithms": ["ES256"], "jwks": {"url": f"{IDP}/jwks"}}
    bench = desk(subject_issuers=[{**issuer, "claims": {"roles": "realm_access.roles"}}])
    claims = claims_of(await bench.exchanged(GATEWAY, bench.user_token(roles=["admin"], clearance="restricted"), MODEL))
    assert claims.keys().isdisjoint({"roles", "clearance", "tenant"})
    token = bench.user_token(roles=["admin"], realm_access={"roles": ["teller"]})
    assert claims_of(await bench.exchanged(GATEWAY, token, MODEL))["roles"] == ["teller"]


async def test_a_token_that_would_be_too_large_is_not_made():
    bench = desk()
    token = bench.user_token(roles=["r" * 50 for _ in range(100)])
    grown = Client(
        "spiffe://bank.example/" + "/".join(["s" * 60] * 25), "L" * 43, frozenset({"payments"}), frozenset({MODEL})
    )
    assert await bench.refused(grown, token) == ("invalid_request", "exchange.too_large")
    assert [event for event, _ in bench.audit.records] == ["token.refused"]


# ------------------------------------------------------------------ the grant itself


@pytest.mark.parametrize("grant", [None, "", "password", "refresh_token", "authorization_code", "urn:x"])
async def test_other_grants(grant):
    bench = desk()
    answer = await bench.exchange(GATEWAY, bench.user_token(), MODEL, grant_type=grant)
    assert isinstance(answer, Refused)
    assert answer.error == "unsupported_grant_type"


async def test_requested_type():
    bench = desk()
    for kind in ("urn:ietf:params:oauth:token-type:refresh_token", "urn:ietf:params:oauth:token-type:id_token", "x"):
        assert (await bench.refused(GATEWAY, bench.user_token(), requested_token_type=kind))[1] == "exchange.request"
    assert await bench.exchanged(GATEWAY, bench.user_token(), MODEL, requested_token_type=JWT)


# ------------------------------------------------------------------ no record, no credential


async def test_nothing_is_issued_that_cannot_be_recorded_decided_or_looked_up():
    bench = desk()
    token = bench.user_token()

    async def unavailable() -> None:
        answer = await bench.exchange(GATEWAY, token, MODEL)
        assert isinstance(answer, Refused)
        assert (answer.error, answer.status) == ("temporarily_unavailable", 503)

    bench.audit.full = True
    await unavailable()
    bench.audit.full, bench.store.down = False, True
    await unavailable()
    bench.store.down, bench.policy.fault = False, EngineFault("engine.deadline")
    await unavailable()
    bench.policy.fault = None
    key = bench.signer.keys.pop()
    await unavailable()
    bench.signer.keys.append(key)
    assert await bench.exchanged(GATEWAY, token, MODEL)


async def test_opaque_token_that_is_not_recorded_does_not_work():
    bench = desk()
    bench.audit.full = True
    assert isinstance(await bench.exchange(GATEWAY, bench.user_token(), OPAQUE), Refused)
    assert await bench.store.scan("opaque-tokens") == []
