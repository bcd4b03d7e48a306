"""Identities for tests of the agent's side: a domain with a CA and a JWT key, its SVIDs, and a served socket."""

import asyncio
import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from extauthz.clock import SystemClock
from extauthz.sds.secrets import Material
from extauthz.workload_api.identity import Identity, TrustBundle, svid, to_pem
from tests.support.certs import TestCa

_COUNT = itertools.count()


@dataclass
class Domain:
    """A trust domain that a test runs. Times are real ones: others' clients know no other."""

    name: str = "bank.example"
    ca: TestCa = field(init=False)
    jwt_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    old: list[TestCa] = field(default_factory=list)

    def __post_init__(self):
        self.ca = self.new_ca()

    def new_ca(self):
        now = SystemClock().now()
        return TestCa(f"{self.name} {next(_COUNT)}", not_before=now - 3600, not_after=now + 36000)

    def rotate(self):
        self.old.append(self.ca)
        self.ca = self.new_ca()

    def svid(self, path="/app", life=3600.0, ca=None):
        now = SystemClock().now()
        leaf = (ca or self.ca).leaf(f"spiffe://{self.name}{path}", not_before=now - 60, not_after=now + life)
        return svid([leaf.certificate], leaf.key)

    def bundle(self):
        public = jwt.algorithms.ECAlgorithm.to_jwk(self.jwt_key.public_key(), as_dict=True)
        certificates = [*(ca.certificate for ca in self.old), self.ca.certificate]
        return TrustBundle(tuple(certificates), ({**public, "kid": "k1", "alg": "ES256"},))

    def identity(self, path="/app", sequence=1, federated=(), **how):
        trust = {domain.name: domain.bundle() for domain in (self, *federated)}
        return Identity(self.svid(path, **how), trust, sequence)

    def token(self, path="/app", audience=("db",), life=300, **claims):
        now = int(SystemClock().now())
        body = {"sub": f"spiffe://{self.name}{path}", "aud": list(audience), "iat": now, "exp": now + life, **claims}
        return jwt.encode(body, self.jwt_key, algorithm="ES256", headers={"kid": "k1"})


def material(identity, sequence=0):
    """As SDS takes an identity."""
    trust = {name: to_pem(bundle.authorities) for name, bundle in identity.trust.items()}
    svid = identity.svid
    return Material(svid.spiffe_id, svid.chain_pem(), svid.key_pem(), trust, sequence or identity.sequence)


class Tokens:
    """A `JwtSvids` that signs with the domain's key."""

    def __init__(self, domain):
        self.domain = domain
        self.asked = []

    async def jwt_svid(self, audience):
        self.asked.append(audience)
        return self.domain.token(audience=audience)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, methods):
        self._methods = methods

    def service(self, details):
        return self._methods.get(details.method)


@asynccontextmanager
async def served(methods, address):
    """A plain gRPC server with these handlers on `address`."""
    server = grpc.aio.server(handlers=(_Handlers(methods),))
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


async def until(condition, seconds=20.0):
    """Waits for something that happens elsewhere; fails the test when it does not."""
    end = asyncio.get_running_loop().time() + seconds
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < end, "it did not happen"
        await asyncio.sleep(0.02)
    return found
