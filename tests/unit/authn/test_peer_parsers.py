"""XFCC and certificates: whatever comes in, an answer or a refusal."""

from __future__ import annotations

import base64
import ssl
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.authn import x509_svid, xfcc
from extauthz.authn.settings import WorkloadSettings
from extauthz.authn.workload import WorkloadVerifier, subject_of
from extauthz.clock import ManualClock
from extauthz.model import Deny, Workload
from tests.support.certs import EPOCH, HOUR, TestCa, peer_request

CA = TestCa()
GATEWAY = "spiffe://bank.example/env/prod/ns/edge/sa/gateway"
LEAF = CA.leaf(GATEWAY)
HASH = "0aF" + "1" * 61


def test_xfcc_of_envoy() -> None:
    header = (
        f'By=spiffe://a/b;By=http://x/;Hash={HASH};Cert="{LEAF.envoy}";Chain="x"'
        r';Subject="CN=a\"b,O=c\, d";URI=;URI=spiffe://a/c;DNS=a.example;DNS=b.example'
    )
    assert xfcc.last(header) == xfcc.Element(
        by=("spiffe://a/b", "http://x/"),
        hash=HASH.lower(),
        subject=r'CN=a"b,O=c\, d',
        uri=("spiffe://a/c",),
        dns=("a.example", "b.example"),
    )


VALUE = st.text(string.ascii_letters + string.digits + ':/.%-_ ,;=\\"', max_size=20).filter(
    lambda text: not text.endswith("\\") and '\\"' not in text
)


@given(st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=5))
def test_quoted_values_come_back(elements: list[tuple[str, str]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '\\"') + '"'

    header = ",".join(f"Subject={quoted(s)};Hash={HASH};URI={quoted(u)}" for s, u in elements)
    found = xfcc.last(header)
    assert found is not None
    subject, uri = elements[-1]
    assert found.subject == subject
    assert found.uri == ((uri,) if uri else ())


@given(st.text(max_size=80) | st.text(f'HashURIBy=;,"\\ {HASH[:4]}', max_size=80))
def test_any_text_is_xfcc_or_refused(text: str) -> None:
    found = xfcc.last(text)
    assert found is None or len(found.hash) == 64


def test_facts_of_a_leaf() -> None:
    leaf = x509_svid.parse(LEAF.envoy)
    assert isinstance(leaf, x509_svid.Leaf)
    assert (leaf.uri, leaf.x5t, leaf.hash, leaf.profile_problem) == (GATEWAY, LEAF.x5t, LEAF.hash, "")
    assert (leaf.not_before, leaf.not_after) == (EPOCH - HOUR, EPOCH + HOUR)


@given(st.text(max_size=200) | st.binary(max_size=200).map(quote))
def test_any_text_is_a_certificate_or_refused(text: str) -> None:
    assert isinstance(x509_svid.parse(text), Deny)


def test_a_serial_number_that_is_not_positive_is_refused() -> None:
    """RFC 5280 section 4.1.2.2; the library only warns of it."""
    der = bytearray(LEAF.der)
    assert der[13] == 2  # the INTEGER of the serial number, its length, its first byte
    der[15] |= 0x80
    pem = "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(der).decode() + "\n-----END CERTIFICATE-----\n"
    answer = x509_svid.parse(quote(pem))
    assert isinstance(answer, Deny)
    assert answer.code == "transport.certificate_malformed"


@given(st.data())
def test_any_altered_certificate_is_read_or_refused(data: st.DataObject) -> None:
    der = bytearray(LEAF.der)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    encoded = quote(ssl.DER_cert_to_PEM_cert(bytes(der)), safe="")
    assert isinstance(x509_svid.parse(encoded), x509_svid.Leaf | Deny)
    settings = WorkloadSettings.model_validate({"trust_domains": {"bank.example": {}}})
    answer = WorkloadVerifier(settings, "prod", ManualClock()).verify(peer_request(certificate=encoded))
    assert isinstance(answer, Workload | Deny)


@pytest.mark.parametrize(
    ("settings", "uri", "environment", "tenant"),
    [
        ({"environments": ["*"]}, "spiffe://bank.example/env/staging/ns/a/sa/b", "staging", ""),
        ({"environments": ["staging"]}, "spiffe://bank.example/env/staging/ns/a/sa/b", "staging", ""),
        (
            {"id_templates": ["/t/{tenant}/{service}"], "environments": ["*"]},
            "spiffe://bank.example/t/acme/x",
            "",
            "acme",
        ),
        (
            {"id_templates": ["/sa/{service}"], "trust_domains": {"bank.example": {"environment": "prod"}}},
            "spiffe://bank.example/sa/x",
            "prod",
            "",
        ),
    ],
)
def test_environments_and_templates(settings: dict[str, object], uri: str, environment: str, tenant: str) -> None:
    given_ = WorkloadSettings.model_validate({"trust_domains": {"bank.example": {}}, **settings})
    answer = WorkloadVerifier(given_, "prod", ManualClock()).verify(peer_request(CA.leaf(uri)))
    assert isinstance(answer, Workload)
    assert (answer.environment, answer.tenant) == (environment, tenant)


def test_an_id_without_environment_is_not_of_ours() -> None:
    given_ = WorkloadSettings.model_validate({"trust_domains": {"bank.example": {}}, "id_templates": ["/sa/{service}"]})
    for environment in ("prod", ""):
        answer = WorkloadVerifier(given_, environment, ManualClock()).verify(
            peer_request(CA.leaf("spiffe://bank.example/sa/x"))
        )
        assert isinstance(answer, Deny)
        assert answer.code == "workload.environment"


def test_a_profile_that_is_not_required() -> None:
    settings = WorkloadSettings.model_validate({"trust_domains": {"bank.example": {}}, "require_svid_profile": False})
    leaf = CA.leaf(GATEWAY, usage_critical=False)
    assert isinstance(WorkloadVerifier(settings, "prod", ManualClock()).verify(peer_request(leaf)), Workload)


def test_principal_alone_where_no_certificate_is_required() -> None:
    settings = WorkloadSettings.model_validate({"trust_domains": {"bank.example": {}}, "require_certificate": False})
    answer = WorkloadVerifier(settings, "prod", ManualClock()).verify(peer_request(principal=GATEWAY))
    assert answer == Workload(GATEWAY, "bank.example", "edge", "prod", "gateway")


def test_no_identity_at_all() -> None:
    settings = WorkloadSettings.model_validate({"trust_domains": {"bank.example": {}}})
    assert WorkloadVerifier(settings, "prod", ManualClock()).verify(peer_request()) is None


def test_subject_of_a_workload() -> None:
    workload = Workload(GATEWAY, "bank.example", tenant="acme", expires_at=5.0)
    subject = subject_of(workload)
    assert (subject.type, subject.id, subject.credential) == ("workload", GATEWAY, "workload")
    assert (subject.expires_at, subject.claims) == (5.0, {"tenant": "acme"})
