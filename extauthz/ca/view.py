"""A state of the keys, ready for use: private keys opened, certificates parsed, documents built. One object a state."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from cryptography import x509

from extauthz.ca import phases, trust
from extauthz.ca.fault import CaFault
from extauthz.ca.state import SETS, Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.ca.state import SetName, Slot, State
    from extauthz.keys.provider import KeyProvider
    from extauthz.keys.signer import SigningKey


@dataclass(frozen=True, slots=True)
class Active:
    """The slot that signs, with its key."""

    slot: Slot
    key: SigningKey


@dataclass(frozen=True, slots=True)
class View:
    state: State
    active: Mapping[SetName, Active]
    """Without the sets whose key this process does not have."""
    issuer: x509.Certificate
    """The active CA's certificate."""
    authorities: tuple[x509.Certificate, ...]
    """Our own published CAs, without foreign anchors."""
    trust: trust.Trust
    jwks: Mapping[str, Any]


class Opener:
    """Opens the keys of a state, each once. Its methods may block: call them in a thread, one at a time."""

    def __init__(self, keys: KeyProvider, trust_domain: str, refresh_hint: float) -> None:
        self._keys = keys
        self._trust_domain = trust_domain
        self._refresh_hint = int(refresh_hint)
        self._opened: dict[str, SigningKey] = {}

    def purpose(self, name: SetName) -> str:
        """What a sealed key is for; it opens for nothing else."""
        return f"{name}:{self._trust_domain}"

    def holds(self, name: SetName, slot: Slot) -> bool:
        """Whether this process can sign with a slot. Raises KeyFault when the key is there but does not open."""
        return self._open(name, slot) is not None

    def view(self, state: State) -> View:
        """Raises KeyFault or CaFault."""
        active: dict[SetName, Active] = {}
        needed: set[str] = set()
        for name in SETS:
            slot = phases.active(state.slots(name))
            if slot is None:
                raise CaFault(f"the key state has no active slot in {name}")
            needed.add(slot.kid)
            key = self._open(name, slot)
            if key is not None:
                active[name] = Active(slot, key)
        self._forget({slot.kid for name in SETS for slot in state.slots(name) if slot.phase is not Phase.RETIRED})
        published = phases.published(state.x509)
        own = tuple(x509.load_pem_x509_certificate(slot.public.encode()) for slot in published)
        jwks = [orjson.loads(slot.public) for slot in phases.published(state.jwt)]
        return View(
            state,
            active,
            next(ca for ca, slot in zip(own, published, strict=True) if slot.phase is Phase.ACTIVE),
            own,
            self._trust(state, own, jwks),
            {"keys": [{**jwk, "use": "sig"} for jwk in jwks]},
        )

    def _trust(self, state: State, own: tuple[x509.Certificate, ...], jwks: list[Mapping[str, Any]]) -> trust.Trust:
        fallback = x509.load_pem_x509_certificates(state.anchors.encode()) if state.anchors else []
        bundle = trust.Bundle(trust.union(own, fallback), tuple(jwks), state.sequence, self._refresh_hint)
        federated = {domain: orjson.loads(document) for domain, document in sorted(state.federated.items())}
        return trust.Trust(state.sequence, {**federated, self._trust_domain: trust.write(bundle)})

    def _open(self, name: SetName, slot: Slot) -> SigningKey | None:
        key = self._opened.get(slot.kid)
        if key is None:
            try:
                kept = base64.b64decode(slot.kept, validate=True)
            except binascii.Error:
                raise CaFault("a kept key is not base64") from None
            key = self._keys.open(kept, slot.kid, self.purpose(name))
            if key is not None:
                self._opened[slot.kid] = key
        return key

    def _forget(self, alive: set[str]) -> None:
        """A retired or distrusted key leaves this process's memory as well."""
        for kid in self._opened.keys() - alive:
            del self._opened[kid]
            self._keys.forget(kid)
