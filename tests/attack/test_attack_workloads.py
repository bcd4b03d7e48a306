"""Attacks on workload identity: SECURITY-TESTS C, and B 1 for XFCC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from extauthz.authn.revocation import Revocations
from extauthz.authn.settings import RevocationSettings, WorkloadSettings
from extauthz.authn.workload import WorkloadVerifier
from extauthz.clock import ManualClock
from extauthz.model import Workload
from tests.support.certs import EPOCH, HOUR, TestCa, assert_denied, peer_request

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.attack

BASE = "spiffe://bank.example/env/prod/ns/edge/sa/"
GATEWAY = BASE + "gateway"
CA = TestCa()
LEAF = CA.leaf(GATEWAY)
XFCC = "x-forwarded-client-cert"


def verifier(clock: ManualClock | None = None, **settings: Any) -> WorkloadVerifier:
    given = {"trust_domains": {"bank.example": {}}, **settings}
    return WorkloadVerifier(WorkloadSettings.model_validate(given), "prod", clock or ManualClock())


def test_an_honest_peer_passes() -> None:
    answer = verifier().verify(peer_request(LEAF))
    assert answer == Workload(
        GATEWAY, "bank.example", "edge", "prod", "gateway", "", certificate_sha256=LEAF.x5t, expires_at=EPOCH + HOUR
    )


@pytest.mark.parametrize(
    ("leaf", "code"),
    [
        pytest.param(CA.leaf(GATEWAY, BASE + "admin"), "transport.certificate_profile", id="C-two-uris"),
        pytest.param(
            CA.leaf(GATEWAY, "spiffe://evil.example/a"), "transport.certificate_profile", id="C-second-domain"
        ),
        pytest.param(CA.leaf(GATEWAY, GATEWAY), "transport.certificate_profile", id="C-same-uri-twice"),
        pytest.param(CA.leaf(dns=["gateway"]), "transport.certificate_profile", id="C-dns-only"),
        pytest.param(CA.leaf(common_name=GATEWAY), "transport.certificate_profile", id="C-common-name-only"),
        pytest.param(CA.leaf(GATEWAY, ca=True), "transport.certificate_profile", id="C-ca-true"),
        pytest.param(
            CA.leaf(GATEWAY, usage={"digital_signature": False, "key_agreement": True}),
            "transport.certificate_profile",
            id="C-no-digital-signature",
        ),
        pytest.param(
            CA.leaf(GATEWAY, usage={"digital_signature": False}), "transport.certificate_profile", id="C-no-key-usage"
        ),
        pytest.param(CA.leaf(GATEWAY, usage={"key_cert_sign": True}), "transport.certificate_profile", id="C-signs"),
        pytest.param(CA.leaf(GATEWAY, usage={"crl_sign": True}), "transport.certificate_profile", id="C-crl"),
        pytest.param(CA.leaf(GATEWAY, usage_critical=False), "transport.certificate_profile", id="C-usage-soft"),
        pytest.param(
            CA.leaf(GATEWAY, eku=[ExtendedKeyUsageOID.SERVER_AUTH]), "transport.certificate_profile", id="C-eku-server"
        ),
        pytest.param(
            CA.leaf(GATEWAY, eku=[ExtendedKeyUsageOID.CLIENT_AUTH]), "transport.certificate_profile", id="C-eku-client"
        ),
        pytest.param(
            CA.leaf(GATEWAY, eku=[ExtendedKeyUsageOID.CODE_SIGNING]), "transport.certificate_profile", id="C-eku-code"
        ),
        pytest.param(CA.leaf(GATEWAY, san_critical=False), "transport.certificate_profile", id="C-san-soft"),
        pytest.param(
            CA.leaf(GATEWAY, extra=[x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")]),
            "transport.certificate_profile",
            id="C-unknown-critical",
        ),
        pytest.param(CA.leaf("spiffe://evil.example/env/prod/ns/edge/sa/gateway"), "workload.trust_domain", id="C-td"),
        pytest.param(CA.leaf("spiffe://bank.example.evil/a"), "workload.trust_domain", id="C-td-suffix"),
        pytest.param(CA.leaf("spiffe://evil-bank.example/a"), "workload.trust_domain", id="C-td-prefix"),
        pytest.param(CA.leaf("https://bank.example/env/prod"), "workload.id_malformed", id="C-https"),
        pytest.param(CA.leaf("spiffe://bank.example"), "workload.id_malformed", id="C-no-path"),
        pytest.param(CA.leaf("spiffe://bank.example/"), "workload.id_malformed", id="C-root-path"),
        pytest.param(CA.leaf("SPIFFE://bank.example/a"), "workload.id_malformed", id="C-scheme-case"),
        pytest.param(CA.leaf("spiffe://Bank.example/a"), "workload.id_malformed", id="C-domain-case"),
        pytest.param(CA.leaf("spiffe://bank.example:443/a"), "workload.id_malformed", id="C-port"),
        pytest.param(CA.leaf("spiffe://u@bank.example/a"), "workload.id_malformed", id="C-userinfo"),
        pytest.param(CA.leaf(GATEWAY + "/"), "workload.id_malformed", id="C-trailing-slash"),
        pytest.param(CA.leaf(GATEWAY + "?a=b"), "workload.id_malformed", id="C-query"),
        pytest.param(CA.leaf(GATEWAY + "#x"), "workload.id_malformed", id="C-fragment"),
        pytest.param(CA.leaf(BASE + "a%2fb"), "workload.id_malformed", id="C-percent"),
        pytest.param(CA.leaf(BASE + "../gateway"), "workload.id_malformed", id="C-dots"),
        pytest.param(CA.leaf("spiffe://bank.example/./a"), "workload.id_malformed", id="C-dot"),
        pytest.param(CA.leaf("spiffe://bank.example//a"), "workload.id_malformed", id="C-empty-segment"),
        pytest.param(CA.leaf(BASE + "a" * 2048), "workload.id_malformed", id="C-long"),
        pytest.param(CA.leaf("spiffe://bank.example/ns/edge/sa/gateway"), "workload.unregistered", id="C-shape"),
        pytest.param(CA.leaf(GATEWAY + "/x"), "workload.unregistered", id="C-deeper"),
        pytest.param(
            CA.leaf("spiffe://bank.example/env/staging/ns/edge/sa/gateway"), "workload.environment", id="C-staging"
        ),
        pytest.param(CA.leaf(GATEWAY, not_after=EPOCH - 1), "transport.certificate_expired", id="C-expired"),
        pytest.param(CA.leaf(GATEWAY, not_before=EPOCH + 1), "transport.certificate_not_yet_valid", id="C-early"),
    ],
)
def test_certificate(leaf: Any, code: str) -> None:
    tested = verifier()
    for _ in range(2):  # the second answer comes from the cache
        assert_denied(tested.verify(peer_request(leaf)), code)


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        pytest.param("x", "transport.certificate_malformed", id="C-junk"),
        pytest.param(quote(LEAF.pem + CA.pem, safe=""), "transport.certificate_malformed", id="C-two-certificates"),
        pytest.param(quote(LEAF.pem, safe="")[:-40], "transport.certificate_malformed", id="C-cut"),
        pytest.param(LEAF.envoy.replace("M", "%FF", 1), "transport.certificate_malformed", id="C-bytes"),
        pytest.param(LEAF.envoy + "\u00e9", "transport.certificate_malformed", id="C-not-ascii"),
        pytest.param(LEAF.envoy + "\ud800", "transport.certificate_malformed", id="C-surrogate"),
        pytest.param(LEAF.envoy + "A" * 40_000, "transport.certificate_malformed", id="C-huge"),
        pytest.param("", "transport.certificate_missing", id="C-none"),
    ],
)
def test_certificate_text(certificate: str, code: str) -> None:
    assert_denied(verifier().verify(peer_request(principal=GATEWAY, certificate=certificate)), code)


@pytest.mark.parametrize(
    "principal",
    [
        pytest.param(BASE + "admin", id="C-principal-other"),
        pytest.param(GATEWAY + "/", id="C-principal-slash"),
        pytest.param(GATEWAY.upper(), id="C-principal-case"),
        pytest.param("gateway.bank.example", id="C-principal-dns"),
    ],
)
def test_principal_and_certificate_contradict(principal: str) -> None:
    tested = verifier()
    assert not hasattr(tested.verify(peer_request(LEAF)), "code")
    assert_denied(tested.verify(peer_request(LEAF, principal=principal)), "workload.ambiguous")


def test_c_expired_between_handshake_and_check() -> None:
    """A long-lived connection outlives its certificate: the next Check on it is refused."""
    clock = ManualClock()
    tested = verifier(clock)
    clock.advance(HOUR)
    assert tested.verify(peer_request(LEAF)).id == GATEWAY
    clock.advance(1)
    for _ in range(2):
        assert_denied(tested.verify(peer_request(LEAF)), "transport.certificate_expired")
    clock.advance(-3 * HOUR)
    assert_denied(tested.verify(peer_request(LEAF)), "transport.certificate_not_yet_valid")


REGISTERED = (GATEWAY, "spiffe://bank.example/env/prod/ns/*/sa/scorer")


@pytest.mark.parametrize(
    ("uri", "registered"),
    [
        pytest.param(GATEWAY, REGISTERED, id="C-registered"),
        pytest.param("spiffe://bank.example/env/prod/ns/model/sa/scorer", REGISTERED, id="C-registered-pattern"),
    ],
)
def test_registered(uri: str, registered: tuple[str, ...]) -> None:
    assert verifier(registered=registered).verify(peer_request(CA.leaf(uri))).id == uri


@pytest.mark.parametrize(
    ("uri", "registered"),
    [
        pytest.param("spiffe://bank.example/env/prod/ns/batch/sa/gateway", REGISTERED, id="C-another-namespace"),
        pytest.param("spiffe://bank.example/env/prod/ns/edge/sa/gateway2", REGISTERED, id="C-name-prefix"),
        pytest.param("spiffe://bank.example/env/prod/ns/edge/sa/Gateway", REGISTERED, id="C-name-case"),
        pytest.param(GATEWAY, (), id="C-nobody-registered"),
    ],
)
def test_unregistered(uri: str, registered: tuple[str, ...]) -> None:
    assert_denied(verifier(registered=registered).verify(peer_request(CA.leaf(uri))), "workload.unregistered")


def test_c_no_trust_domains_refuse_everyone() -> None:
    assert_denied(verifier(trust_domains={}).verify(peer_request(LEAF)), "workload.trust_domain")


def xfcc(leaf: Any = LEAF, uri: str = GATEWAY, **pairs: str) -> str:
    extra = "".join(f";{key}={value}" for key, value in pairs.items())
    return f'By={BASE}orchestrator;Hash={leaf.hash};Subject="";URI={uri}{extra}'


OTHER = CA.leaf(BASE + "admin")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        pytest.param(xfcc(OTHER, BASE + "admin"), "transport.xfcc_mismatch", id="C-xfcc-other"),
        pytest.param(xfcc(OTHER), "transport.xfcc_mismatch", id="C-xfcc-hash-of-another"),
        pytest.param(xfcc(uri=BASE + "admin"), "transport.xfcc_mismatch", id="C-xfcc-uri-of-another"),
        pytest.param(xfcc(URI=BASE + "admin"), "transport.xfcc_mismatch", id="C-xfcc-two-uris"),
        pytest.param(xfcc(URI=GATEWAY), "transport.xfcc_mismatch", id="C-xfcc-uri-twice"),
        pytest.param(xfcc(uri=""), "transport.xfcc_mismatch", id="C-xfcc-no-uri"),
        pytest.param(xfcc() + "," + xfcc(OTHER, BASE + "admin"), "transport.xfcc_mismatch", id="C-xfcc-last-forged"),
        pytest.param(xfcc() + ", " + xfcc(), "transport.xfcc_malformed", id="C-xfcc-joined"),
        pytest.param(xfcc() + ",", "transport.xfcc_malformed", id="C-xfcc-trailing-comma"),
        pytest.param(xfcc() + ";", "transport.xfcc_malformed", id="C-xfcc-trailing-semicolon"),
        pytest.param("junk," + xfcc(), "transport.xfcc_malformed", id="C-xfcc-junk-first"),
        pytest.param(f"URI={GATEWAY}", "transport.xfcc_malformed", id="C-xfcc-no-hash"),
        pytest.param(xfcc(Hash=LEAF.hash), "transport.xfcc_malformed", id="C-xfcc-hash-twice"),
        pytest.param(xfcc(Foo="x"), "transport.xfcc_malformed", id="C-xfcc-unknown-key"),
        pytest.param(xfcc().replace(LEAF.hash, LEAF.hash[:-1]), "transport.xfcc_malformed", id="C-xfcc-short-hash"),
        pytest.param(xfcc() + ';DNS="a', "transport.xfcc_malformed", id="C-xfcc-open-quote"),
        pytest.param(xfcc() + "\r\n", "transport.xfcc_malformed", id="C-xfcc-crlf"),
        pytest.param(xfcc() + "\x00", "transport.xfcc_malformed", id="C-xfcc-nul"),
        pytest.param(xfcc() + "\u00e9", "transport.xfcc_malformed", id="C-xfcc-not-ascii"),
        pytest.param(",".join([xfcc()] * 17), "transport.xfcc_malformed", id="C-xfcc-many-elements"),
        pytest.param(xfcc() + ";DNS=a" * 70, "transport.xfcc_malformed", id="C-xfcc-many-pairs"),
        pytest.param(xfcc(Cert="x" * 70_000), "transport.xfcc_malformed", id="C-xfcc-huge"),
        # A quoted subject that holds a whole element must stay one value.
        pytest.param(
            f'Hash={OTHER.hash};Subject=",{xfcc()}"'.replace('""', ""), "transport.xfcc_mismatch", id="C-xfcc-smuggled"
        ),
    ],
)
def test_xfcc(header: str, code: str) -> None:
    tested = verifier(xfcc="last")
    assert_denied(tested.verify(peer_request(LEAF, headers={XFCC: header})), code)
    # An agreeing header that is remembered does not vouch for another one.
    assert tested.verify(peer_request(LEAF, headers={XFCC: xfcc()})).id == GATEWAY
    assert_denied(tested.verify(peer_request(LEAF, headers={XFCC: header})), code)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(xfcc(OTHER, BASE + "admin") + "," + xfcc(), id="C-xfcc-first-forged"),
        pytest.param(xfcc(Cert='"' + LEAF.envoy + '"', DNS="a"), id="C-xfcc-full"),
        pytest.param(xfcc().replace("Hash", "hash").replace("URI", "uri"), id="C-xfcc-case"),
        pytest.param("", id="C-xfcc-absent"),
    ],
)
def test_only_the_last_element_counts(header: str) -> None:
    """A forged first element changes nothing: the identity is the peer's."""
    answer = verifier(xfcc="last").verify(peer_request(LEAF, headers={XFCC: header} if header else {}))
    assert answer.id == GATEWAY


