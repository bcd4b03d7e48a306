"""Token exchange: what comes out, and that it never says more than what went in."""

from __future__ import annotations

import pytest

from extauthz.sts.answers import JWT, TRANSACTION_TOKEN, Issued
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
    as_tenant,
    claims_of,
    desk,
    digest,
)


async def test_user_token_becomes_one_for_the_next_service():
    bench = desk()
    token = bench.user_token(auth_time=1_799_999_000, acr="phr", email="alice@example.org")
    answer = await bench.exchange(GATEWAY, token, MODEL, scope="transfers:read", purpose="fraud-scoring")
    assert isinstance(answer, Issued)
    assert (answer.token_type, answer.expires_in, answer.scopes) == ("Bearer", 300, {"transfers:read"})
    claims = claims_of(answer.token)
    jti = claims.pop("jti")
    assert len(jti) == 22
    assert claims == {
        "iss": STS,
        "sub": "alice",
        "subject_type": "user",
        "aud": MODEL,
        "client_id": GATEWAY.spiffe_id,
        "iat": 1_800_000_000,
        "exp": 1_800_000_300,
        "scope": "transfers:read",
        "purpose": "fraud-scoring",
        "act": {"sub": GATEWAY.spiffe_id},
        "ancestors": ["t-1"],
        "cnf": {"x5t#S256": GATEWAY.certificate_sha256},
        "tenant": "acme",
        "roles": ["teller"],
        "acr": "phr",
        "auth_time": 1_799_999_000,
    }


async def test_two_hops_narrow_and_keep_the_chain():
    bench = desk()
    first = await bench.exchanged(GATEWAY, bench.user_token(), MODEL, purpose="fraud-scoring", lifetime=60)
    bench.clock.advance(20)
    answer = await bench.exchange(SCORER, first, STORAGE, scope="transfers:read", purpose="feature-read")
    assert isinstance(answer, Issued)
    claims = claims_of(answer.token)
    assert claims["act"] == {"sub": SCORER.spiffe_id, "act": {"sub": GATEWAY.spiffe_id}}
    assert claims["ancestors"] == ["t-1", claims_of(first)["jti"]]
    assert (claims["scope"], claims["purpose"]) == ("transfers:read", "feature-read")
    assert claims["cnf"] == {"x5t#S256": SCORER.certificate_sha256}
    assert claims["exp"] == claims_of(first)["exp"]
    assert answer.expires_in == 40


async def test_without_wishes_everything_stays_as_it_is():
    bench = desk()
    claims = claims_of(await bench.exchanged(GATEWAY, bench.user_token(), MODEL))
    assert set(claims["scope"].split()) == {"transfers:read", "transfers:write"}
    assert claims["purpose"] == "payment"


async def test_token_without_an_id_is_named_by_its_digest():
    issuer = {"name": "idp", "issuer": IDP, "algorithms": ["ES256"], "jwks": {"url": f"{IDP}/jwks"}}
    bench = desk(subject_issuers=[{**issuer, "required_claims": ["iat"]}])
    token = bench.user_token(jti=...)
    assert claims_of(await bench.exchanged(GATEWAY, token, MODEL))["ancestors"] == [f"sha256:{digest(token)}"]


async def test_audience_by_another_name():
    """RFC 8693 `resource` names the same target; twice the same is once."""
    bench = desk()
    assert await bench.exchanged(GATEWAY, bench.user_token(), MODEL, resource=[MODEL, MODEL])
    assert (await bench.refused(GATEWAY, bench.user_token(), MODEL, resource=OPAQUE))[0] == "invalid_target"


async def test_opaque_audience_gets_an_opaque_token_that_is_exchanged_as_any_other():
    bench = desk()
    token = await bench.exchanged(GATEWAY, bench.user_token(), OPAQUE)
    assert token.startswith("xat_")
    assert len(token) == 47
    [(key, kept)] = await bench.store.scan("opaque-tokens")
    assert key == digest(token)
    assert token.encode() not in kept
    heir = SCORER.__class__(SCORER.spiffe_id, SCORER.certificate_sha256, frozenset({OPAQUE}), frozenset({STORAGE}))
    claims = claims_of(await bench.exchanged(heir, token, STORAGE))
    assert claims["ancestors"][0] == "t-1"
    assert len(claims["ancestors"]) == 2
    assert await bench.refused(GATEWAY, bench.user_token(), OPAQUE, requested_token_type=JWT) == (
        "invalid_target",
        "exchange.target",
    )
    bench.clock.advance(301)
    assert await bench.refused(heir, token, STORAGE) == ("invalid_request", "token.inactive")


