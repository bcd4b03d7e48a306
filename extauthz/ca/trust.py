"""SPIFFE trust bundles in their JWKS form (SPIFFE Trust Domain and Bundle, section 4): read and written.

What we read is strict beyond the specification where a lenient reader and a strict one could see different keys; only
an unknown `use` is skipped, as section 4.2.2 asks.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.authn import jwk
from extauthz.authn.jose import ALGORITHMS
from extauthz.authn.json_object import parse_object
from extauthz.ca.fault import CaFault
from extauthz.keys.jwk import public_jwk
from extauthz.keys.signer import KeyFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_DOCUMENT: Final = 256 * 1024
MAX_KEYS: Final = 64
MAX_ANCHORS: Final = 16
"""Fallback anchors; with both of our own sets full (`phases.MAX_SLOTS`), MAX_KEYS is reached."""
MAX_KID: Final = 256
_MAX_DEPTH: Final = 6
_MAX_VALUES: Final = 2048
_MAX_NUMBER: Final = 2**53
_X509_ERRORS: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension)


@dataclass(frozen=True, slots=True)
class Bundle:
    """One trust domain's keys. No authority and no key at all means: distrust everything of this domain."""

    authorities: tuple[x509.Certificate, ...]
    jwt_keys: tuple[Mapping[str, Any], ...]
    """Public JWKs with `kid`, as `authn.jwk.parse` takes them."""
    sequence: int = 0
    refresh_hint: int = 0
    """Seconds; 0: none was given."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What `/v1/trust` answers: a bundle document for each trust domain, the own one among them."""

    sequence: int
    trust_domains: Mapping[str, Mapping[str, Any]]

    def as_json(self) -> dict[str, Any]:
        return {"sequence": self.sequence, "trust_domains": dict(self.trust_domains)}


def write(bundle: Bundle) -> dict[str, Any]:
    """The document. Raises CaFault for an authority whose key has no JWK."""
    return {
        "keys": [
            *(_x509_entry(authority) for authority in bundle.authorities),
            *({**key, "use": "jwt-svid"} for key in bundle.jwt_keys),
        ],
        "spiffe_sequence": bundle.sequence,
        "spiffe_refresh_hint": bundle.refresh_hint,
    }


def _x509_entry(authority: x509.Certificate) -> dict[str, Any]:
    der = authority.public_bytes(Encoding.DER)
    try:
        public = public_jwk(authority.public_key())
    except KeyFault as fault:
        raise CaFault(f"a CA certificate cannot be published: {fault}") from None
    return {**public, "use": "x509-svid", "x5c": [base64.b64encode(der).decode()]}


def parse(document: bytes) -> Bundle:
    """The bytes of a bundle document. Raises CaFault, whose text quotes nothing of it."""
    if len(document) > MAX_DOCUMENT:
        raise CaFault("a trust bundle is too large")
    root = parse_object(document, max_depth=_MAX_DEPTH, max_values=_MAX_VALUES)
    if root is None:
        raise CaFault("a trust bundle is not a JSON object")
    return read(root)


def read(root: Mapping[str, Any]) -> Bundle:
    """A bundle document out of JSON that was read strictly and within bounds. Raises CaFault.

    1. a list `keys` of at most MAX_KEYS objects
    2. `x509-svid`: exactly one certificate in `x5c`, a CA, its key the one that the entry spells out
    3. `jwt-svid`: a `kid` that is not used twice, and a public key that signatures can be verified with
    4. any other `use`, or none: ignored
    5. `spiffe_sequence` and `spiffe_refresh_hint`: whole numbers, where they are given
    """
    keys = root.get("keys")
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:  # 1
        raise CaFault("a trust bundle has no list of keys, or too long a one")
    authorities: list[x509.Certificate] = []
    jwt_keys: dict[str, Mapping[str, Any]] = {}
    for entry in keys:
        if not isinstance(entry, dict):
            raise CaFault("a key of a trust bundle is not an object")
        if entry.get("use") == "x509-svid":  # 2
            authorities.append(_authority(entry))
        elif entry.get("use") == "jwt-svid":  # 3
            kid, key = _jwt_key(entry)
            if kid in jwt_keys:
                raise CaFault("a trust bundle names a kid twice")
            jwt_keys[kid] = key
    return Bundle(
        tuple(authorities),
        tuple(jwt_keys.values()),
        _number(root, "spiffe_sequence"),  # 5
        _number(root, "spiffe_refresh_hint"),
    )


def _authority(entry: Mapping[str, Any]) -> x509.Certificate:
    chain = entry.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise CaFault("an x509-svid entry has not exactly one certificate")
    try:
        authority = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
        public = public_jwk(authority.public_key())
    except (*_X509_ERRORS, binascii.Error, KeyFault):
        raise CaFault("an x509-svid entry's certificate cannot be read") from None
    if any(entry.get(name) != value for name, value in public.items()):
        raise CaFault("an x509-svid entry's key is not its certificate's")
    _must_be_ca(authority)
    return authority


def _jwt_key(entry: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    kid = entry.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise CaFault("a jwt-svid entry has no usable kid")
    key = {name: value for name, value in entry.items() if name != "use"}
    if isinstance(problem := jwk.parse(key, ALGORITHMS), str):
        raise CaFault(f"a jwt-svid entry cannot be used: {problem}")
    return kid, key


def _number(root: Mapping[str, Any], name: str) -> int:
    value = root.get(name, 0)
    if type(value) is not int or not 0 <= value < _MAX_NUMBER:
        raise CaFault(f"{name} is not a whole number")
    return value


def _must_be_ca(certificate: x509.Certificate) -> None:
    """A leaf among the anchors would be trusted for what it was never meant for."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (*_X509_ERRORS, x509.ExtensionNotFound, x509.UnsupportedGeneralNameType):
        raise CaFault("a trust anchor is not a CA certificate") from None
    if not constraints.ca:
        raise CaFault("a trust anchor is not a CA certificate")


def anchors(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The CA certificates of a PEM file, at least one. Raises CaFault."""
    if len(pem) > MAX_DOCUMENT:
        raise CaFault("the trust anchors are too large")
    try:
        found = tuple(x509.load_pem_x509_certificates(pem))
    except _X509_ERRORS:
        raise CaFault("the trust anchors are not PEM certificates") from None
    if len(found) > MAX_ANCHORS:
        raise CaFault("too many trust anchors")
    for certificate in found:
        _must_be_ca(certificate)
        _x509_entry(certificate)
    return found


def union(*groups: Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Each certificate once, in the order in which they come."""
    return tuple(dict.fromkeys(certificate for group in groups for certificate in group))