def test_c_xfcc_alone_is_no_identity() -> None:
    request = peer_request(headers={XFCC: xfcc()})
    assert_denied(verifier(xfcc="last").verify(request), "transport.xfcc_mismatch")
    assert verifier(xfcc="ignore").verify(request) is None


@pytest.mark.parametrize("mode", ["ignore", "last"], ids=lambda mode: f"B01-{mode}")
def test_two_xfcc_headers(mode: str) -> None:
    request = peer_request(LEAF, headers={XFCC: xfcc()}, duplicated=[XFCC])
    assert_denied(verifier(xfcc=mode).verify(request), "request.header_duplicated")


def test_b01_xfcc_is_not_read_when_ignored() -> None:
    answer = verifier().verify(peer_request(LEAF, headers={XFCC: xfcc(OTHER, BASE + "admin")}))
    assert answer.id == GATEWAY


def bundle(path: Path, *authorities: TestCa) -> dict[str, Any]:
    path.write_text("".join(authority.pem for authority in authorities))
    return {"bank.example": {"trust_bundle": str(path)}}


def test_c_another_authority_of_the_same_name(tmp_path: Path) -> None:
    tested = verifier(trust_domains=bundle(tmp_path / "ca.pem", CA))
    assert tested.verify(peer_request(LEAF)).id == GATEWAY
    for _ in range(2):
        assert_denied(tested.verify(peer_request(TestCa().leaf(GATEWAY))), "transport.certificate_untrusted")


