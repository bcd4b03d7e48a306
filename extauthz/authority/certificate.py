"""The authority's own SVID, `spiffe://<trust domain>/authority`: issued by its CA, its key in memory only.

The listener follows: at half the certificate's life, at every change of whom to trust, and at once when the CA that
signed it is no longer trusted, there is a new certificate or a new set of anchors for the next handshake.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.authority.tls import ListenerTls
from extauthz.ca.certificate_authority import Spec
from extauthz.ca.fault import CaFault
from extauthz.errors import ExtauthzError
from extauthz.model import Deny

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.authority.audit import Audit
    from extauthz.authority.peers import Anchors
    from extauthz.ca.certificate_authority import CertificateAuthority, Issued
    from extauthz.clock import Clock

log = logging.getLogger(__name__)
LOOK: Final = 5.0
"""The most seconds between two looks at the certificate's age, when nothing else happens."""
AGAIN: Final = 1.0


class OwnCertificate:
    """`start` makes the certificate and its listener's TLS; `follow` keeps them fresh until it is cancelled."""

    def __init__(
        self,
        spiffe_id: str,
        dns_names: tuple[str, ...],
        *,
        ca: CertificateAuthority,
        anchors: Callable[[], Anchors],
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._spiffe_id = spiffe_id
        self._dns_names = dns_names
        self._ca = ca
        self._anchors = anchors
        self._audit = audit
        self._clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._issued: Issued | None = None
        self._half = 0.0
        self._sequence = -1
        self._tls: ListenerTls | None = None

    @property
    def expires_at(self) -> float:
        """Seconds since the epoch; 0 before `start`."""
        return 0.0 if self._issued is None else self._issued.expires_at

    async def start(self) -> ListenerTls:
        """Raises ExtauthzError."""
        issued = await self._issue()
        anchors = self._anchors()
        tls = await asyncio.to_thread(ListenerTls, issued.chain.encode(), self._key, anchors.authorities)
        self._tls, self._sequence = tls, anchors.sequence
        return tls

    async def follow(self) -> None:
        while True:
            try:
                await self._ca.wait(self._sequence, min(LOOK, max(0.0, self._half - self._clock.now())))
                await self.refresh()
            except ExtauthzError as error:
                log.error("the listener's certificate is kept as it was: %s", error)  # noqa: TRY400 - the text says all
                await asyncio.sleep(AGAIN)

    async def refresh(self) -> None:
        """One look: what is due is done."""
        anchors, tls = self._anchors(), self._tls
        if tls is None or (anchors.sequence == self._sequence and not self._due()):
            return
        if self._due() or not self._trusted(anchors):
            await self._issue()
        if self._issued is not None:
            await asyncio.to_thread(tls.renew, self._issued.chain.encode(), self._key, anchors.authorities)
            self._sequence = anchors.sequence

    def _due(self) -> bool:
        return self._clock.now() >= self._half

    def _trusted(self, anchors: Anchors) -> bool:
        return self._issued is not None and anchors.trust(self._issued.certificate, self._clock.now())

    async def _issue(self) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        pem = csr.public_bytes(Encoding.PEM).decode()
        issued = await self._ca.x509(pem, Spec(self._spiffe_id, self._dns_names))
        if isinstance(issued, Deny):
            raise CaFault(f"the authority's own certificate was refused: {issued.code}")
        facts = {
            "spiffe_id": self._spiffe_id,
            "certificate": issued.x5t,
            "serial": issued.serial,
            "authority": issued.authority,
            "expires_at": int(issued.expires_at),
        }
        await self._audit.write("identity.issued", {**facts, "kind": "own_certificate"})
        now = self._clock.now()  # not the certificate's own start, which lies before it was made
        self._issued, self._key, self._half = issued, key, (now + issued.expires_at) / 2
        return issued
