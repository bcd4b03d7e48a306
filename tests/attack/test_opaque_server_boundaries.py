"""A 19, the server's half: what introspection, revocation and the sign-in say, to whom, and what they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extauthz.store.store import StoreError
from extauthz.sts.answers import CLIENT_CREDENTIALS, SIGN_IN, Issued, Refused
from tests.support.sts import FEATURES, GATEWAY, MODEL, OPAQUE, SCORER, STORAGE, claims_of, desk, digest, fields_of
from tests.support.tokens import AUDIENCE, EPOCH

pytestmark = pytest.mark.attack
INACTIVE = {"active": False}


async def introspected(bench, client, token, **fields):
    return await bench.service.introspect(client, fields_of(token=token, **fields))


async def test_active_for_its_audience_only():
    bench = desk()
    for audience, reader in ((OPAQUE, FEATURES), (MODEL, SCORER)):
        token = await bench.exchanged(GATEWAY, bench.user_token(), audience)
        answer = dict(await introspected(bench, reader, token))
        assert (answer["active"], answer["token_type"], answer["aud"]) == (True, "Bearer", audience)
        assert answer["cnf"] == {"x5t#S256": GATEWAY.certificate_sha256}
        assert answer["act"] == {"sub": GATEWAY.spiffe_id}
        for stranger in (GATEWAY, replace(reader, audiences=frozenset())):
            assert await introspected(bench, stranger, token) == INACTIVE


async def test_unknown_expired_revoked_foreign_and_other_kinds_are_all_the_same():
    bench = desk()
    live = await bench.exchanged(GATEWAY, bench.user_token(), OPAQUE)
    revoked = await bench.exchanged(GATEWAY, bench.user_token(jti="t-2"), OPAQUE)
    await bench.book.revoke("jti", "t-2", until=EPOCH + 1000, reason="test")
    now = int(bench.clock.now())
    tokens = [
        revoked,
        live[:-1],
        live[:-1] + ("A" if live[-1] != "A" else "B"),
        "xat_" + "A" * 43,
        "xat_../../etc/passwd",
        "xak_12345678_" + "A" * 43,
        "x",
        "a.b.c",
        "\u00e4",
        bench.own(aud=OPAQUE, exp=now),
        bench.own(aud=OPAQUE, exp=now - 10, iat=now - 20),
        bench.own("txntoken+jwt", aud=OPAQUE),
        bench.own("JWT", aud=OPAQUE),
        bench.idp.token(aud=OPAQUE),
    ]
    for token in tokens:
        assert await introspected(bench, FEATURES, token) == INACTIVE, token
    for hint in ("refresh_token", "access_token", "x"):
        assert (await introspected(bench, FEATURES, live, token_type_hint=hint))["active"] is True
    bench.clock.advance(300)
    assert await introspected(bench, FEATURES, live) == INACTIVE


async def test_introspection_needs_a_client():
    bench = desk()
    token = await bench.exchanged(GATEWAY, bench.user_token(), OPAQUE)
    assert (await introspected(bench, None, token)).error == "invalid_client"
    await bench.book.revoke("workload", FEATURES.spiffe_id, until=EPOCH + 1000, reason="test")
    assert (await introspected(bench, FEATURES, token)).code == "workload.revoked"
    assert (await bench.service.introspect(SCORER, fields_of(x="y"))).error == "invalid_request"


async def test_guesses_of_another_form_do_not_reach_the_store():
    bench = desk()
    bench.store.down = True
    for token in ("xat_", "xat_" + "A" * 42, "xat_" + "A" * 44, "xat_" + "A" * 42 + "=", "xat_" + "A" * 42 + "\n"):
        assert await bench.service._introspection.answer(FEATURES, fields_of(token=token)) == INACTIVE


async def test_stored_hash_is_no_token():
    bench = desk()
    token = await bench.exchanged(GATEWAY, bench.user_token(), OPAQUE)
    assert await introspected(bench, FEATURES, "xat_" + digest(token)[:43]) == INACTIVE
    assert await introspected(bench, FEATURES, digest(token)) == INACTIVE


# ------------------------------------------------------------------ revocation


async def revoke(bench, client, token):
    return await bench.service.revoke(client, fields_of(token=token))


@pytest.mark.parametrize("audience", [OPAQUE, MODEL])
async def test_who_holds_a_token_may_revoke_it(audience):
    holders = {OPAQUE: FEATURES, MODEL: SCORER}
    for holder in (GATEWAY, holders[audience]):
        bench = desk()
        token = await bench.exchanged(GATEWAY, bench.user_token(), audience)
        assert await revoke(bench, holder, token) is None
        assert await introspected(bench, holders[audience], token) == INACTIVE
        event, record = bench.audit.records[-1]
        assert (event, record["client"], record["subject"]) == ("revocation.added", holder.spiffe_id, "alice")
        assert record["until"] == EPOCH + 300 + 600


async def test_nobody_else_may():
    bench = desk()
    token = await bench.exchanged(GATEWAY, bench.user_token(), MODEL)
    answer = await revoke(bench, FEATURES, token)
    assert isinstance(answer, Refused)
    assert (answer.error, answer.status) == ("unauthorized_client", 400)
    assert (await introspected(bench, SCORER, token))["active"] is True
    assert (await revoke(bench, None, token)).error == "invalid_client"


async def test_revoking_the_user_token_ends_what_was_made_of_it():
    """The gateway is the audience of the user's token: a sign-out there reaches the last hop."""
    bench = desk()
    user = bench.user_token()
    first = await bench.exchanged(GATEWAY, user, MODEL)
    second = await bench.exchanged(SCORER, first, STORAGE)
    assert await revoke(bench, GATEWAY, user) is None
    for reader, token in ((SCORER, first), (FEATURES, second)):
        assert await introspected(bench, reader, token) == INACTIVE
    assert (await bench.refused(GATEWAY, user))[1] == "token.revoked"


