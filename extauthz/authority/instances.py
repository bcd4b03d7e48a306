"""Which certificates one instance of a workload has held: so that an agent that starts again keeps its tokens usable.

A key dies with the agent that made it, so its successor attests anew. Where the platform proves that it is the very
instance that attested before (`Attested.instance`), the new certificate names as its predecessors those that this
instance holds: tokens that are bound to them serve on (`keys.successor`).

1. An instance counts together with its attestor and with the SPIFFE ID that it was given: another pod, another entry,
   another attestor are another instance. No instance: no proof, and no predecessors.
2. What is named has not ended, and was replaced (if it was) within the longest token's life; the newest eight.
3. When one that it has held has been revoked, none is named: whatever that one renewed may be the thief's.
4. A renewal names what it descends from and nothing else. It is recorded here, too; so who renews with a stolen key
   never gets the name of a certificate that the instance itself got since.
5. What is issued is recorded before it leaves.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from extauthz.keys.successor import MAX_PREDECESSORS
from extauthz.store.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Collection

    from extauthz.attestation.attestor import Attested
    from extauthz.authority.revocations import RevocationBook
    from extauthz.clock import Clock
    from extauthz.store.store import Store

_TABLE: Final = "instances"
_OWNERS: Final = "instance-certificates"
_ATTEMPTS: Final = 16


class _Held(BaseModel):
    """A certificate by its `x5t#S256`. `until`: when it is not named any more, seconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    x5t: str
    until: float


_RECORD: Final = TypeAdapter(list[_Held])


class Instances:
    """`longest`: seconds, the longest token's life. Everything raises StoreError when the store does not answer."""

    def __init__(self, store: Store, revocations: RevocationBook, clock: Clock, longest: float) -> None:
        self._store = store
        self._revocations = revocations
        self._clock = clock
        self._longest = longest

    async def held(self, instance: str) -> tuple[str, ...]:
        """Steps 2 and 3: what a new certificate of this instance (`name`) may name, newest first."""
        if not instance:
            return ()
        record, now = _read(await self._store.get(_TABLE, instance)), self._clock.now()
        if await self._revocations.workload_revoked("", "", [one.x5t for one in record]):
            return ()
        return tuple(one.x5t for one in record if one.until > now)

    async def of(self, x5t: str) -> str:
        """The instance that a certificate was issued to; empty when none was proven."""
        owner = await self._store.get(_OWNERS, x5t)
        return "" if owner is None else owner.decode("ascii", "replace")

    async def record(self, instance: str, x5t: str, ends: float, replaced: Collection[str]) -> None:
        """Step 5. `ends`: when the new certificate does; `replaced`: those that it takes the place of."""
        if not instance:
            return
        await self._store.put(_OWNERS, x5t, instance.encode(), expires=ends)
        for _ in range(_ATTEMPTS):
            before = await self._store.get(_TABLE, instance)
            now = self._clock.now()
            kept = [
                _Held(x5t=one.x5t, until=min(one.until, now + self._longest) if one.x5t in replaced else one.until)
                for one in _read(before)
                if one.x5t != x5t
            ]
            record = [_Held(x5t=x5t, until=ends), *kept][:MAX_PREDECESSORS]
            last = max(one.until for one in record)
            if await self._store.swap(_TABLE, instance, before, _RECORD.dump_json(record), expires=last):
                return
        raise StoreError("the certificates of an instance could not be recorded: it keeps getting new ones")


def name(attested: Attested, spiffe_id: str) -> str:
    """Step 1: an instance under this attestor and SPIFFE ID, in hex; empty where the platform proves none."""
    if not attested.instance:
        return ""
    return hashlib.sha256(json.dumps([attested.attestor, attested.instance, spiffe_id]).encode()).hexdigest()


def digests(thumbprints: Collection[str]) -> tuple[bytes, ...]:
    """As `keys.successor` writes them."""
    return tuple(base64.urlsafe_b64decode(one + "=") for one in thumbprints)


def _read(value: bytes | None) -> list[_Held]:
    """Raises StoreError."""
    if value is None:
        return []
    try:
        return _RECORD.validate_json(value)
    except ValidationError:
        raise StoreError("what the store holds as an instance's certificates cannot be read") from None
