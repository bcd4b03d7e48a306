"""A workload's certificate and trust as Envoy's secrets, under the names that SPIRE's and Istio's users write.

| name | secret |
| --- | --- |
| `default`, the workload's own SPIFFE ID | certificate chain (leaf first) and PKCS#8 key |
| `ROOTCA`, `spiffe://<trust domain>` | the certificate authorities of the own or the named domain (`trusted_ca`) |
| `ALL` | every known domain with its own authorities (SPIFFE validator: federation) |

Everything is inline, nothing refers to a file. A domain that trusts nobody any more cannot be sent as an empty list:
Envoy would refuse that and keep what it has. It gets an authority whose key nobody holds instead.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from extauthz.errors import ExtauthzError
from extauthz.sds import messages
from extauthz.sds.names import ALL_TRUST, OWN_CERTIFICATE, OWN_TRUST, SCHEME

if TYPE_CHECKING:
    from collections.abc import Mapping


class SecretsError(ExtauthzError):
    """Material that must not be pushed. The text holds none of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What the secrets are made of, all PEM. `trust` by trust domain; `sequence` is its version."""

    spiffe_id: str
    chain: bytes
    key: bytes = field(repr=False)
    trust: Mapping[str, bytes]
    sequence: int


@dataclass(frozen=True, slots=True)
class Resource:
    """One secret. `version` changes with its content; `content` is the serialized Secret."""

    name: str
    version: str
    content: bytes = field(repr=False)
    is_trust: bool


class Secrets:
    """Every secret that `material` gives, by name. `aliases`: further names for them, from the configuration.

    Raises SecretsError when key and certificate do not belong together: Envoy would refuse such an update, and a bad
    first one can hold up all that follow.
    """

    def __init__(self, material: Material, aliases: Mapping[str, str] | None = None) -> None:
        _check(material)
        self.sequence = material.sequence
        self._material = material
        self._aliases = aliases or {}
        self._made: dict[str, Resource | None] = {}

    def get(self, name: str) -> Resource | None:
        """None: there is no secret of this name."""
        if name not in self._made:
            secret = self._make(self._aliases.get(name, name))
            if secret is None:
                return None  # not kept: names come from outside
            secret.name = name
            content = secret.SerializeToString(deterministic=True)
            version = hashlib.sha256(content).hexdigest()[:16]
            self._made[name] = Resource(name, version, content, secret.HasField("validation_context"))
        return self._made[name]

    def _make(self, name: str) -> Any:
        own = self._material
        if name in {OWN_CERTIFICATE, own.spiffe_id}:
            secret = messages.Secret()
            secret.tls_certificate.certificate_chain.inline_bytes = own.chain
            secret.tls_certificate.private_key.inline_bytes = own.key
            return secret
        if name == ALL_TRUST:
            return self._federated()
        if name == OWN_TRUST:
            name = SCHEME + own.spiffe_id.removeprefix(SCHEME).partition("/")[0]
        domain = name.removeprefix(SCHEME)
        if domain == name or domain not in own.trust:
            return None
        secret = messages.Secret()
        secret.validation_context.trusted_ca.inline_bytes = own.trust[domain] or _nobody()
        return secret

    def _federated(self) -> Any:
        config = messages.SpiffeCertValidatorConfig()
        for domain, authorities in sorted(self._material.trust.items()):
            config.trust_domains.add(name=domain).trust_bundle.inline_bytes = authorities or _nobody()
        secret = messages.Secret()
        validator = secret.validation_context.custom_validator_config
        validator.name = messages.VALIDATOR
        validator.typed_config.type_url = messages.VALIDATOR_TYPE_URL
        validator.typed_config.value = config.SerializeToString(deterministic=True)
        return secret


def _check(material: Material) -> None:
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        leaf = x509.load_pem_x509_certificates(material.chain)[0]
        key = load_pem_private_key(material.key, None)
        same = leaf.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SecretsError("the certificate chain or the key cannot be read") from None
    if not same:
        raise SecretsError("the key is not the certificate's")


@functools.cache
def _nobody() -> bytes:
    """A certificate authority whose key is forgotten here: no certificate is ever signed by it. PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody is trusted")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2120, 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)