def test_c_a_leaf_is_no_authority(tmp_path: Path) -> None:
    middle = CA.leaf(GATEWAY, common_name="test CA", san_critical=False)
    forger = TestCa(key=middle.key)
    (tmp_path / "ca.pem").write_text(middle.pem)
    tested = verifier(trust_domains={"bank.example": {"trust_bundle": str(tmp_path / "ca.pem")}})
    assert_denied(tested.verify(peer_request(forger.leaf(GATEWAY))), "transport.certificate_untrusted")


def test_c_the_bundle_is_chosen_by_the_trust_domain_alone(tmp_path: Path) -> None:
    """An authority of a federated domain signs for ours."""
    partner = TestCa("partner")
    domains = {
        **bundle(tmp_path / "bank.pem", CA),
        "partner.example": bundle(tmp_path / "partner.pem", partner)["bank.example"],
    }
    tested = verifier(trust_domains=domains)
    assert_denied(tested.verify(peer_request(partner.leaf(GATEWAY))), "transport.certificate_untrusted")
    own = partner.leaf(GATEWAY.replace("bank.example", "partner.example"))
    assert tested.verify(peer_request(own)).trust_domain == "partner.example"


def test_c_a_rotated_bundle_ends_cached_trust(tmp_path: Path) -> None:
    tested = verifier(trust_domains=bundle(tmp_path / "ca.pem", CA))
    assert tested.verify(peer_request(LEAF)).id == GATEWAY
    bundle(tmp_path / "ca.pem", TestCa("new"))
    assert tested.reload()
    assert_denied(tested.verify(peer_request(LEAF)), "transport.certificate_untrusted")
    bundle(tmp_path / "ca.pem", CA)
    assert tested.reload()
    assert tested.verify(peer_request(LEAF)).id == GATEWAY


