"""Evidence that has been used: a place in the store for each, kept until the evidence is worth nothing anyway.

`add` is atomic over all replicas: of two that show the same evidence, one wins. When the store does not answer,
StoreError goes up and nothing is issued.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.attestation.refusal import Refused

if TYPE_CHECKING:
    from extauthz.store.store import Store

TABLE: Final = "used-evidence"
_MARGIN: Final = 300.0
"""Seconds that a place outlives its evidence, so that clocks that differ open no gap."""


async def use(store: Store, evidence_id: str, expires_at: float, attestor: str) -> Refused | None:
    """None the first time. `expires_at`: when the evidence expires, its leeway included. Raises StoreError."""
    if await store.add(TABLE, evidence_id, attestor.encode(), expires=expires_at + _MARGIN):
        return None
    return Refused("attestation.replayed", f"evidence {evidence_id[:16]}")
