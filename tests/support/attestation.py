"""Platforms that vouch for workloads: a cluster, an OpenID provider, a cloud. Real keys, real signatures."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from extauthz.attestation.attestor import Attested
from extauthz.attestation.refusal import Refused
from extauthz.attestation.registry import Attestors
from extauthz.attestation.settings import AttestationSettings
from extauthz.clock import ManualClock
from extauthz.store.memory import MemoryStore
from tests.support.tokens import EPOCH, CountingServer, Issuer

CLUSTER = "https://cluster.example"
AUTHORITY = "https://authority.bank.example"
BUILDS = "https://builds.example"
ACCOUNT = "123456789012"
REGION = "eu-west-1"


def cluster(issuer: str = CLUSTER, kid: str = "sa-1", **changes: Any) -> Issuer:
    return Issuer(issuer=issuer, algorithm="ES256", kid=kid, **changes)


def service_account(platform: Issuer, **changes: Any) -> str:
    """A projected token as Kubernetes 1.30 makes it; `kubernetes` overrides members of the private claims."""
    inner = {
        "namespace": "orchestration",
        "serviceaccount": {"name": "orchestrator", "uid": "0f7c2a51-1111-4222-8333-444455556666"},
        "pod": {"name": "orchestrator-7d9f", "uid": "9a8b7c6d-1111-4222-8333-444455556666"},
        "node": {"name": "node-1", "uid": "1a2b3c4d-1111-4222-8333-444455556666"},
        **changes.pop("kubernetes", {}),
    }
    claims = {
        "iss": platform.issuer,
        "sub": "system:serviceaccount:orchestration:orchestrator",
        "aud": [AUTHORITY],
        "iat": EPOCH - 60,
        "nbf": EPOCH - 60,
        "exp": EPOCH + 3540,
        "jti": "aed34954-b33a-4142-b1ec-389d6bbb4936",
        "kubernetes.io": {name: value for name, value in inner.items() if value is not ...},
        **changes,
    }
    return platform.sign(
        header=platform.header(typ=...), claims={name: value for name, value in claims.items() if value is not ...}
    )


def build_job(provider: Issuer, **changes: Any) -> str:
    """What a build service gives a job."""
    claims = {
        "iss": provider.issuer,
        "sub": "repo:bank/models:environment:prod",
        "aud": AUTHORITY,
        "iat": EPOCH - 5,
        "nbf": EPOCH - 5,
        "exp": EPOCH + 295,
        "jti": "b-1",
        "repository": "bank/models",
        "ref": "refs/heads/main",
        "workflow": "Retrain and publish",
        **changes,
    }
    return provider.sign(
        header=provider.header(typ="JWT"), claims={name: value for name, value in claims.items() if value is not ...}
    )


@dataclass
class Cloud:
    """One region's signing key and certificate."""

    region: str = REGION
    bits: int = 2048
    begins: float = EPOCH - 1000.0
    ends: float = EPOCH + 1_000_000.0
    key: rsa.RSAPrivateKey = field(init=False)
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.key = rsa.generate_private_key(65537, self.bits)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"cloud {self.region}")])
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(self.begins, UTC))
            .not_valid_after(datetime.fromtimestamp(self.ends, UTC))
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def document(self, *, started: float = EPOCH - 30.0, **changes: Any) -> str:
        """As EC2 writes it: indented, with spaces around the colons."""
        fields = {
            "accountId": ACCOUNT,
            "architecture": "x86_64",
            "availabilityZone": f"{self.region}a",
            "billingProducts": None,
            "devpayProductCodes": None,
            "marketplaceProductCodes": ["1abc2defghijklm3nopqrs4tu"],
            "imageId": "ami-5fb8c835",
            "instanceId": "i-1234567890abcdef0",
            "instanceType": "t2.micro",
            "kernelId": None,
            "pendingTime": datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "privateIp": "10.158.112.84",
            "ramdiskId": None,
            "region": self.region,
            "version": "2017-09-30",
            **changes,
        }
        return json.dumps(
            {name: value for name, value in fields.items() if value is not ...}, indent=2, separators=(",", " : ")
        )

    def sign(self, document: str) -> bytes:
        return self.key.sign(document.encode(), padding.PKCS1v15(), hashes.SHA256())

    def evidence(self, document: str | None = None, **changes: Any) -> str:
        document = self.document(**changes) if document is None else document
        return json.dumps({"document": document, "signature": base64.encodebytes(self.sign(document)).decode()})

    def message(self, document: str, *options: pkcs7.PKCS7Options) -> bytes:
        """PKCS #7 SignedData with the document inside, DER."""
        return (
            pkcs7.PKCS7SignatureBuilder()
            .set_data(document.encode())
            .add_signer(self.certificate, self.key, hashes.SHA256())
            .sign(Encoding.DER, [pkcs7.PKCS7Options.Binary, *options])
        )


