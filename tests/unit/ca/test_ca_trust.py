"""SPIFFE trust bundle documents: what we write, we read; what is not exactly one is refused whole."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from extauthz.ca import profile, trust
from extauthz.ca.fault import CaFault
from extauthz.keys.algorithms import KINDS
from extauthz.keys.jws import JwsKey
from tests.support.ca import DOMAIN, ID, LEAF_KEY
from tests.support.certs import TestCa

NOW = 1_800_000_000.0
KEYS = [JwsKey(KINDS["ES256"].generate()) for _ in range(2)]
AUTHORITIES = tuple(profile.authority(key, DOMAIN, now=NOW, lifetime=86400) for key in KEYS)
LEAF = profile.svid(LEAF_KEY.public_key(), profile.Names(ID), AUTHORITIES[0], KEYS[0], now=NOW, ttl=60)
BUNDLE = trust.Bundle(AUTHORITIES, (KEYS[0].jwk(),), 7, 300)
DOCUMENT = trust.write(BUNDLE)


def changed(index: int, **members: Any) -> bytes:
    """The document with members of one key changed; `...` removes one."""
    document = json.loads(json.dumps(DOCUMENT))
    entry = {**document["keys"][index], **members}
    document["keys"][index] = {name: value for name, value in entry.items() if value is not ...}
    return json.dumps(document).encode()


def test_the_document_is_that_of_the_specification() -> None:
    assert DOCUMENT["spiffe_sequence"] == 7
    assert DOCUMENT["spiffe_refresh_hint"] == 300
    first, second, token_key = DOCUMENT["keys"]
    assert first["use"] == second["use"] == "x509-svid"
    assert "kid" not in first
    assert "alg" not in first
    assert first["x5c"] == [base64.b64encode(AUTHORITIES[0].public_bytes(Encoding.DER)).decode()]
    assert token_key["use"] == "jwt-svid"
    assert token_key["kid"] == KEYS[0].id


def test_what_is_written_is_read() -> None:
    assert trust.parse(json.dumps(DOCUMENT).encode()) == BUNDLE


def test_an_empty_set_distrusts_everything_and_is_valid() -> None:
    assert trust.parse(b'{"keys": []}') == trust.Bundle((), (), 0, 0)


@pytest.mark.parametrize("use", ["wit-svid", ..., None, 7])
def test_another_use_is_ignored(use: Any) -> None:
    assert trust.parse(changed(0, use=use)).authorities == AUTHORITIES[1:]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [1]}',
        b'{"keys": [], "keys": []}',
        b'{"keys": [], "spiffe_sequence": -1}',
        b'{"keys": [], "spiffe_sequence": 1.5}',
        b'{"keys": [], "spiffe_sequence": true}',
        b'{"keys": [], "spiffe_refresh_hint": "300"}',
        b'{"keys": [' + b"{}," * 64 + b"{}]}",
        b'{"keys": [' + b" " * trust.MAX_DOCUMENT + b"]}",
        b'{"keys": [[[[[[[[]]]]]]]]}',
        changed(0, x5c=...),
        changed(0, x5c=[]),
        changed(0, x5c=DOCUMENT["keys"][0]["x5c"] * 2),
        changed(0, x5c=DOCUMENT["keys"][0]["x5c"][0]),
        changed(0, x5c=["AAAA"]),
        changed(0, x5c=["not base64!"]),
        changed(0, x5c=DOCUMENT["keys"][1]["x5c"]),
        changed(0, x5c=[base64.b64encode(LEAF.public_bytes(Encoding.DER)).decode()]),
        changed(0, kty="RSA"),
        changed(0, x=...),
        changed(2, kid=...),
        changed(2, kid=""),
        changed(2, kid="k" * 257),
        changed(2, kid=1),
        changed(2, x=...),
        changed(2, kty="oct"),
        changed(2, d="AAAA"),
    ],
)
def test_anything_else_is_refused_whole(document: bytes) -> None:
    with pytest.raises(CaFault):
        trust.parse(document)


def test_a_leaf_is_no_anchor_though_its_key_fits() -> None:
    from extauthz.keys.jwk import public_jwk  # noqa: PLC0415 - one test

    entry = {
        **public_jwk(LEAF.public_key()),
        "use": "x509-svid",
        "x5c": [base64.b64encode(LEAF.public_bytes(Encoding.DER)).decode()],
    }
    with pytest.raises(CaFault, match="not a CA"):
        trust.read({"keys": [entry]})


def test_a_kid_stands_once() -> None:
    with pytest.raises(CaFault, match="twice"):
        trust.read({"keys": [DOCUMENT["keys"][2]] * 2})


@given(st.binary(max_size=200))
def test_garbage_is_a_fault_and_no_crash(document: bytes) -> None:
    with pytest.raises(CaFault):
        trust.parse(document)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(index=st.integers(0, 2), name=st.sampled_from(["use", "kty", "crv", "x", "y", "x5c", "kid", "alg"]), value=_JSON)
def test_a_member_of_any_shape_is_read_or_a_fault(index: int, name: str, value: Any) -> None:
    try:
        bundle = trust.parse(changed(index, **{name: value}))
    except CaFault:
        return
    assert set(bundle.authorities) <= set(AUTHORITIES)
    assert len(bundle.jwt_keys) <= 1


# anchors


def test_fallback_anchors_are_ca_certificates() -> None:
    text = "".join(map(profile.pem, AUTHORITIES)).encode()
    assert trust.anchors(text) == AUTHORITIES
    for broken in (b"", b"x", profile.pem(LEAF).encode(), text.replace(b"M", b"!"), text * 40):
        with pytest.raises(CaFault):
            trust.anchors(broken)
    with pytest.raises(CaFault, match="too large"):
        trust.anchors(text + b"\n" * trust.MAX_DOCUMENT)


def test_a_union_holds_each_certificate_once() -> None:
    other = TestCa().certificate
    assert trust.union(AUTHORITIES, (other, AUTHORITIES[0])) == (*AUTHORITIES, other)


def test_foreign_anchors_with_other_kinds_of_keys_are_published() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    other = profile.authority(JwsKey(key), DOMAIN, now=NOW, lifetime=60)
    assert trust.write(trust.Bundle((other,), ()))["keys"][0]["crv"] == "P-384"


def test_an_anchor_whose_key_nobody_can_name_is_refused() -> None:
    key = ed448.Ed448PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "odd")])
    start = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    odd = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, start, start + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    with pytest.raises(CaFault, match="cannot be published"):
        trust.anchors(profile.pem(odd).encode())
