"""What we sign, exactly; judged by the Check server's own reading of certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from pydantic import ValidationError

from extauthz.authn.trust import TrustBundle
from extauthz.ca import profile
from extauthz.ca.fault import CaFault
from extauthz.ca.profile import BACKDATED, Names
from extauthz.ca.settings import CaSettings
from extauthz.keys import successor
from extauthz.keys.algorithms import KINDS
from extauthz.keys.jws import JwsKey
from tests.support.ca import DOMAIN, ID, LEAF_KEY, RemoteKeys, facts

if TYPE_CHECKING:
    from extauthz.keys.signer import KeyAlgorithm

NOW = 1_800_000_000.0
WEEK = 7 * 86400.0
CA_KEYS: dict[KeyAlgorithm, JwsKey] = {name: JwsKey(kind.generate()) for name, kind in KINDS.items()}
CA_KEY = CA_KEYS["ES256"]
CA = profile.authority(CA_KEY, DOMAIN, now=NOW, lifetime=WEEK)
NAMES = Names(ID, ("api.pay.svc", "api"))


def leaf(**changes) -> x509.Certificate:
    return profile.svid(LEAF_KEY.public_key(), NAMES, CA, CA_KEY, **{"now": NOW, "ttl": 3600.0, **changes})


def values(certificate: x509.Certificate) -> dict[x509.ObjectIdentifier, tuple[x509.ExtensionType, bool]]:
    return {found.oid: (found.value, found.critical) for found in certificate.extensions}


def test_an_svid_is_exactly_its_profile() -> None:
    certificate = leaf()
    assert list(certificate.subject) == []
    assert certificate.issuer == CA.subject
    assert certificate.public_key() == LEAF_KEY.public_key()
    assert certificate.version is x509.Version.v3
    found = values(certificate)
    assert found == {
        ExtensionOID.SUBJECT_KEY_IDENTIFIER: (x509.SubjectKeyIdentifier.from_public_key(LEAF_KEY.public_key()), False),
        ExtensionOID.BASIC_CONSTRAINTS: (x509.BasicConstraints(ca=False, path_length=None), True),
        ExtensionOID.KEY_USAGE: (x509.KeyUsage(True, *[False] * 8), True),
        ExtensionOID.EXTENDED_KEY_USAGE: (
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            False,
        ),
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME: (
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(ID), x509.DNSName("api.pay.svc"), x509.DNSName("api")]
            ),
            True,
        ),
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: (
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                values(CA)[ExtensionOID.SUBJECT_KEY_IDENTIFIER][0]  # type: ignore[arg-type]
            ),
            False,
        ),
    }


def test_a_ca_is_exactly_its_profile() -> None:
    public = CA_KEY.private_key.public_key()
    assert CA.issuer == CA.subject
    assert values(CA) == {
        ExtensionOID.SUBJECT_KEY_IDENTIFIER: (x509.SubjectKeyIdentifier.from_public_key(public), False),
        ExtensionOID.BASIC_CONSTRAINTS: (x509.BasicConstraints(ca=True, path_length=0), True),
        ExtensionOID.KEY_USAGE: (x509.KeyUsage(*[False] * 5, True, True, False, False), True),
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME: (
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}")]),
            False,
        ),
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: (x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False),
    }
    CA.verify_directly_issued_by(CA)


def test_it_is_valid_from_a_minute_ago_for_its_time() -> None:
    read = facts(leaf())
    assert (read.not_before, read.not_after) == (NOW - BACKDATED, NOW + 3600)
    assert read.uri == ID


def test_it_never_outlives_nor_precedes_its_ca() -> None:
    read = facts(leaf(now=NOW + WEEK - 10.0))
    assert read.not_after == CA.not_valid_after_utc.timestamp() == NOW + WEEK
    assert facts(leaf(now=NOW - 30.0)).not_before == NOW - BACKDATED
    for now in (NOW + WEEK, NOW + WEEK + 1, NOW - BACKDATED - 1):
        with pytest.raises(CaFault, match="not valid at this time"):
            leaf(now=now)


@pytest.mark.parametrize("ttl", [0.0, -1.0])
def test_a_life_of_nothing_is_a_fault(ttl: float) -> None:
    with pytest.raises(CaFault):
        leaf(ttl=ttl)


def test_serials_are_random_positive_and_long() -> None:
    serials = {leaf().serial_number for _ in range(20)}
    assert len(serials) == 20
    assert all(0 < serial < 2**159 for serial in serials)
    assert max(serials).bit_length() > 128


def test_predecessors_are_written_only_where_there_are_any() -> None:
    assert successor.read(leaf()) == successor.NONE
    digests = (b"a" * 32, b"b" * 32)
    certificate = leaf(predecessors=digests)
    assert successor.read(certificate).digests == digests
    assert values(certificate)[successor.OID][1] is False
    facts(certificate)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256"])
def test_the_check_server_trusts_what_each_kind_of_ca_signs(algorithm: KeyAlgorithm) -> None:
    key = CA_KEYS[algorithm]
    ca = profile.authority(key, DOMAIN, now=NOW, lifetime=WEEK)
    for bundle in (TrustBundle([ca]), TrustBundle([CA, ca])):
        for names in (NAMES, Names(ID)):
            issued = profile.svid(LEAF_KEY.public_key(), names, ca, key, now=NOW, ttl=3600)
            assert bundle.trusted_until(facts(issued).certificate, NOW) == NOW + 3600
            assert bundle.trusted_until(issued, NOW + 3601) is None


def test_a_ca_is_never_of_a_kind_that_verifiers_refuse() -> None:
    key = CA_KEYS["EdDSA"]
    ca = profile.authority(key, DOMAIN, now=NOW, lifetime=WEEK)
    issued = profile.svid(LEAF_KEY.public_key(), NAMES, ca, key, now=NOW, ttl=3600)
    assert TrustBundle([ca]).trusted_until(issued, NOW) is None
    with pytest.raises(ValidationError):
        CaSettings.model_validate({"algorithm": "EdDSA"})


def test_a_leaf_of_another_ca_is_not_trusted() -> None:
    other = profile.authority(JwsKey(KINDS["ES256"].generate()), DOMAIN, now=NOW, lifetime=WEEK)
    assert TrustBundle([other]).trusted_until(leaf(), NOW) is None


def test_a_key_that_signs_elsewhere_signs_certificates() -> None:
    key, _ = RemoteKeys().create("ES256", "x509")
    ca = profile.authority(key, DOMAIN, now=NOW, lifetime=WEEK)
    issued = profile.svid(LEAF_KEY.public_key(), NAMES, ca, key, now=NOW, ttl=3600)
    issued.verify_directly_issued_by(ca)
    assert key.private_key.signatures == 2  # type: ignore[union-attr]


def test_a_ca_key_that_does_not_sign_is_a_fault() -> None:
    keys = RemoteKeys()
    key, _ = keys.create("ES256", "x509")

    def refuse(*_: object) -> bytes:
        raise ValueError("session closed: pin 1234")

    key.private_key.sign = refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(CaFault, match="does not sign") as caught:
        profile.authority(key, DOMAIN, now=NOW, lifetime=WEEK)
    assert "1234" not in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        Names("spiffe://other.example/a"),
        Names(f"spiffe://{DOMAIN}"),
        Names(f"spiffe://{DOMAIN}/"),
        Names("https://bank.example/a"),
        Names(ID, ("API.pay",)),
        Names(ID, ("*.pay",)),
        Names(ID, ("",)),
        Names(ID, ("a..b",)),
        Names(ID, ("-a",)),
        Names(ID, ("a\n",)),
        Names(ID, ("ü.example",)),
        Names(ID, ("a" * 64,)),
        Names(ID, (".".join(["a" * 60] * 5),)),
        Names(ID, tuple(f"n{n}" for n in range(33))),
    ],
)
def test_an_entry_may_not_name_anything_else(names: Names) -> None:
    with pytest.raises(CaFault):
        profile.check_names(names, DOMAIN)


def test_an_entry_may_name_its_own() -> None:
    profile.check_names(NAMES, DOMAIN)
    profile.check_names(Names(ID, ("a-b.c1", "a" * 63)), DOMAIN)


def test_other_kinds_of_leaf_key_are_certified() -> None:
    for key in (ec.generate_private_key(ec.SECP384R1()), CA_KEYS["RS256"].private_key, CA_KEYS["EdDSA"].private_key):
        issued = profile.svid(key.public_key(), NAMES, CA, CA_KEY, now=NOW, ttl=60)
        assert facts(issued).certificate.public_key() == key.public_key()
