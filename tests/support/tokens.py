"""Token issuers for tests: real keys, honest tokens, and forgeries made by hand."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from extauthz.authn.keys import KeyStore
from extauthz.authn.revocation import Revocations
from extauthz.authn.settings import IssuerSettings, RevocationSettings, TokenRule
from extauthz.authn.tokens import TokenVerifier
from extauthz.clock import ManualClock
from extauthz.outbound import Outbound

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.authn.settings import VerifierSettings

ISSUER = "https://issuer.example"
AUDIENCE = "payments"
EPOCH = 1_800_000_000
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
_CRV = {"secp256r1": ("P-256", 32), "secp384r1": ("P-384", 48), "secp521r1": ("P-521", 66)}


_UNMADE = ed25519.Ed25519PrivateKey.generate()


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def generate(algorithm: str) -> PrivateKey:
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def raw_sign(key: PrivateKey, algorithm: str, signed: bytes) -> bytes:
    """A JWS signature, whatever the header says."""
    digest = _HASHES.get(algorithm[2:], _HASHES["256"])
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
        size = _CRV[key.curve.name][1]
        return r.to_bytes(size) + s.to_bytes(size)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    if algorithm.startswith("PS"):
        return key.sign(signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return key.sign(signed, padding.PKCS1v15(), digest)


def public_jwk(key: PrivateKey, **members: Any) -> dict[str, Any]:
    public = key.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        crv, size = _CRV[public.curve.name]
        numbers = public.public_numbers()
        jwk = {"kty": "EC", "crv": crv, "x": b64(numbers.x.to_bytes(size)), "y": b64(numbers.y.to_bytes(size))}
    elif isinstance(public, ed25519.Ed25519PublicKey):
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
    else:
        modulus, exponent = public.public_numbers().n, public.public_numbers().e
        jwk = {
            "kty": "RSA",
            "n": b64(modulus.to_bytes((modulus.bit_length() + 7) // 8)),
            "e": b64(exponent.to_bytes(3)),
        }
    return {**jwk, "use": "sig", **members}


@dataclass
class Issuer:
    """Signs what it is told to. `kid` and `algorithm` name its current key."""

    issuer: str = ISSUER
    algorithm: str = "ES256"
    kid: str = "key-1"
    key: PrivateKey = field(default_factory=lambda: _UNMADE)

    def __post_init__(self) -> None:
        if self.key is _UNMADE:
            self.key = generate(self.algorithm)

    def jwk(self, **members: Any) -> dict[str, Any]:
        return public_jwk(self.key, kid=self.kid, **members)

    def jwks(self) -> dict[str, Any]:
        return {"keys": [self.jwk()]}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good claims; a change to `...` removes the claim."""
        claims = {
            "iss": self.issuer,
            "sub": "alice",
            "aud": AUDIENCE,
            "exp": EPOCH + 300,
            "iat": EPOCH - 10,
            "jti": "t-1",
            "scope": "transfers:write transfers:read",
            "purpose": "payment",
            "tenant": "acme",
            "roles": ["teller"],
            "client_id": "app",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not ...}

    def header(self, **changes: Any) -> dict[str, Any]:
        header = {"alg": self.algorithm, "typ": "at+jwt", "kid": self.kid, **changes}
        return {name: value for name, value in header.items() if value is not ...}

    def sign(self, header: Any = None, claims: Any = None) -> str:
        """Each part may be given as bytes, to be taken as they are."""
        header = self.header() if header is None else header
        claims = self.claims() if claims is None else claims
        parts = [part if isinstance(part, bytes) else compact(part) for part in (header, claims)]
        signed = ".".join(map(b64, parts)).encode()
        return signed.decode() + "." + b64(raw_sign(self.key, self.algorithm, signed))

    def token(self, **claims: Any) -> str:
        return self.sign(claims=self.claims(**claims))


class CountingServer:
    """An issuer's web server as an httpx transport: answers from `documents` (URL → JSON, bytes or status)."""

    def __init__(self, documents: dict[str, Any] | None = None) -> None:
        self.documents = documents or {}
        self.calls: list[str] = []
        self.before: Callable[[], Any] | None = None
        self.transport = httpx.MockTransport(self._answer)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        self.calls.append(url)
        if self.before is not None:
            await self.before()
        document = self.documents.get(url, 404)
        if isinstance(document, Exception):
            raise document
        if isinstance(document, int):
            return httpx.Response(document)
        return httpx.Response(200, content=document if isinstance(document, bytes) else compact(document))


JWKS_URL = ISSUER + "/jwks"
RULE = TokenRule(issuers=("main",), audiences=(AUDIENCE,))


def issuer_settings(**changes: Any) -> IssuerSettings:
    return IssuerSettings.model_validate(
        {"name": "main", "issuer": ISSUER, "algorithms": ["ES256"], "jwks": {"url": JWKS_URL}, **changes}
    )


@dataclass
class Bench:
    """A verifier with everything around it; the clock stands still."""

    server: CountingServer
    clock: ManualClock
    store: KeyStore
    revocations: Revocations
    verifier: TokenVerifier

    async def code(self, token: str, rule: TokenRule = RULE, workload: Any = None) -> str:
        """The code of the refusal, or `ok`."""
        answer = await self.verifier.verify(token, rule, workload)
        return getattr(answer, "code", "ok")


def bench(
    documents: dict[str, Any],
    *settings: IssuerSettings,
    limits: VerifierSettings | None = None,
    revocations: RevocationSettings | None = None,
) -> Bench:
    issuers = settings or (issuer_settings(),)
    server = CountingServer(documents)
    clock = ManualClock()
    urls = [url for entry in issuers for url in entry.outbound_urls]
    store = KeyStore(issuers, Outbound(urls, transport=server.transport), clock)
    revoked = Revocations(revocations or RevocationSettings())
    return Bench(server, clock, store, revoked, TokenVerifier(issuers, store, revoked, clock, limits))
