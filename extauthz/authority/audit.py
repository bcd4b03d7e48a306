"""The authority's part of the audit trail: issuances, refusals, exchanges, revocations and rotations.

No record, no credential: `write` returns once the operating system has the record, and whoever issues waits for that.
A directory that cannot be written and a full disk are one AuditError each, and the answer is 503.

Fields are identities, digests, counts and codes, never a token, a key or evidence. A record also has `workload`, by
which the whole trail is searched: whom an identity is for, or who asked for a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from extauthz.audit.fault import AuditError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.audit.trail import AuditTrail

__all__ = ["Audit", "AuditError", "ChainedAudit"]


class Audit(Protocol):
    """Where records go. Raises AuditError."""

    async def write(self, event: str, fields: Mapping[str, Any]) -> None:
        """`event` is one of the schema's words, `<noun>.<verb>`; `fields` are JSON values without secrets."""

    async def close(self) -> None: ...


class ChainedAudit:
    """Records in the audit trail."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def write(self, event: str, fields: Mapping[str, Any]) -> None:
        workload = fields.get("spiffe_id") or fields.get("client")
        await self._trail.write(event, {"workload": workload, **fields} if workload else fields)

    async def close(self) -> None:
        await self._trail.close()
