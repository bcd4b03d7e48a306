"""What a review of the token service found: revoked workloads live on in tokens, and users carry workloads' names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extauthz.store.revocations import LOG
from extauthz.sts import revocation
from extauthz.sts.answers import CLIENT_CREDENTIALS, Issued
from tests.support.sts import AUDIENCE, GATEWAY, IDP, MODEL, SCORER, STORAGE, claims_of, desk, fields_of

pytestmark = pytest.mark.attack
REVOKED = ("invalid_request", "token.revoked")


async def own_token(bench):
    """The gateway's own token for the model service, which the scorer received."""
    answer = await bench.ask(GATEWAY, grant_type=CLIENT_CREDENTIALS, audience=MODEL)
    assert isinstance(answer, Issued), answer
    return answer.token


@pytest.mark.parametrize("value", [GATEWAY.spiffe_id, GATEWAY.certificate_sha256], ids=["workload", "certificate"])
async def test_a_revoked_workloads_own_token_is_worth_nothing_to_who_received_it(value):
    bench = desk()
    token = await own_token(bench)
    assert isinstance(await bench.exchange(SCORER, token, STORAGE), Issued)
    await bench.book.revoke("workload", value, until=bench.clock.now() + 3600, reason="stolen")
    assert await bench.refused(SCORER, token, STORAGE) == REVOKED
    assert await bench.service.introspect(SCORER, fields_of(token=token)) == {"active": False}


async def test_a_token_bound_to_a_revoked_certificate_is_not_exchanged():
    bench = desk()
    first = await bench.exchanged(GATEWAY, bench.user_token(), MODEL)
    await bench.book.revoke("workload", GATEWAY.certificate_sha256, until=bench.clock.now() + 3600, reason="stolen")
    assert await bench.refused(SCORER, first, STORAGE) == REVOKED


async def test_a_user_token_that_a_revoked_workload_fetched_is_not_exchanged():
    bench = desk()
    token = await bench.signed_in(AUDIENCE, client=SCORER)
    assert isinstance(await bench.exchange(GATEWAY, token, MODEL), Issued)
    await bench.book.revoke("workload", SCORER.spiffe_id, until=bench.clock.now() + 3600, reason="stolen")
    assert await bench.refused(GATEWAY, token) == REVOKED


@pytest.mark.parametrize(
    "name",
    [SCORER.spiffe_id, "spiffe://bank.example/authority", "spiffe://bank.example", "SPIFFE://BANK.EXAMPLE/x"],
)
async def test_an_issuer_of_users_names_no_workload_of_ours(name):
    bench = desk()
    assert await bench.refused(GATEWAY, bench.user_token(sub=name)) == ("invalid_request", "token.claims")
    abroad = await bench.exchanged(GATEWAY, bench.user_token(sub="spiffe://partner.example/app"), MODEL)
    assert claims_of(abroad)["sub"] == "spiffe://partner.example/app"


async def test_an_issuer_that_delegates_may_name_workloads():
    issuer = {"name": "idp", "issuer": IDP, "algorithms": ["ES256"], "jwks": {"url": f"{IDP}/jwks"}, "delegates": True}
    bench = desk(subject_issuers=[issuer])
    token = bench.user_token(sub=SCORER.spiffe_id)
    assert claims_of(await bench.exchanged(GATEWAY, token, MODEL))["sub"] == SCORER.spiffe_id


# ------------------------------------------------------------------ the revocation log as a target


async def test_revoking_one_token_again_and_again_does_not_fill_the_log():
    """A log with more than MAX_ENTRIES in force is never complete: every reader that starts would fail closed."""
    bench = desk()
    token = await bench.exchanged(GATEWAY, bench.user_token(), MODEL)
    for _ in range(20):
        assert await bench.service.revoke(SCORER, fields_of(token=token)) is None
    assert await bench.store.last(LOG) == 2
    assert [event for event, _ in bench.audit.records].count("revocation.added") == 20
    assert await bench.refused(SCORER, token, STORAGE) == REVOKED


async def test_one_workload_cannot_fill_the_log_with_tokens_of_its_own(monkeypatch):
    monkeypatch.setattr(revocation, "BURST", 20.0)
    bench = desk()
    loud = replace(GATEWAY, exchange_to=frozenset({MODEL}))
    answers = [await bench.service.revoke(loud, fields_of(token=await own_token(bench))) for _ in range(25)]
    refused = [answer for answer in answers if answer is not None]
    assert len(refused) == 5
    assert {(answer.error, answer.code) for answer in refused} == {("temporarily_unavailable", "revocation.rate")}
    token = await bench.exchanged(GATEWAY, bench.user_token(), MODEL)
    assert await bench.service.revoke(SCORER, fields_of(token=token)) is None  # the others are heard
    bench.clock.advance(1)
    assert await bench.service.revoke(loud, fields_of(token=await own_token(bench))) is None
