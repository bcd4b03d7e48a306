"""Certificates, keys and trust bundles from outside: read, or refused with one error."""

import base64

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from extauthz.keys.jwk import public_jwk
from extauthz.workload_api import jwt_svid, trust_bundle
from extauthz.workload_api.client import x509_context
from extauthz.workload_api.identity import IdentityError, parse_der, parse_key, parse_pem, svid, to_der, to_pem
from tests.support.identities import Domain

DOMAIN = Domain()


def entry(certificate, **more):
    x5c = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
    return {**public_jwk(certificate.public_key()), "use": "x509-svid", "x5c": x5c, **more}


def test_lists_of_certificates():
    three = tuple(Domain(str(n)).ca.certificate for n in range(3))
    assert parse_der(to_der(three)) == three
    assert parse_pem(to_pem(three)) == three
    assert parse_der(b"") == ()


@pytest.mark.parametrize("cut", [1, 2, 3, 10, -1])
def test_a_list_that_is_cut_is_refused(cut):
    with pytest.raises(IdentityError):
        parse_der(to_der([DOMAIN.ca.certificate] * 2)[:cut])


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(raw):
    for parse in (parse_der, parse_pem, parse_key, x509_context):
        try:
            parse(raw)
        except IdentityError:
            continue


@pytest.mark.parametrize(
    "leaf",
    [
        {"uris": ("spiffe://bank.example",)},
        {"uris": ("https://bank.example/app",)},
        {"uris": ("spiffe://bank.example/a", "spiffe://bank.example/b")},
        {"uris": ()},
        {"uris": ("spiffe://bank.example/app",), "ca": True},
        {"uris": ("spiffe://bank.example/app",), "usage": {"key_cert_sign": True}},
    ],
    ids=["domain", "https", "two", "none", "ca", "signs"],
)
def test_what_is_no_svid_is_refused(leaf):
    made = DOMAIN.ca.leaf(*leaf.pop("uris"), **leaf)
    with pytest.raises(IdentityError, match=r"no X\.509-SVID|names no workload"):
        svid([made.certificate], made.key)


def test_a_key_is_not_shown_and_must_fit():
    good = DOMAIN.svid()
    assert "key" not in repr(good)
    with pytest.raises(IdentityError, match="another key"):
        svid(good.chain, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(IdentityError, match="empty"):
        svid([], good.key)


def test_a_bundle_is_read_as_it_was_written():
    bundle = DOMAIN.bundle()
    keys = [entry(one) for one in bundle.authorities] + [{**one, "use": "jwt-svid"} for one in bundle.jwt_keys]
    document = {"keys": [*keys, {"use": "later", "kty": "??"}], "spiffe_sequence": 3, "spiffe_refresh_hint": 300}
    assert trust_bundle.parse(document) == bundle
    assert trust_bundle.parse({"keys": []}).authorities == ()


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        {"keys": {}},
        {"keys": [{"use": "x509-svid"}]},
        {"keys": [{"use": "x509-svid", "x5c": []}]},
        {"keys": [{"use": "x509-svid", "x5c": ["!!"]}]},
        {"keys": [{"use": "x509-svid", "x5c": [1]}]},
        {"keys": [entry(DOMAIN.ca.certificate, x5c=["AA=="])]},
        {"keys": [{"use": "jwt-svid", "kty": "EC"}]},
        {"keys": [{**DOMAIN.bundle().jwt_keys[0], "use": "jwt-svid", "kid": None}]},
        {"keys": [{**DOMAIN.bundle().jwt_keys[0], "use": "jwt-svid", "d": "secret"}]},
        {"keys": [{"use": "later"}] * 200},
    ],
)
def test_half_a_bundle_is_none(document):
    with pytest.raises(IdentityError):
        trust_bundle.parse(document)


def test_a_jwt_svid_is_validated():
    trust = {DOMAIN.name: DOMAIN.bundle()}
    now = DOMAIN.ca.not_before + 3600
    token = DOMAIN.token(audience=("db", "cache"))
    found = jwt_svid.validate(token, "cache", trust, now)
    assert found.spiffe_id == "spiffe://bank.example/app"
    assert token not in repr(found)
    assert jwt_svid.validate(token, "cache", trust, found.expires_at + 29.9) == found
    refusals = {
        "another audience": jwt_svid.validate(token, "other", trust, now),
        "has expired": jwt_svid.validate(token, "db", trust, found.expires_at + 30),
        "not known": jwt_svid.validate(token, "db", {}, now),
        "signature is wrong": jwt_svid.validate(Domain().token(), "db", trust, now),
        "a header": jwt_svid.validate(_with_header(DOMAIN, {"jku": "https://evil.example"}), "db", trust, now),
        "SPIFFE ID": jwt_svid.validate(DOMAIN.token(sub="alice"), "db", trust, now),
        "names nobody": jwt_svid.validate(DOMAIN.token(aud=[]), "db", trust, now),
        "exp": jwt_svid.validate(DOMAIN.token(exp="soon"), "db", trust, now),
    }
    for words, why in refusals.items():
        assert isinstance(why, str)
        assert words in why


def test_a_domain_vouches_for_its_own_workloads_only():
    """A partner's key must not sign as one of ours."""
    partner = Domain("partner.example")
    forged = partner.token(sub="spiffe://bank.example/app")
    trust = {one.name: one.bundle() for one in (DOMAIN, partner)}
    assert isinstance(jwt_svid.validate(forged, "db", trust, DOMAIN.ca.not_before + 3600), str)


@given(st.text(max_size=80))
def test_any_text_is_a_jwt_svid_or_refused(text):
    assert isinstance(jwt_svid.read(text), str)
    assert isinstance(jwt_svid.validate(f"{text}.{text}.{text}", text, {}, 0.0), str)


def _with_header(domain, header):
    claims = {"sub": "spiffe://bank.example/app", "aud": ["db"], "exp": int(domain.ca.not_after)}
    return jwt.encode(claims, domain.jwt_key, algorithm="ES256", headers={"kid": "k1", **header})
