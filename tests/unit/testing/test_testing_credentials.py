from __future__ import annotations

import jwt
import pytest
from cryptography import x509

from extauthz.authn.settings import IssuerSettings
from extauthz.clock import ManualClock
from extauthz.demo.dev_ca import DevCa
from extauthz.demo.tokens import Mint, new_key
from extauthz.errors import ExtauthzError
from extauthz.testing.credentials import Credentials

BATCH = "spiffe://bank.example/env/prod/ns/batch/sa/settlement"


def _credentials(*names: str, types=("at+jwt",)) -> Credentials:
    clock = ManualClock()
    issuers = {
        name: IssuerSettings.model_validate(
            {
                "name": name,
                "issuer": f"https://{name}.example",
                "algorithms": ["ES256"],
                "jwks": {"file": "k.json"},
                "types": types,
            }
        )
        for name in names
    }
    mints = {name: Mint(f"https://{name}.example", new_key(), clock) for name in names}
    return Credentials(issuers, mints, {"bank.example": DevCa("bank.example", clock)}, clock)


def _read(token):
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def test_a_token_says_what_it_was_told_to():
    credentials = _credentials("bank")
    token = credentials.token("alice", audience="pay", claims={"roles": ["clerk"], "client_id": "app"}, header={"x": 1})
    header, claims = _read(token)
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": "development-1", "x": 1}
    assert {
        "iss": "https://bank.example",
        "sub": "alice",
        "aud": "pay",
        "client_id": "app",
        "roles": ["clerk"],
    }.items() <= claims.items()
    assert claims["exp"] - claims["iat"] == 300
    assert credentials.claims(token)["sub"] == "alice"
    assert credentials.claims("other") is None


def test_an_expired_token_has_expired():
    credentials = _credentials("bank")
    _, claims = _read(credentials.token("alice", audience="pay", lifetime=-60, claims={}))
    assert claims["exp"] == credentials.clock.now() - 60


@pytest.mark.parametrize(("types", "expected"), [(("JWT",), "jwt"), (("absent",), None)])
def test_the_type_is_one_that_the_issuer_may_use(types, expected):
    header, _ = _read(_credentials("bank", types=types).token("alice", audience="pay", claims={}))
    assert header.get("typ") == expected


def test_which_issuer_signs_is_asked_where_there_are_several():
    credentials = _credentials("bank", "partner")
    with pytest.raises(ExtauthzError, match=r"say which issuer signs.*bank, partner"):
        credentials.token("alice", audience="pay", claims={})
    _, claims = _read(credentials.token("alice", audience="pay", issuer="partner", claims={}))
    assert claims["iss"] == "https://partner.example"
    with pytest.raises(ExtauthzError, match="no issuer is called 'other'"):
        credentials.token("alice", audience="pay", issuer="other", claims={})


def test_a_bound_token_names_its_holder_s_certificate():
    credentials = _credentials("bank")
    peer = credentials.peer(BATCH)
    _, claims = _read(credentials.token("job", audience="pay", bound_to=peer, claims={}))
    assert claims["cnf"] == {"x5t#S256": peer.identity.sha256}


def test_a_workload_has_one_certificate_unless_it_asks_for_another_lifetime():
    credentials = _credentials("bank")
    peer = credentials.peer(BATCH)
    assert credentials.peer(BATCH) is peer
    expired = x509.load_pem_x509_certificate(credentials.peer(BATCH, -60).identity.certificate)
    assert expired.not_valid_after_utc.timestamp() == credentials.clock.now() - 60
    assert credentials.peer(BATCH) is peer


def test_a_foreign_trust_domain_has_an_authority_of_its_own():
    credentials = _credentials("bank")
    foreign = credentials.peer("spiffe://evil.example/ns/web")
    root = x509.load_pem_x509_certificate(credentials.authorities["bank.example"].trust_bundle)
    leaf = x509.load_pem_x509_certificate(foreign.identity.certificate)
    with pytest.raises(ValueError, match="Issuer"):
        leaf.verify_directly_issued_by(root)


@pytest.mark.parametrize("wrong", ["bank.example/ns/web", "spiffe://", "spiffe://bank.example", "spiffe:///ns/web"])
def test_what_is_no_workload_is_refused(wrong):
    with pytest.raises(ExtauthzError, match="is not the SPIFFE ID of a workload"):
        _credentials("bank").peer(wrong)


def test_no_private_key_is_in_what_is_printed():
    assert "PRIVATE" not in repr(_credentials("bank").peer(BATCH))