async def test_actor_token_is_the_clients_own():
    bench = desk()
    now = int(bench.clock.now())
    svid = bench.signer.sign({"sub": GATEWAY.spiffe_id, "aud": [STS], "exp": now + 60}, typ="JWT")
    other = bench.signer.sign({"sub": SCORER.spiffe_id, "aud": [STS], "exp": now + 60}, typ="JWT")
    old = bench.signer.sign({"sub": GATEWAY.spiffe_id, "aud": [STS], "exp": now}, typ="JWT")
    user = bench.user_token()
    assert await bench.exchanged(GATEWAY, user, MODEL, actor_token=svid, actor_token_type=JWT)
    assert (await bench.refused(GATEWAY, user, actor_token=other, actor_token_type=JWT))[1] == "token.audience"
    assert (await bench.refused(GATEWAY, user, actor_token=old, actor_token_type=JWT))[1] == "token.expired"
    assert (await bench.refused(GATEWAY, user, actor_token=user, actor_token_type=JWT))[1] == "token.issuer"
    for lonely in ({"actor_token": svid}, {"actor_token_type": JWT}):
        assert await bench.refused(GATEWAY, user, **lonely) == ("invalid_request", "exchange.request")


async def test_transaction_token_and_its_replacement():
    bench = desk()
    context = {"request_context": '{"req_ip":"192.0.2.7"}', "request_details": '{"amount":12.5,"currency":"EUR"}'}
    answer = await bench.exchange(
        GATEWAY, bench.user_token(), DOMAIN, requested_token_type=TRANSACTION_TOKEN, scope="transfers:write", **context
    )
    assert isinstance(answer, Issued)
    assert (answer.token_type, answer.issued_token_type, answer.expires_in) == ("N_A", TRANSACTION_TOKEN, 30)
    first = claims_of(answer.token)
    assert first["req_wl"] == GATEWAY.spiffe_id
    assert first["rctx"] == {"req_ip": "192.0.2.7"}
    assert first["tctx"] == {"amount": 12.5, "currency": "EUR"}
    assert (first["aud"], first["purpose"]) == (DOMAIN, "payment")
    assert "cnf" not in first
    assert "purp" not in first
    kinds = {"requested_token_type": TRANSACTION_TOKEN, "subject_token_type": TRANSACTION_TOKEN}
    second = claims_of(await bench.exchanged(SCORER, answer.token, DOMAIN, **kinds))
    kept = ("txn", "sub", "aud", "rctx", "tctx", "scope")
    assert {name: second[name] for name in kept} == {name: first[name] for name in kept}
    assert second["req_wl"] == SCORER.spiffe_id
    assert await bench.refused(SCORER, answer.token, STORAGE, **kinds) == ("invalid_target", "exchange.target")
    assert (await bench.refused(SCORER, answer.token, DOMAIN, **kinds, **context))[1] == "exchange.request"
    assert (await bench.refused(SCORER, answer.token, DOMAIN))[1] == "token.type"
    assert (await bench.refused(SCORER, answer.token, STORAGE, subject_token_type=TRANSACTION_TOKEN))[0] == (
        "invalid_request"
    )


@pytest.mark.parametrize(
    "context", ["[]", "7", "{", '{"a":1,"a":2}', '{"a":{"b":{"c":{"d":{}}}}}', f'{{"a":"{"x" * 2100}"}}']
)
async def test_transaction_context_is_a_small_strict_object(context):
    bench = desk()
    fields = {"requested_token_type": TRANSACTION_TOKEN, "request_details": context}
    assert (await bench.refused(GATEWAY, bench.user_token(), DOMAIN, **fields))[1] == "exchange.request"


