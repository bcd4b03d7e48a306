"""Who deals with the token service, and what it needs of others: small interfaces, met by the authority.

`permission.EnginePolicy` is the `Policy` over any engine; the others are the authority's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extauthz.policy.engine import Evaluation
    from extauthz.store.revocations import Kind


@dataclass(frozen=True, slots=True)
class Client:
    """A workload that proved itself by its SVID (mTLS), with what its registration entry says."""

    spiffe_id: str
    certificate_sha256: str
    """`x5t#S256` of the certificate that it showed; what it is given is bound to this."""
    audiences: frozenset[str] = frozenset()
    """Names under which it is called: tokens for one of them may be exchanged and introspected by it. Its own
    SPIFFE ID always is one."""
    exchange_to: frozenset[str] = frozenset()
    """Audiences that it may ask tokens for."""
    tenant: str = ""
    """Only subjects of this tenant; empty: of every one."""
    environment: str = ""
    scopes: frozenset[str] = frozenset()
    """Scopes that its own token (client_credentials) may have."""
    purposes: frozenset[str] = frozenset()
    """Purposes that its own token may be for."""

    @property
    def names(self) -> frozenset[str]:
        return self.audiences | {self.spiffe_id}


class Audit(Protocol):
    """No record, no credential."""

    async def write(self, event: str, fields: Mapping[str, Any]) -> None:
        """Keep one event (`token.exchanged`; JSON values only). Raises ExtauthzError when it is not kept for sure."""


class Policy(Protocol):
    async def ask(self, question: Mapping[str, Any]) -> Evaluation:
        """`question` is a policy input in AuthZEN words. Raises EngineFault."""


class Revocations(Protocol):
    """Raises StoreError when it cannot be asked: unknown is not "not revoked"."""

    async def revoke(self, kind: Kind, value: str, *, until: float, before: float | None = None, reason: str) -> int:
        """The entry's sequence number (`store.revocations.RevocationLog.revoke`)."""

    async def revoked(
        self, *, digest: str, jti: str, sub: str, kid: str, issued_at: float, ancestors: Sequence[str]
    ) -> bool:
        """Whether this token, its subject, its key, or a token that it was derived from has been revoked."""

    async def workload_revoked(self, spiffe_id: str, certificate_sha256: str = "") -> bool:
        """Whether this workload, or the certificate that it shows, has been revoked."""