def pkcs7_evidence(message: bytes) -> str:
    return json.dumps({"pkcs7": base64.encodebytes(message).decode()})


@dataclass
class Desk:
    """Attestors with everything around them; the clock stands at EPOCH."""

    attestors: Attestors
    store: MemoryStore
    clock: ManualClock
    server: CountingServer

    async def code(self, evidence: str, attestor: str) -> str:
        """The code of the refusal, or `ok`."""
        found = await self.attestors.attest(attestor, evidence)
        return found.code if isinstance(found, Refused) else "ok"

    async def attested(self, evidence: str, attestor: str) -> Attested:
        found = await self.attestors.attest(attestor, evidence)
        assert isinstance(found, Attested), found
        return found


def desk(
    *attestors: dict[str, Any],
    documents: dict[str, Any] | None = None,
    store: Any = None,
    reviewer: Reviewer | None = None,
) -> Desk:
    clock = ManualClock()
    server = CountingServer(documents)
    store = MemoryStore(clock) if store is None else store
    settings = AttestationSettings.model_validate({"attestors": attestors})
    transport = server.transport if reviewer is None else reviewer.over(server)
    made = Attestors(settings, store=store, clock=clock, transport=transport)
    return Desk(made, store, clock, server)


def keys_of(*platforms: Issuer) -> dict[str, Any]:
    """Each platform's discovery and key documents."""
    documents: dict[str, Any] = {}
    for platform in platforms:
        documents[platform.issuer + "/.well-known/openid-configuration"] = {
            "issuer": platform.issuer,
            "jwks_uri": platform.issuer + "/keys",
        }
        documents[platform.issuer + "/keys"] = platform.jwks()
    return documents


def kubernetes(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "kubernetes",
        "cluster": "prod",
        "issuer": CLUSTER,
        "algorithms": ["ES256"],
        "audiences": [AUTHORITY],
        "namespaces": ["orchestration", "model"],
        **changes,
    }


def oidc(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "oidc",
        "issuer": BUILDS,
        "algorithms": ["ES256"],
        "audiences": [AUTHORITY],
        "require": {"repository": ["bank/models"], "ref": ["refs/heads/main", "refs/tags/*"]},
        **changes,
    }


class Reviewer:
    """An API server that answers TokenReviews as an httpx transport; `status` is its answer, `asked` its questions."""

    def __init__(self, status: Any = None, code: int = 201) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.code = code
        self.status = {
            "authenticated": True,
            "audiences": [AUTHORITY],
            "user": {
                "username": "system:serviceaccount:orchestration:orchestrator",
                "uid": "0f7c2a51-1111-4222-8333-444455556666",
                "groups": ["system:serviceaccounts"],
                "extra": {"authentication.kubernetes.io/pod-name": ["orchestrator-7d9f"]},
            },
        }
        if status is not None:
            self.status = status

    def over(self, server: CountingServer) -> httpx.MockTransport:
        async def answer(request: httpx.Request) -> httpx.Response:
            if request.method != "POST":
                return await server.transport.handle_async_request(request)
            self.asked.append((request.headers.get("authorization", ""), json.loads(request.content)))
            return httpx.Response(self.code, json={"kind": "TokenReview", "status": self.status})

        return httpx.MockTransport(answer)