async def test_a_middle_token_takes_only_its_branch():
    bench = desk()
    user = bench.user_token()
    first, other = [await bench.exchanged(GATEWAY, user, MODEL) for _ in range(2)]
    second = await bench.exchanged(SCORER, first, STORAGE)
    assert await revoke(bench, SCORER, first) is None
    assert await introspected(bench, FEATURES, second) == INACTIVE
    assert (await introspected(bench, SCORER, other))["active"] is True


async def test_unknown_tokens_are_revoked_already():
    bench = desk()
    for token in ("x", "xat_" + "A" * 43, "a.b.c", bench.idp.sign(bench.idp.header(kid="other"))):
        assert await revoke(bench, GATEWAY, token) is None
    assert await bench.store.last("revocations") == 0


async def test_revocation_that_is_not_stored_is_not_confirmed():
    bench = desk()
    token = await bench.exchanged(GATEWAY, bench.user_token(), MODEL)
    bench.store.down = True
    with pytest.raises(StoreError):
        await revoke(bench, SCORER, token)
    bench.store.down = False
    bench.idp_keys.down = True
    assert (await revoke(bench, GATEWAY, bench.user_token())).error == "temporarily_unavailable"


# ------------------------------------------------------------------ a workload's own token, and the sign-in


async def credentials(bench, client, **fields):
    return await bench.ask(client, **{"grant_type": CLIENT_CREDENTIALS, "audience": MODEL, **fields})


async def test_workload_token_is_what_it_was_registered_for():
    bench = desk()
    answer = await credentials(bench, GATEWAY, scope="health", purpose="payment")
    assert isinstance(answer, Issued)
    claims = claims_of(answer.token)
    assert (claims["sub"], claims["subject_type"], claims["aud"]) == (GATEWAY.spiffe_id, "workload", MODEL)
    assert claims["cnf"] == {"x5t#S256": GATEWAY.certificate_sha256}
    assert claims.keys().isdisjoint({"act", "ancestors"})
    assert bench.policy.asked[-1]["action"] == {"name": "token.issue"}
    assert bench.policy.asked[-1]["context"]["exchange"]["depth"] == 0
    assert "scope" not in claims_of((await credentials(bench, GATEWAY)).token)
    for fields, error in (
        ({"scope": "admin"}, "invalid_scope"),
        ({"purpose": "training"}, "invalid_request"),
        ({"audience": STORAGE}, "invalid_target"),
    ):
        assert (await credentials(bench, GATEWAY, **fields)).error == error
    assert (await credentials(bench, None)).error == "invalid_client"
    bench.policy.refusal = "workload.exchange_denied"
    assert (await credentials(bench, GATEWAY)).code == "workload.exchange_denied"


async def test_sign_in_is_off_unless_configured_and_local():
    usual = {"grant_type": SIGN_IN, "username": "alice", "audience": AUDIENCE}
    off = desk(development=None)
    assert (await off.ask(None, local=True, **usual)).error == "unsupported_grant_type"
    assert SIGN_IN not in off.service.metadata["grant_types_supported"]
    bench = desk()
    assert (await bench.ask(None, **usual)).code == "sign_in.remote"
    assert bench.service.metadata["x_unsafe_development_sign_in"] is True


async def test_sign_in_stays_within_the_user():
    bench = desk()
    claims = claims_of(await bench.signed_in())
    assert (claims["sub"], claims["acr"], claims["auth_time"]) == ("alice", "pwd", EPOCH)
    assert (claims["tenant"], claims["roles"], claims["purpose"]) == ("acme", ["teller"], "payment")
    assert "cnf" not in claims
    stronger = claims_of(await bench.signed_in(client=GATEWAY, acr="phr", auth_time=EPOCH - 900))
    assert (stronger["acr"], stronger["auth_time"]) == ("phr", EPOCH - 900)
    assert stronger["cnf"] == {"x5t#S256": GATEWAY.certificate_sha256}
    assert (await bench.signed_in(OPAQUE)).startswith("xat_")
    usual = {"grant_type": SIGN_IN, "username": "alice", "audience": AUDIENCE}
    for fields, error in (
        ({"username": "root"}, "invalid_grant"),
        ({"username": None}, "invalid_grant"),
        ({"audience": MODEL}, "invalid_target"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"purpose": "training"}, "invalid_request"),
        ({"acr": "mfa"}, "invalid_request"),
        ({"auth_time": EPOCH + 1}, "invalid_request"),
        ({"auth_time": "yesterday"}, "invalid_request"),
    ):
        answer = await bench.ask(None, local=True, **{**usual, **fields})
        assert isinstance(answer, Refused)
        assert answer.error == error, fields
