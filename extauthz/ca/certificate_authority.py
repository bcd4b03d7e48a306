"""The authority's keys behind one door: issue X.509-SVIDs and JWT-SVIDs, sign tokens, say whom to trust, rotate."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.authn import spiffe
from extauthz.ca import csr as requests
from extauthz.ca import profile
from extauthz.ca.acknowledged import ConnectedAgents
from extauthz.ca.anchors import ForeignAnchors
from extauthz.ca.fault import CaFault
from extauthz.ca.profile import Names
from extauthz.ca.replaced import predecessors, replace
from extauthz.ca.rotation import LOG, Change, Rotated, Rotation
from extauthz.errors import ExtauthzError
from extauthz.keys.jwk import base64url
from extauthz.model import Deny
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cryptography.x509 import Certificate  # `x509` is a method's name inside the class

    from extauthz.ca.csr import PublicKey
    from extauthz.ca.settings import CaSettings, SigningSettings
    from extauthz.ca.state import SetName, State
    from extauthz.ca.trust import Trust
    from extauthz.ca.view import Active
    from extauthz.clock import Clock
    from extauthz.keys.provider import KeyProvider
    from extauthz.keys.signer import TokenSigner
    from extauthz.store.store import Store

log = logging.getLogger(__name__)

MAX_AUDIENCES: Final = 16
MAX_AUDIENCE: Final = 2048
_BLOCKING: Final = "RS256"
"""Takes milliseconds a signature; the others take microseconds."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What the registration entry grants. `ttl` in seconds; None: the default.

    `replaces`: the certificate that authenticated a renewal, already verified against our trust bundle; None for a
    workload that was attested anew. `continues`: SHA-256 of the certificates that such a workload has held, where it
    was proven to be the same instance; newest first, at most MAX_PREDECESSORS.
    """

    spiffe_id: str
    dns_names: tuple[str, ...] = ()
    ttl: float | None = None
    replaces: x509.Certificate | None = None
    continues: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Issued:
    """An X.509-SVID. Times in seconds since the epoch; `authority` is the kid of the CA that signed it."""

    spiffe_id: str
    certificate: x509.Certificate
    chain: str
    """PEM, leaf first. The CA is a root: it is in the trust bundle, not here."""
    not_before: float
    expires_at: float
    x5t: str
    serial: str
    authority: str


@dataclass(frozen=True, slots=True)
class JwtSvid:
    token: str
    expires_at: int


class CertificateAuthority:
    """Call `start` once, `close` at the end. `tick_every` in seconds. Faults are CaFault, KeyFault and StoreError."""

    def __init__(
        self,
        trust_domain: str,
        store: Store,
        keys: KeyProvider,
        clock: Clock,
        ca: CaSettings,
        signing: SigningSettings,
        *,
        report: Callable[[Change], None] = lambda _: None,
        tick_every: float = 5.0,
    ) -> None:
        self._trust_domain = trust_domain
        self._store = store
        self._clock = clock
        self._ca = ca
        self._signing = signing
        self._tick_every = tick_every
        self.agents = ConnectedAgents(store, clock, ca.agent_seen_within)
        self._rotation = Rotation(trust_domain, store, keys, clock, self.agents, ca, signing, report)
        self._anchors = ForeignAnchors(ca, trust_domain)
        self._unpublished: tuple[str, dict[str, str]] | None = None
        self._looking = asyncio.Lock()
        self._closing = False
        self._tasks = Tasks()
        self.signer: TokenSigner = _ActiveSigner(self._rotation, clock)

    async def start(self) -> None:
        """Keys and anchors are there afterwards, and keep themselves up to date. Raises also ConfigError."""
        anchors = await asyncio.to_thread(self._anchors.load)
        await self._rotation.start()
        await self._rotation.publish(*anchors)
        self._tasks.start(self._follow(await self._store.last(LOG)), "ca-rotation")

    async def close(self) -> None:
        self._closing = True
        await self._tasks.close()

    async def x509(self, csr: str, spec: Spec) -> Issued | Deny:
        """An X.509-SVID for the key of a CSR (PEM), naming what `spec` says and nothing of what the CSR says."""
        key = await asyncio.to_thread(requests.public_key, csr)
        if isinstance(key, Deny):
            return key
        names = Names(spec.spiffe_id, spec.dns_names)
        profile.check_names(names, self._trust_domain)
        await self._rotation.confirm()
        before = await self._before(spec)
        issuer, active = self._rotation.view.issuer, self._rotation.active("x509")
        certificate = await asyncio.to_thread(self._sign, key, names, issuer, active, spec.ttl, before)
        return _issued(spec.spiffe_id, certificate, active.slot.kid)

    async def jwt_svid(self, spiffe_id: str, audience: Sequence[str], ttl: float | None = None) -> JwtSvid:
        """A JWT-SVID (SPIFFE JWT-SVID section 3); `ttl` in seconds. Raises CaFault for what may not be asked for.

        It names no issuer: our own verifiers ask for one, so none of them takes it for an access token.
        """
        parsed = spiffe.parse(spiffe_id)
        if parsed is None or parsed.trust_domain != self._trust_domain:
            raise CaFault("the SPIFFE ID is not one of this trust domain")
        if not 0 < len(audience) <= MAX_AUDIENCES or not all(0 < len(name) <= MAX_AUDIENCE for name in audience):
            raise CaFault("a JWT-SVID has 1 to 16 audiences")
        await self._rotation.confirm()
        now = int(self._clock.now())
        life = min(self._signing.jwt_svid_ttl if ttl is None else ttl, self._signing.longest_token)
        claims = {
            "sub": spiffe_id,
            "aud": list(audience),
            "iat": now,
            "exp": now + int(life),
            "jti": str(uuid.uuid4()),
        }
        if self._signing.algorithm == _BLOCKING:
            return JwtSvid(await asyncio.to_thread(self.signer.sign, claims, typ="JWT"), now + int(life))
        return JwtSvid(self.signer.sign(claims, typ="JWT"), now + int(life))

    async def tick(self) -> None:
        """Look at anchors, store and clock now; done by itself every `tick_every` seconds."""
        async with self._looking:
            self._unpublished = await asyncio.to_thread(self._anchors.reload) or self._unpublished
            if self._unpublished is not None:
                await self._rotation.publish(*self._unpublished)
                self._unpublished = None
            await self._rotation.tick()

    def trust(self) -> Trust:
        """Bundle documents of all trust domains that are trusted here."""
        return self._rotation.view.trust

    async def wait(self, sequence: int, timeout: float) -> Trust:
        """As `trust`, once its sequence is another one than `sequence`, or after `timeout` seconds."""
        await self._rotation.wait(sequence, timeout)
        return self.trust()

    async def acknowledge(self, agent: str, sequence: int) -> None:
        """An agent is connected and has this sequence in force. One that was never given out counts as none."""
        if sequence > self.trust().sequence:
            await self._rotation.tick()  # another replica may have given it out
        await self.agents.record(agent, sequence if 0 <= sequence <= self.trust().sequence else 0)

    async def rotate(self, name: SetName, *, compromised: bool = False) -> Rotated:
        """See Rotation.rotate: the caller records a revocation of every kid that it names."""
        return await self._rotation.rotate(name, compromised=compromised)

    async def distrust(self, name: SetName, kid: str) -> Rotated:
        return await self._rotation.distrust(name, kid)

    def state(self) -> State:
        """Every slot and its phase, for status pages; private keys in it are sealed."""
        return self._rotation.view.state

    async def _before(self, spec: Spec) -> tuple[bytes, ...]:
        """Predecessors, only where the same workload renews: another name may not inherit its tokens; or where the same
        instance was proven to attest again."""
        now, longest = self._clock.now(), self._signing.longest_token
        if spec.replaces is None:
            await replace(self._store, spec.continues, now=now, longest=longest)
            return spec.continues
        if _uri(spec.replaces) != spec.spiffe_id:
            return ()
        authorities = self._rotation.view.authorities
        return await predecessors(self._store, spec.replaces, authorities, now=now, longest=longest)

    def _sign(
        self,
        key: PublicKey,
        names: Names,
        issuer: Certificate,
        active: Active,
        ttl: float | None,
        before: tuple[bytes, ...],
    ) -> Certificate:
        life = min(self._ca.svid_ttl if ttl is None else ttl, self._ca.max_svid_ttl, active.slot.longest)
        now = self._clock.now()
        return profile.svid(key, names, issuer, active.key, now=now, ttl=life, predecessors=before)

    async def _follow(self, seen: int) -> None:
        """Tick when another replica has changed something, and every `tick_every` seconds anyway."""
        while not self._closing:  # before Python 3.12, `wait_for` in a store's client may swallow a cancellation
            try:
                await self._store.wait(LOG, seen, self._tick_every)
                seen = await self._store.last(LOG)
                await self.tick()
            except ExtauthzError as error:
                log.error("keys could not be looked after: %s", error)  # noqa: TRY400 - the message says all
                await asyncio.sleep(min(1.0, self._tick_every))


class _ActiveSigner:
    """Implements `keys.TokenSigner` over whichever `jwt` slot is active."""

    def __init__(self, rotation: Rotation, clock: Clock) -> None:
        self._rotation = rotation
        self._clock = clock

    def sign(self, claims: Mapping[str, Any], *, typ: str) -> str:
        """Raises CaFault also for claims that would outlive their key's place in the JWKS."""
        active = self._rotation.active("jwt")
        expires = claims.get("exp")
        if type(expires) is not int or expires > self._clock.now() + active.slot.longest:
            raise CaFault("a token without an end, or with one after signing.longest_token")
        return active.key.sign(claims, typ=typ)

    def jwks(self) -> dict[str, Any]:
        return dict(self._rotation.view.jwks)


def _issued(spiffe_id: str, certificate: x509.Certificate, authority: str) -> Issued:
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    return Issued(
        spiffe_id,
        certificate,
        profile.pem(certificate),
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
        base64url(digest),
        f"{certificate.serial_number:x}",
        authority,
    )


def _uri(certificate: Certificate) -> str:
    """The one URI SAN of a verified SVID; empty for anything else."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ""
    found = names.get_values_for_type(x509.UniformResourceIdentifier)
    return found[0] if len(found) == 1 else ""
