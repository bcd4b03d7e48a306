"""What every replica of the authority agrees on: the slots of each key set and the foreign anchors, in one document.

One document for both sets, so that the trust sequence counts one history: two replicas that name the same sequence
mean the same bundle. It is replaced whole, by `Store.swap`; nothing but `Rotation` reads or writes it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from extauthz.ca.fault import CaFault
from extauthz.keys.signer import KeyAlgorithm  # noqa: TC001 - pydantic reads it at run time

SetName = Literal["x509", "jwt"]
SETS: Final[tuple[SetName, ...]] = ("x509", "jwt")
MAX_STATE: Final = 768 * 1024
"""Bytes; a Store takes 1 MiB."""


class Phase(StrEnum):
    """In the order in which a slot goes through them; what comes after `retired` is gone."""

    PREPARED = "prepared"
    """The key exists."""
    PUBLISHED = "published"
    """Readers are told to trust it; it signs nothing yet."""
    ACTIVE = "active"
    """It signs. Each set has exactly one."""
    RETIRED = "retired"
    """What it signed is still trusted; its private key is gone."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Slot(_Frozen):
    """One key and its place in the cycle. Times are seconds since the epoch, 0 where it has not happened yet."""

    kid: str
    algorithm: KeyAlgorithm
    phase: Phase
    kept: str
    """What the key provider keeps, base64; empty once the slot is retired."""
    public: str
    """x509: the CA certificate (PEM); jwt: the public JWK (JSON)."""
    prepared_at: float
    expires_at: float
    """End of the CA certificate; 0: never."""
    longest: float
    """Seconds: nothing that this slot signs lives longer."""
    published_at: float = 0
    published_in: int = 0
    """The first trust sequence that carries it."""
    activated_at: float = 0
    retired_at: float = 0


class State(_Frozen):
    """`sequence` grows whenever what readers must trust changes."""

    version: Literal[1] = 1
    sequence: int = 0
    x509: tuple[Slot, ...] = ()
    jwt: tuple[Slot, ...] = ()
    anchors: str = ""
    """Fallback anchors of the own trust domain, PEM."""
    federated: dict[str, str] = {}
    """Other trust domains' bundle documents (JSON), as they were read."""

    def slots(self, name: SetName) -> tuple[Slot, ...]:
        return self.x509 if name == "x509" else self.jwt

    @property
    def trusted(self) -> tuple[object, ...]:
        """Everything that readers see; when it changes, `sequence` must."""
        visible = [[slot.kid for slot in self.slots(name) if slot.phase is not Phase.PREPARED] for name in SETS]
        return (visible, self.anchors, self.federated)


def dump(state: State) -> bytes:
    """Raises CaFault when it has grown beyond what a store takes."""
    document = state.model_dump_json().encode()
    if len(document) > MAX_STATE:
        raise CaFault("anchors and federated bundles are too large together")
    return document


def load(document: bytes) -> State:
    """Raises CaFault."""
    try:
        return State.model_validate_json(document)
    except ValidationError:
        raise CaFault("the key state in the store cannot be read") from None
