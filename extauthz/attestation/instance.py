"""Instance identity documents in AWS's form: a JSON document about a machine, signed by its cloud.

Evidence, as the instance metadata service gives it out:

    {"document": "<text, unchanged>", "signature": "<base64>"}      …/instance-identity/document and …/signature
    {"pkcs7": "<base64>"}                                           …/instance-identity/rsa2048

1. the evidence is one of the two, strict JSON
2. the document, of which nothing is proved yet, names a region; only that region's certificates may have signed it
3. RSA of at least 2048 bits, PKCS #1 v1.5 with SHA-256, over the document's very bytes, by a certificate valid now
4. the document has the fields that are needed, each of its form
5. the account is on the list
6. the instance was started not longer ago than the settings let it (`pendingTime`)
7. it has not attested since it was started

The document is not a secret and does not change while the instance runs: whoever can reach its metadata service, or a
service that the document was shown to, has it. Age and one use are what make it evidence.

Source: AWS EC2 User Guide, "Instance identity documents" and "Verify instance identity documents".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from extauthz.attestation import pkcs7, used
from extauthz.attestation.attestor import Attested, selector
from extauthz.attestation.refusal import Refused
from extauthz.authn.files import WatchedFile, file_error
from extauthz.authn.json_object import parse_object

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.attestation.settings import InstanceSettings
    from extauthz.clock import Clock
    from extauthz.store.store import Store

MIN_BITS: Final = 2048
_WHEN: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_FIELDS: Final = {
    "accountId": re.compile(r"[0-9]{12}"),
    "region": re.compile(r"[a-z0-9-]{1,64}"),
    "instanceId": re.compile(r"i-[0-9a-f]{8,32}"),
    "pendingTime": _WHEN,
}
_INSTANCE: Final = ("accountId", "region", "instanceId")
"""What names a machine for good, over its stops and starts."""
_SELECTORS: Final = {
    "account": "accountId",
    "region": "region",
    "az": "availabilityZone",
    "instance": "instanceId",
    "image": "imageId",
    "type": "instanceType",
}


@dataclass(frozen=True, slots=True)
class _Signed:
    """A document with what is said to sign it. `over`: the bytes that the signature covers."""

    document: bytes
    over: bytes
    signature: bytes


class InstanceAttestor:
    """Reads the certificates: raises ConfigError for one that cannot be used."""

    kind: Final = "instance"

    def __init__(self, settings: InstanceSettings, store: Store, clock: Clock) -> None:
        self.name = settings.name
        self._settings = settings
        self._store = store
        self._clock = clock
        self._certificates = {region: _certificates(path) for region, path in settings.certificates.items()}

    async def attest(self, evidence: str) -> Attested | Refused:  # noqa: PLR0911 - one return a refusal, numbered
        document = self._document(evidence)  # 1, 2, 3
        if isinstance(document, Refused):
            return document
        fields = _fields(document)  # 4
        if isinstance(fields, Refused):
            return fields
        if fields["accountId"] not in self._settings.accounts:  # 5
            return Refused("attestation.not_allowed", f"account {fields['accountId']}")
        started = _seconds(fields["pendingTime"])
        now, settings = self._clock.now(), self._settings
        if started is None or started > now + settings.leeway:  # 6
            return Refused("attestation.not_yet_valid", "pendingTime")
        expires = started + settings.max_age + settings.leeway
        if now >= expires:  # 6
            return Refused("attestation.too_old", f"started {now - started:.0f} s ago")
        evidence_id = _named([fields[name] for name in _FIELDS])
        if settings.once:  # 7
            refused = await used.use(self._store, evidence_id, expires, self.name)
            if refused is not None:
                return refused
        instance = "/".join(fields[name] for name in _INSTANCE)
        return Attested(self.name, _said(document), evidence_id, expires, instance)

    def _document(self, evidence: str) -> dict[str, Any] | Refused:
        signed = _read(evidence)  # 1
        if isinstance(signed, Refused):
            return signed
        document = parse_object(signed.document, max_depth=4, max_values=256)
        region = None if document is None else document.get("region")
        if document is None or not isinstance(region, str):
            return Refused("attestation.malformed", "the document is no strict JSON object with a region")
        certificates = self._certificates.get(region)
        if certificates is None:  # 2
            return Refused("attestation.not_allowed", "no certificate is configured for the document's region")
        if not any(self._signs(certificate, signed) for certificate in certificates):  # 3
            return Refused("attestation.signature", f"not by a valid certificate of {region}")
        return document

    def _signs(self, certificate: x509.Certificate, signed: _Signed) -> bool:
        now = self._clock.now()
        if not certificate.not_valid_before_utc.timestamp() <= now < certificate.not_valid_after_utc.timestamp():
            return False
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        try:
            key.verify(signed.signature, signed.over, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    def start(self) -> None:
        """Nothing runs in the background."""

    async def close(self) -> None:
        """Nothing is held."""


def _read(evidence: str) -> _Signed | Refused:
    """Step 1."""
    # The document is a text in it, whose commas count as values.
    members = parse_object(evidence.encode("utf-8", "replace"), max_depth=2, max_values=1024)
    if members is None or not all(isinstance(value, str) for value in members.values()):
        return Refused("attestation.malformed", "not a strict JSON object of texts")
    if members.keys() == {"document", "signature"}:
        signature, document = _decoded(members["signature"]), members["document"].encode()
        return _Signed(document, document, signature) if signature else Refused("attestation.malformed", "signature")
    message = _decoded(members["pkcs7"]) if members.keys() == {"pkcs7"} else None
    content = None if message is None else pkcs7.parse(message)
    if content is None:
        return Refused("attestation.malformed", "neither document and signature, nor pkcs7")
    return _Signed(content.content, content.signed, content.signature)


def _decoded(text: str) -> bytes | None:
    """Base64, which the metadata service breaks into lines."""
    try:
        return base64.b64decode("".join(text.split()), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _fields(document: dict[str, Any]) -> dict[str, str] | Refused:
    """Step 4."""
    for name, form in _FIELDS.items():
        value = document.get(name)
        if not isinstance(value, str) or not form.fullmatch(value):
            return Refused("attestation.claims", f"{name} is missing or malformed")
    return {name: document[name] for name in _FIELDS}


def _said(document: dict[str, Any]) -> frozenset[str]:
    found = (selector("aws", what, document.get(field)) for what, field in _SELECTORS.items())
    return frozenset(text for text in found if text is not None)


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _named(values: list[str]) -> str:
    """The evidence is the machine and its start, not the bytes that say so."""
    return hashlib.sha256(json.dumps(["instance", *values]).encode()).hexdigest()


def _certificates(path: Path) -> tuple[x509.Certificate, ...]:
    content = WatchedFile(path).changed() or b""
    try:
        found = tuple(x509.load_pem_x509_certificates(content))
    except ValueError:
        raise file_error(
            path, "holds no certificates that can be read", "write the cloud's certificates as PEM"
        ) from None
    for certificate in found:
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_BITS:
            raise file_error(
                path,
                f"has a certificate without an RSA key of at least {MIN_BITS} bits",
                "use the cloud's RSA-2048 certificate",
            )
    return found
