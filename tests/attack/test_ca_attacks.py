"""What somebody without the right to it may try against the CA: by request, by certificate, in the store."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.authn import jose
from extauthz.ca import csr as requests
from extauthz.ca import phases
from extauthz.ca.certificate_authority import CertificateAuthority, Issued, Spec
from extauthz.ca.fault import CaFault
from extauthz.ca.rotation import TABLE
from extauthz.ca.state import Phase, State, load
from extauthz.clock import ManualClock
from extauthz.keys import successor
from extauthz.keys.protector import KeyProtector
from extauthz.keys.provider import EncryptedKeys
from extauthz.keys.signer import KeyFault
from extauthz.model import Deny
from extauthz.store.memory import MemoryStore
from tests.support.ca import DOMAIN, ID, LEAF_KEY, authority, csr, facts, weak_rsa
from tests.support.certs import TestCa, assert_denied

pytestmark = pytest.mark.attack

VICTIM = f"spiffe://{DOMAIN}/env/prod/ns/pay/sa/treasury"
PROTECTOR = KeyProtector(b"a passphrase for tests")


def pem(der: bytes) -> str:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n"


def der(text: str) -> bytes:
    return x509.load_pem_x509_csr(text.encode()).public_bytes(Encoding.DER)


# requests

REQUEST = der(csr())


async def test_a_request_names_nothing_that_the_certificate_says() -> None:
    """C: another's SPIFFE ID, several URI names, CA:TRUE, key usage, a predecessor, all asked for in the CSR."""
    ca = authority()
    await ca.start()
    asked = csr(
        subject="treasury",
        extensions=[
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(VICTIM), x509.DNSName("treasury.pay.svc")]),
            x509.BasicConstraints(ca=True, path_length=None),
            x509.KeyUsage(True, *[False] * 4, True, True, False, False),
            x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING]),
            successor.extension([b"v" * 32]),
        ],
    )
    issued = await ca.x509(asked, Spec(ID, ("api",)))
    assert isinstance(issued, Issued)
    plain = await ca.x509(csr(), Spec(ID, ("api",)))
    assert isinstance(plain, Issued)
    assert list(issued.certificate.extensions) == list(plain.certificate.extensions)
    assert list(issued.certificate.subject) == []
    facts(issued.certificate)
    await ca.close()


def test_a_request_for_somebody_elses_key_is_refused() -> None:
    """The signature proves that who asks holds the private key."""
    foreign = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = foreign.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    own = LEAF_KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert_denied(requests.public_key(pem(der(csr()).replace(own, point))), "request.csr_malformed")


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (weak_rsa(), "request.csr_key"),
        (rsa.generate_private_key(3, 2048), "request.csr_key"),
        (ec.generate_private_key(ec.SECP521R1()), "request.csr_key"),
        (ec.generate_private_key(ec.SECP256K1()), "request.csr_key"),
        (ec.generate_private_key(ec.SECP224R1()), "request.csr_key"),
    ],
    ids=["RSA-1024", "RSA-e3", "P-521", "secp256k1", "P-224"],
)
def test_weak_and_unusual_keys_are_refused(key: Any, code: str) -> None:
    assert_denied(requests.public_key(csr(key)), code)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-256", "P-384", "RSA-2048", "Ed25519"],
)
def test_only_these_are_taken(key: Any) -> None:
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    assert requests.public_key(csr(key, digest=digest)) == key.public_key()


def test_a_huge_key_is_refused_before_anything_is_computed_with_it() -> None:
    numbers = rsa.RSAPublicNumbers(65537, (1 << 16_383) + 12_345)
    assert "RSA of 16384 bits" in requests._refused(numbers.public_key())
    assert requests._refused(x25519.X25519PrivateKey.generate().public_key())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * (requests.MAX_CSR + 1),
        csr() + csr(),
        csr().replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
        csr().replace("BEGIN CERTIFICATE REQUEST", "BEGIN CERTIFICATE"),
        csr() + "-----BEGIN PRIVATE KEY-----\n",
        csr() + "\u00e9",
        csr()[:-40],
        "-----BEGIN CERTIFICATE REQUEST-----",
        pem(b""),
        pem(der(csr()) + b"\x00"),
    ],
)
def test_anything_but_one_request_is_refused(text: str) -> None:
    assert_denied(requests.public_key(text), "request.csr_malformed")


@settings(max_examples=300)
@given(st.data())
def test_a_changed_request_is_refused_or_means_the_same(data: st.DataObject) -> None:
    """Whatever is changed: a refusal, or the very key whose holder signed; never another error."""
    raw = bytearray(REQUEST)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    answer = requests.public_key(pem(bytes(raw)))
    assert isinstance(answer, Deny) or answer == LEAF_KEY.public_key()


@given(st.text(max_size=300) | st.binary(max_size=300).map(pem))
def test_garbage_is_a_refusal_and_no_crash(text: str) -> None:
    assert isinstance(requests.public_key(text), Deny)


# predecessors


def forged(replaced: x509.Certificate, signer: TestCa) -> x509.Certificate:
    """An SVID of the same name by a fallback CA, that claims to follow `replaced`."""
    now = ManualClock().now()
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(signer.certificate.subject)
        .public_key(LEAF_KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(now, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(now + 3600, dt.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(ID)]), critical=True)
        .add_extension(successor.extension([_digest(replaced)]), critical=False)
        .sign(signer.key, hashes.SHA256())
    )