async def test_policy_is_asked_what_will_be_issued():
    bench = desk()
    await bench.exchanged(GATEWAY, bench.user_token(), MODEL, scope="transfers:read", purpose="fraud-scoring")
    assert bench.policy.asked == [
        {
            "subject": {
                "type": "user",
                "id": "alice",
                "properties": {"issuer": IDP, "roles": ["teller"], "tenant": "acme"},
            },
            "action": {"name": "token.exchange"},
            "resource": {"type": "audience", "id": MODEL},
            "context": {
                "environment": "prod",
                "workload": {"id": GATEWAY.spiffe_id, "trust_domain": "bank.example", "environment": "prod"},
                "exchange": {
                    "scopes": ["transfers:read"],
                    "kind": "access_token",
                    "depth": 1,
                    "purpose": "fraud-scoring",
                },
            },
        }
    ]
    bench.policy.refusal = "attribute.exchange_scope"
    assert await bench.refused(GATEWAY, bench.user_token()) == ("invalid_target", "attribute.exchange_scope")


async def test_purpose_that_was_not_stated_before():
    bench = desk(unstated_purposes=["fraud-scoring"])
    token = bench.user_token(purpose=...)
    assert "purpose" not in claims_of(await bench.exchanged(GATEWAY, token, MODEL))
    assert claims_of(await bench.exchanged(GATEWAY, token, MODEL, purpose="feature-read"))["purpose"] == "feature-read"
    assert (await bench.refused(GATEWAY, token, purpose="payment"))[1] == "exchange.purpose"
    strict = desk()
    assert (await strict.refused(GATEWAY, strict.user_token(purpose=...), purpose="payment"))[1] == "exchange.purpose"


async def test_a_subject_issuer_may_be_let_say_who_acts():
    token_claims = {"act": {"sub": GATEWAY.spiffe_id}, "aud": MODEL}
    bench = desk()
    assert (await bench.refused(SCORER, bench.user_token(**token_claims), STORAGE))[1] == "token.claims"
    issuer = {"name": "idp", "issuer": IDP, "algorithms": ["ES256"], "jwks": {"url": f"{IDP}/jwks"}}
    bench = desk(subject_issuers=[{**issuer, "delegates": True}])
    claims = claims_of(await bench.exchanged(SCORER, bench.user_token(**token_claims), STORAGE))
    assert claims["act"] == {"sub": SCORER.spiffe_id, "act": {"sub": GATEWAY.spiffe_id}}
    assert (await bench.refused(SCORER, bench.user_token(**token_claims, ancestors=["x"]), STORAGE))[
        1
    ] == "token.claims"


async def test_tenant_of_the_client():
    bench = desk()
    token = bench.user_token()
    assert await bench.exchanged(as_tenant(GATEWAY, "acme"), token, MODEL)
    assert (await bench.refused(as_tenant(GATEWAY, "globex"), token))[1] == "exchange.tenant"
    assert (await bench.refused(as_tenant(GATEWAY, "acme"), bench.user_token(tenant=...)))[1] == "exchange.tenant"


async def test_record_says_all_but_the_token():
    bench = desk()
    token = bench.user_token()
    answer = await bench.exchanged(GATEWAY, token, MODEL, scope="transfers:read")
    [(event, record)] = bench.audit.records
    claims = claims_of(answer)
    assert event == "token.exchanged"
    assert record == {
        "subject_digest": digest(token)[:16],
        "subject_issuer": IDP,
        "decision": "allow",
        "policy_revision": "revision-1",
        "client": GATEWAY.spiffe_id,
        "subject": "alice",
        "subject_type": "user",
        "audience": MODEL,
        "scopes": ["transfers:read"],
        "purpose": "payment",
        "kind": "access_token",
        "actors": [GATEWAY.spiffe_id],
        "jti": claims["jti"],
        "ancestors": ["t-1"],
        "expires_at": claims["exp"],
        "certificate_sha256": GATEWAY.certificate_sha256,
        "digest": digest(answer)[:16],
        "opaque": False,
    }


async def test_refusal_leaves_a_record_of_known_clients_only():
    bench = desk()
    await bench.refused(FEATURES, bench.user_token(), MODEL)
    assert bench.audit.records[0][0] == "token.refused"
    assert bench.audit.records[0][1]["code"] == "exchange.target"
    assert bench.audit.records[0][1]["audience"] == MODEL
    await bench.ask(FEATURES, grant_type="xat_" + "A" * 43, audience="xat_" + "A" * 43)
    record = bench.audit.records.pop()[1]
    assert (record["grant"], record["audience"]) == ("other", "")
    await bench.ask(None, grant_type="client_credentials", audience=MODEL)
    assert len(bench.audit.records) == 1
