from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from extauthz.clock import ManualClock
from extauthz.demo.dev_ca import DevCa
from extauthz.demo.zones import EDGE, ZONES, spiffe_id


def _leaf(identity) -> x509.Certificate:
    return x509.load_pem_x509_certificate(identity.certificate)


def test_an_svid_keeps_the_profile_of_spiffe():
    ca = DevCa("bank.example")
    leaf = _leaf(ca.svid(EDGE.id))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [EDGE.id]
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    purposes = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert purposes == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.trust_bundle))


def test_the_thumbprint_is_that_of_rfc_8705():
    identity = DevCa("bank.example").svid(EDGE.id)
    der = _leaf(identity).public_bytes(Encoding.DER)
    assert identity.sha256 == base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


@pytest.mark.parametrize(("lifetime", "valid"), [(3600.0, True), (3.0, True), (-10.0, False)])
def test_a_lifetime_may_have_passed(lifetime, valid):
    clock = ManualClock()
    leaf = _leaf(DevCa("bank.example", clock).svid(EDGE.id, lifetime=lifetime))
    assert leaf.not_valid_before_utc < leaf.not_valid_after_utc
    assert leaf.not_valid_after_utc.timestamp() == clock.now() + lifetime
    assert (leaf.not_valid_after_utc.timestamp() > clock.now()) is valid


def test_another_authority_of_the_same_name_vouches_for_nothing():
    ours, theirs = DevCa("bank.example"), DevCa("bank.example")
    root = x509.load_pem_x509_certificate(ours.trust_bundle)
    with pytest.raises(Exception, match=r".*"):
        _leaf(theirs.svid(EDGE.id)).verify_directly_issued_by(root)


def test_files_are_private(tmp_path):
    DevCa("bank.example").svid(EDGE.id).write(tmp_path, "svid")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["svid.key", "svid.pem"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_zones_are_told_apart():
    assert (
        len({zone.id for zone in ZONES}) == len({zone.name for zone in ZONES}) == len({zone.audience for zone in ZONES})
    )
    assert spiffe_id("edge", "gateway") == "spiffe://bank.example/env/prod/ns/edge/sa/gateway"