async def test_only_our_own_ca_says_what_a_certificate_replaced(tmp_path: Any) -> None:
    """A18: a fallback anchor's SVID with a forged predecessor does not get at tokens bound to that one."""
    fallback = TestCa()
    (tmp_path / "fallback.pem").write_text(fallback.pem)
    ca = authority(ca={"fallback_anchors": tmp_path / "fallback.pem"})
    await ca.start()
    victim = await ca.x509(csr(), Spec(VICTIM))
    assert isinstance(victim, Issued)
    renewed = await ca.x509(csr(), Spec(VICTIM, replaces=victim.certificate))  # so the victim's is a replaced one
    assert isinstance(renewed, Issued)
    forgery = forged(victim.certificate, fallback)
    answer = await ca.x509(csr(), Spec(ID, replaces=forgery))
    assert isinstance(answer, Issued)
    assert successor.read(answer.certificate).digests == (_digest(forgery),)
    await ca.close()


async def test_a_certificate_that_names_nobody_is_nobodys_predecessor() -> None:
    ca = authority()
    await ca.start()
    answer = await ca.x509(csr(), Spec(ID, replaces=TestCa().certificate))
    assert isinstance(answer, Issued)
    assert successor.read(answer.certificate) == successor.NONE
    await ca.close()


async def test_another_workload_does_not_inherit_by_renewing() -> None:
    ca = authority()
    await ca.start()
    victim = await ca.x509(csr(), Spec(VICTIM))
    assert isinstance(victim, Issued)
    answer = await ca.x509(csr(), Spec(ID, replaces=victim.certificate))
    assert isinstance(answer, Issued)
    assert successor.read(answer.certificate) == successor.NONE
    await ca.close()


def _digest(certificate: x509.Certificate) -> bytes:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()


# the store


class Stored:
    """An authority with sealed keys, and somebody who can write into its store."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.ca = self.authority()

    def authority(self) -> CertificateAuthority:
        return authority(EncryptedKeys(PROTECTOR), self.store, self.clock, tick_every=3600)

    async def raw(self) -> bytes:
        raw = await self.store.get(TABLE, DOMAIN)
        assert raw is not None
        return raw

    async def put(self, raw: bytes) -> None:
        await self.store.put(TABLE, DOMAIN, raw)


@pytest.fixture
async def stored() -> Any:
    made = Stored()
    await made.ca.start()
    yield made
    await made.ca.close()


async def test_an_anchor_written_into_the_store_is_not_trusted(stored: Stored) -> None:
    """Who can write to the shared store but has no passphrase adds no CA."""
    own = stored.ca.trust()
    sneaked = State(sequence=own.sequence + 1, anchors=TestCa().pem).model_dump_json().encode()
    for raw in (sneaked, EncryptedKeys(KeyProtector(b"q" * 16)).seal(sneaked, f"state:{DOMAIN}")):
        await stored.put(raw)
        with pytest.raises(KeyFault):
            await stored.ca.tick()
        with pytest.raises(KeyFault):
            await stored.authority().start()
        assert stored.ca.trust() == own
    stored.clock.advance(61)
    with pytest.raises(KeyFault):
        await stored.ca.x509(csr(), Spec(ID))
    with pytest.raises(CaFault, match="not been confirmed"):
        stored.ca.signer.sign({"exp": int(stored.clock.now()) + 60}, typ="at+jwt")


async def test_a_distrusted_key_does_not_come_back_with_an_old_state(stored: Stored) -> None:
    before = await stored.raw()
    await stored.ca.rotate("x509", compromised=True)
    after = stored.ca.trust()
    await stored.put(before)
    with pytest.raises(CaFault, match="older"):
        await stored.ca.tick()
    assert stored.ca.trust() == after


async def test_a_state_that_vanishes_is_not_made_anew(stored: Stored) -> None:
    own = stored.ca.trust()
    await stored.store.delete(TABLE, DOMAIN)
    with pytest.raises(CaFault, match="vanished"):
        await stored.ca.tick()
    assert stored.ca.trust() == own
    assert await stored.store.get(TABLE, DOMAIN) is None


async def test_a_state_too_large_is_not_opened(stored: Stored) -> None:
    await stored.put(bytes(1024 * 1024))
    with pytest.raises(CaFault, match="too large"):
        await stored.ca.tick()


async def test_a_key_sealed_for_one_set_does_not_serve_the_other(stored: Stored) -> None:
    """The state itself is sealed; were it not, a key of the JWKS still could not be made a CA."""
    state = load(PROTECTOR.open(await stored.raw(), key_id="document", purpose=f"state:{DOMAIN}"))
    kept = base64.b64decode(state.jwt[0].kept)
    keys = EncryptedKeys(PROTECTOR)
    assert keys.open(kept, state.jwt[0].kid, f"jwt:{DOMAIN}") is not None
    for kid, purpose in [
        (state.jwt[0].kid, f"x509:{DOMAIN}"),
        (state.x509[0].kid, f"jwt:{DOMAIN}"),
        (state.jwt[0].kid, "jwt:other.example"),
    ]:
        with pytest.raises(KeyFault):
            keys.open(kept, kid, purpose)


async def test_a_retired_key_is_gone_from_store_and_memory(stored: Stored) -> None:
    old = stored.ca.state().jwt[0].kid
    await stored.ca.rotate("jwt")
    stored.clock.advance(900)
    await stored.ca.tick()
    state = stored.ca.state()
    assert [(slot.kid == old, slot.phase) for slot in state.jwt] == [(True, Phase.RETIRED), (False, Phase.ACTIVE)]
    assert state.jwt[0].kept == ""
    assert old not in stored.ca._rotation._opener._opened
    assert len(phases.published(state.jwt)) == 2


# tokens


async def test_a_jwt_svid_is_no_access_token() -> None:
    """A7: it names no issuer, so no verifier of ours can pick keys for it."""
    ca = authority()
    await ca.start()
    svid = await ca.jwt_svid(ID, ["payments"])
    assert_denied(jose.parse(svid.token), "token.issuer")
    await ca.close()
