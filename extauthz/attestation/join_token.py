"""Join tokens: a secret that an operator hands to one workload, good for one attestation of one registration entry.

    xjt_<43 characters of base64url>, 256 random bits

1. the form is exactly this one
2. it is looked up by its SHA-256, and taken away in the same step: of two that show it, one wins
3. its time has not passed; the store forgets it at that time, and this is asked again
"""

from __future__ import annotations

import hashlib
import json
import re
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

from extauthz.attestation.attestor import Attested
from extauthz.attestation.refusal import Refused
from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.attestation.settings import JoinTokenSettings
    from extauthz.clock import Clock
    from extauthz.store.store import Store

TABLE: Final = "join-tokens"
_PREFIX: Final = "xjt_"
_BYTES: Final = 32
_FORM: Final = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}")


class JoinTokenAttestor:
    kind: Final = "join_token"

    def __init__(
        self,
        settings: JoinTokenSettings,
        store: Store,
        clock: Clock,
        random: Callable[[int], str] = token_urlsafe,
    ) -> None:
        self.name = settings.name
        self.max_ttl = settings.max_ttl
        self._store = store
        self._clock = clock
        self._random = random

    async def issue(self, entry: str, ttl: float, instance: str = "") -> str:
        """A new token for the registration entry of this name; `ttl` in seconds, cut to the settings' longest.

        `instance`: the operator's word for the one place where the workload runs; empty: no word is given.

        The token is returned and nowhere kept. The caller has checked that the entry is there. Raises StoreError.
        """
        token = _PREFIX + self._random(_BYTES)
        expires = self._clock.now() + min(ttl, self.max_ttl)
        value = json.dumps(
            {"attestor": self.name, "entry": entry, "expires_at": expires, "instance": instance}
        ).encode()
        if not await self._store.add(TABLE, _digest(token), value, expires=expires):
            raise StoreError("a new join token is in the store already")
        return token

    async def attest(self, evidence: str) -> Attested | Refused:
        if not _FORM.fullmatch(evidence):  # 1
            return Refused("attestation.malformed", "not a join token")
        digest = _digest(evidence)
        value = await self._store.take(TABLE, digest)  # 2
        if value is None:
            return Refused("attestation.join_token", f"unknown, used or expired: {digest[:16]}")
        entry, expires, instance = _read(value, self.name)
        if self._clock.now() >= expires:  # 3
            return Refused("attestation.join_token", f"expired: {digest[:16]}")
        return Attested(self.name, frozenset({f"join:{entry}"}), digest, expires, instance)

    def start(self) -> None:
        """Nothing runs in the background."""

    async def close(self) -> None:
        """Nothing is held."""


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _read(value: bytes, name: str) -> tuple[str, float, str]:
    """(entry, expires, instance). Another attestor's token is refused as a whole: names are never mixed up quietly."""
    try:
        held = json.loads(value)
        entry, expires, attestor = str(held["entry"]), float(held["expires_at"]), held["attestor"]
        instance = str(held.get("instance", ""))
    except (ValueError, KeyError, TypeError):
        raise StoreError("what the store holds as a join token cannot be read") from None
    if attestor != name:
        raise StoreError(f"the join token was issued for the attestor {attestor}")
    return entry, expires, instance