def test_c_an_authority_expires_before_its_leaf(tmp_path: Path) -> None:
    clock = ManualClock()
    old = TestCa(not_after=EPOCH + 60)
    tested = verifier(clock, trust_domains=bundle(tmp_path / "ca.pem", old))
    leaf = old.leaf(GATEWAY)
    assert tested.verify(peer_request(leaf)).id == GATEWAY
    clock.advance(61)
    assert_denied(tested.verify(peer_request(leaf)), "transport.certificate_untrusted")


def test_c_a_bundle_needs_a_certificate(tmp_path: Path) -> None:
    tested = verifier(trust_domains=bundle(tmp_path / "ca.pem", CA), require_certificate=False)
    assert_denied(tested.verify(peer_request(principal=GATEWAY)), "transport.certificate_missing")


def test_c_a_principal_that_spells_a_certificate() -> None:
    tested = verifier(require_certificate=False)
    assert tested.verify(peer_request(LEAF)).id == GATEWAY
    assert_denied(tested.verify(peer_request(principal=LEAF.envoy)), "workload.id_malformed")


@pytest.mark.parametrize("what", ["id", "certificate"], ids=lambda what: f"C-revoked-{what}")
def test_revoked_workload(what: str, tmp_path: Path) -> None:
    file = tmp_path / "revoked.yaml"
    file.write_text("")
    revocations = Revocations(RevocationSettings(file=file))
    settings = WorkloadSettings.model_validate({"trust_domains": {"bank.example": {}}})
    tested = WorkloadVerifier(settings, "prod", ManualClock(), revocations)
    assert tested.verify(peer_request(LEAF)).id == GATEWAY
    file.write_text(f"workload: ['{GATEWAY if what == 'id' else LEAF.x5t}']")
    assert revocations.reload()
    assert_denied(tested.verify(peer_request(LEAF)), "workload.revoked")
