"""Certificate requests, a CA over a memory store, and a key that signs elsewhere, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.authn import x509_svid
from extauthz.ca.certificate_authority import CertificateAuthority
from extauthz.ca.settings import CaSettings, SigningSettings
from extauthz.clock import ManualClock
from extauthz.keys.jws import JwsKey
from extauthz.keys.provider import MemoryKeys
from extauthz.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.keys.provider import KeyProvider
    from extauthz.keys.signer import KeyAlgorithm, SigningKey

DOMAIN = "bank.example"
ID = f"spiffe://{DOMAIN}/env/prod/ns/pay/sa/api"
SHA256 = hashes.SHA256()
LEAF_KEY = ec.generate_private_key(ec.SECP256R1())


def csr(
    key: Any = LEAF_KEY,
    *,
    digest: hashes.HashAlgorithm | None = SHA256,
    subject: str = "",
    extensions: Sequence[x509.ExtensionType] = (),
) -> str:
    name = [x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(name))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, digest).public_bytes(Encoding.PEM).decode()


def authority(
    keys: KeyProvider | None = None,
    store: MemoryStore | None = None,
    clock: ManualClock | None = None,
    ca: dict[str, Any] | None = None,
    signing: dict[str, Any] | None = None,
    **options: Any,
) -> CertificateAuthority:
    clock = clock or ManualClock()
    return CertificateAuthority(
        DOMAIN,
        store or MemoryStore(clock),
        keys or MemoryKeys(),
        clock,
        CaSettings.model_validate(ca or {}),
        SigningSettings.model_validate(signing or {}),
        **options,
    )


def facts(certificate: x509.Certificate) -> x509_svid.Leaf:
    """What the Check server reads out of a certificate; it must be an SVID."""
    leaf = x509_svid.parse(quote(certificate.public_bytes(Encoding.PEM).decode(), safe=""))
    assert isinstance(leaf, x509_svid.Leaf), leaf
    assert leaf.profile_problem == ""
    return leaf


class RemoteKey(ec.EllipticCurvePrivateKey):
    """A key as an HSM's client library would give it: it has no private numbers, and asks elsewhere to sign."""

    def __init__(self, hsm: dict[str, ec.EllipticCurvePrivateKey], handle: str) -> None:
        self._hsm = hsm
        self._handle = handle
        self.signatures = 0

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        self.signatures += 1
        return self._hsm[self._handle].sign(data, signature_algorithm)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._hsm[self._handle].public_key()

    @property
    def curve(self) -> ec.EllipticCurve:
        return ec.SECP256R1()

    @property
    def key_size(self) -> int:
        return 256

    def exchange(self, algorithm: Any, peer_public_key: Any) -> bytes:
        raise AssertionError("a signing key agrees on nothing")

    def private_numbers(self) -> Any:
        raise AssertionError("the key does not leave")

    def private_bytes(self, *_: Any, **__: Any) -> bytes:
        raise AssertionError("the key does not leave")

    def __copy__(self) -> RemoteKey:
        return self

    def __deepcopy__(self, _: Any) -> RemoteKey:
        return self


class RemoteKeys:
    """A `KeyProvider` whose keys stay in an "HSM"; what it keeps in the store is a handle."""

    def __init__(self) -> None:
        self.hsm: dict[str, ec.EllipticCurvePrivateKey] = {}

    def create(self, algorithm: KeyAlgorithm, purpose: str) -> tuple[SigningKey, bytes]:
        handle = f"{purpose}/{len(self.hsm)}"
        self.hsm[handle] = ec.generate_private_key(ec.SECP256R1())
        return JwsKey(RemoteKey(self.hsm, handle)), handle.encode()

    def open(self, kept: bytes, key_id: str, purpose: str) -> SigningKey | None:
        key = JwsKey(RemoteKey(self.hsm, kept.decode()))
        return key if key.id == key_id else None

    def forget(self, key_id: str) -> None:
        pass

    def seal(self, document: bytes, purpose: str) -> bytes:
        return document

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        return sealed


def weak_rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
