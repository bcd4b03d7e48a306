"""A review's finding: what a workload was given went on in others' hands after the workload had been revoked."""

from __future__ import annotations

import pytest

from extauthz.authn.held import Verified
from extauthz.authn.settings import TokenRule
from extauthz.store.revocations import Revocation
from tests.support.certs import assert_denied
from tests.support.tokens import AUDIENCE, EPOCH, JWKS_URL, Issuer, bench

pytestmark = pytest.mark.attack
STOLEN = "spiffe://bank.example/env/prod/ns/edge/sa/gateway"
OTHER = "spiffe://bank.example/env/prod/ns/model/sa/scorer"
THUMBPRINT = "T" * 43
RECEIVED = TokenRule(issuers=("main",), audiences=(AUDIENCE,), binding="received")
"""Of the rules that take a bound token without its holder's certificate."""


@pytest.mark.parametrize(
    ("claims", "value"),
    [
        ({"act": {"sub": STOLEN}}, STOLEN),
        ({"act": {"sub": OTHER, "act": {"sub": STOLEN}}}, STOLEN),
        ({"sub": STOLEN}, STOLEN),
        ({"cnf": {"x5t#S256": THUMBPRINT}}, THUMBPRINT),
        ({"cnf": {"x5t#S256": THUMBPRINT}, "client_id": STOLEN}, STOLEN),
    ],
    ids=["actor", "former-actor", "subject", "certificate", "holder"],
)
async def test_a_token_that_names_a_revoked_workload_is_revoked_with_it(claims, value):
    issuer = Issuer()
    used = bench({JWKS_URL: issuer.jwks()})
    token = issuer.token(**claims)
    assert isinstance(await used.verifier.verify(token, RECEIVED, None), Verified)
    assert isinstance(used.verifier.cached(token, RECEIVED, None), Verified)
    used.revocations.learn([Revocation("workload", OTHER + "2", EPOCH + 3600)])
    assert isinstance(used.verifier.cached(token, RECEIVED, None), Verified)
    used.revocations.learn([Revocation("workload", value, EPOCH + 3600)])
    assert_denied(used.verifier.cached(token, RECEIVED, None), "token.revoked")
    assert_denied(await used.verifier.verify(issuer.token(**claims), RECEIVED, None), "token.revoked")
