"""One SDS stream, without the I/O: what was asked, what was sent, what has been accepted.

Laws (Envoy's xDS protocol, CONTRACTS 5):
- A name is answered as soon as it is asked for, then only when its content has changed.
- A name without a secret gets no answer and a line in the log; it is answered once there is one.
- A nonce counts within its stream. What answers an older nonce accepts nothing; in the state-of-the-world variant it
  says nothing about names either, because it was written before the newer answer was read.
- `error_detail` refuses, its absence accepts; versions prove neither. What was refused is not sent again unchanged.
- Nothing is ever removed: Envoy ignores that. Trust ends with changed content.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from extauthz.sds.wire import MAX_NAME, too_much

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.sds.secrets import Resource, Secrets
    from extauthz.sds.wire import Asked

log = logging.getLogger(__name__)

MAX_NAMES: Final = 64
"""Names that one stream may subscribe to; Envoy opens a stream for each secret of each listener or cluster."""


class Variant(Protocol):
    """How requests and responses are written: `wire.StateOfTheWorld` or `wire.Delta`."""

    def parse(self, message: bytes) -> Asked: ...

    def render(self, resources: Sequence[Resource], nonce: str) -> bytes: ...


class Session:
    """`in_force` is the trust sequence that the peer has accepted last; None: no trust of ours yet."""

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self._names: dict[str, None] = {}
        self._sent: dict[str, str] = {}
        self._unknown: set[str] = set()
        self._nonce = 0
        self._pending: int | None = None
        self._trust: set[str] = set()
        self.node = ""
        self.in_force: int | None = None
        self.accepted = 0
        self.refused = 0
        self.rejecting = False
        """Whether the peer refused what it was sent last."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)

    def receive(self, message: bytes) -> None:
        """One request. Raises StreamRefused when the stream must end."""
        asked = self._variant.parse(message)
        self.node = self.node or asked.node
        stale = bool(asked.nonce) and asked.nonce != str(self._nonce)
        if not stale or not asked.replaces:
            self._subscribe(asked)
        if asked.nonce and not stale:
            self._answered(asked)

    def due(self, secrets: Secrets | None) -> bytes | None:
        """The response that is to be sent now; None: the peer has everything."""
        if secrets is None:
            return None
        found = {name: self._look_up(name, secrets) for name in self._names}
        changed = [one for one in found.values() if one is not None and self._sent.get(one.name) != one.version]
        self._trust = {name for name, one in found.items() if one is not None and one.is_trust}
        if not changed:
            if self._pending is None and not self.rejecting and self._trust:
                self.in_force = secrets.sequence
            return None
        self._nonce += 1
        self._pending = secrets.sequence
        self._sent |= {one.name: one.version for one in changed}
        return self._variant.render(changed, str(self._nonce))

    def _subscribe(self, asked: Asked) -> None:
        names = dict.fromkeys(asked.subscribe)
        if any(len(name) > MAX_NAME for name in names):
            raise too_much("a resource name is too long")
        if asked.replaces:
            gone = self._names.keys() - names.keys()
            self._names = names
        else:
            gone = set(asked.unsubscribe)
            self._names = {name: None for name in (self._names | names) if name not in gone}
            # Asked for again means: send it again, unless the peer says which version it holds.
            gone |= names.keys()
        if len(self._names) > MAX_NAMES:
            raise too_much(f"more than {MAX_NAMES} names on one stream")
        for name in gone:
            self._sent.pop(name, None)
        self._unknown &= self._names.keys()
        self._sent |= {name: version for name, version in asked.holds.items() if name in self._names}

    def _answered(self, asked: Asked) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        self.rejecting = asked.error is not None
        if asked.error is not None:
            self.refused += 1
            log.error("Envoy %s refuses %s: %s", self.node, ", ".join(self._names), asked.error)
            return
        self.accepted += 1
        if self._trust:
            self.in_force = pending

    def _look_up(self, name: str, secrets: Secrets) -> Resource | None:
        found = secrets.get(name)
        if found is None and name not in self._unknown:
            self._unknown.add(name)
            log.warning("Envoy %s asks for a secret that does not exist: %r", self.node, name[:128])
        return found
