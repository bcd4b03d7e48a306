"""Security events that others push (RFC 8935): a session ended, a credential changed, an account closed.

Each means the same here: no token that the subject was given up to now works any more, nor what was exchanged from it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from extauthz.authn.claims import MAX_SECONDS
from extauthz.model import Deny
from extauthz.sts.signed import Signatures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extauthz.clock import Clock
    from extauthz.store.store import Store
    from extauthz.sts.interfaces import Audit, Revocations
    from extauthz.sts.settings import StsSettings, TransmitterSettings
    from extauthz.sts.signed import Keys, Proven

CONTENT_TYPE: Final = "application/secevent+jwt"
TABLE: Final = "security-events"
MAX_EVENTS: Final = 8
MAX_TEXT: Final = 512
PROPAGATION: Final = 2.0
"""Seconds within which a replica may still exchange an old token; what it issues then is revoked as well."""
_CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
_RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"
_ENDS: Final[dict[str, Callable[[Mapping[str, Any]], bool]]] = {
    f"{_CAEP}session-revoked": lambda _: True,
    f"{_CAEP}token-claims-change": lambda _: True,
    f"{_CAEP}credential-change": lambda event: event.get("change_type") != "create",
    f"{_CAEP}assurance-level-change": lambda event: event.get("change_direction") != "increase",
    f"{_RISC}sessions-revoked": lambda _: True,
    f"{_RISC}account-disabled": lambda _: True,
    f"{_RISC}account-purged": lambda _: True,
    f"{_RISC}account-credential-change-required": lambda _: True,
    f"{_RISC}credential-compromise": lambda _: True,
}
"""Events that end what a subject was given. Every other one is taken note of (`event.ignored`)."""


@dataclass(frozen=True, slots=True)
class EventRefused:
    """RFC 8935 section 2.3; `error` is one of section 2.4's."""

    error: Literal["invalid_request", "invalid_key", "invalid_issuer", "invalid_audience", "access_denied"]
    description: str

    def body(self) -> dict[str, str]:
        return {"err": self.error, "description": self.description}


_ERRORS: Final[dict[str, Literal["invalid_issuer", "invalid_key"]]] = {
    "token.issuer": "invalid_issuer",
    "token.signature": "invalid_key",
    "token.key_unknown": "invalid_key",
    "token.key_refused": "invalid_key",
    "token.algorithm": "invalid_key",
}


class Events:
    """`keys` gives a transmitter's keys by its name."""

    def __init__(
        self,
        settings: StsSettings,
        store: Store,
        revocations: Revocations,
        audit: Audit,
        clock: Clock,
        keys: Callable[[str], Keys],
    ) -> None:
        self._issuer = settings.issuer
        self._longest = settings.longest
        self._transmitters = {entry.issuer: entry for entry in settings.transmitters}
        self._signatures = Signatures((entry, keys(entry.name)) for entry in settings.transmitters)
        self._store = store
        self._revocations = revocations
        self._audit = audit
        self._clock = clock

    async def receive(self, token: str) -> EventRefused | None:
        """None: taken (202), also when it had been before. Raises ExtauthzError: then it is to be sent again.

        1. a signed token of type secevent+jwt, by a configured transmitter
        2. it is for us, has an id, and is neither too old nor from the future
        3. its events are well formed, and about subjects that the transmitter may speak for
        4. an event that was taken before is not acted on again
        5. the subjects' tokens are revoked, then the event's id is remembered: a crash in between repeats, never loses
        6. the record
        """
        proven = await self._signatures.prove(token)  # 1
        if isinstance(proven, Deny):
            return EventRefused(_ERRORS.get(proven.code, "invalid_request"), proven.message)
        transmitter = self._transmitters[proven.issuer.issuer]
        refused = self._envelope(proven, transmitter)  # 2
        if refused is not None:
            return refused
        subjects = _subjects(proven.claims, transmitter)  # 3
        if subjects is None:
            return EventRefused("invalid_request", "the events or their subjects are malformed or not this issuer's")
        key = hashlib.sha256(f"{transmitter.issuer}\0{proven.claims['jti']}".encode()).hexdigest()
        if await self._store.get(TABLE, key) is not None:  # 4
            return None
        now = self._clock.now()
        for subject in sorted(subjects):  # 5
            await self._revocations.revoke(
                "subject",
                subject,
                until=now + self._longest,
                before=now + PROPAGATION,
                reason=f"security event of {transmitter.name}",
            )
        await self._store.put(TABLE, key, b"1", expires=now + transmitter.max_age + 2 * transmitter.leeway)  # 5
        facts = {
            "transmitter": transmitter.name,
            "jti": proven.claims["jti"],
            "events": sorted(proven.claims["events"]),
        }
        event = "revocation.added" if subjects else "event.ignored"
        await self._audit.write(event, {**facts, "subjects": sorted(subjects)})  # 6
        return None

    def _envelope(self, proven: Proven, transmitter: TransmitterSettings) -> EventRefused | None:
        """RFC 8417 section 2.2. There is no `exp` in an event: its age is bounded by `iat`."""
        claims, now = proven.claims, self._clock.now()
        audience = claims.get("aud")
        if self._issuer not in (audience if isinstance(audience, list) else [audience]):
            return EventRefused("invalid_audience", "the event is not for this server")
        issued_at = claims.get("iat")
        if not _is_text(claims.get("jti")) or type(issued_at) is not int or not 0 <= issued_at < MAX_SECONDS:
            return EventRefused("invalid_request", "jti or iat is missing or malformed")
        if not -transmitter.leeway <= now - issued_at <= transmitter.max_age:
            return EventRefused("invalid_request", "the event is too old, or from the future")
        return None


def _subjects(claims: Mapping[str, Any], transmitter: TransmitterSettings) -> frozenset[str] | None:
    """Whose tokens end; empty when no event is one that ends any. None: refused."""
    events = claims.get("events")
    if not isinstance(events, dict) or not 0 < len(events) <= MAX_EVENTS:
        return None
    found = set()
    for kind, event in events.items():
        if not isinstance(event, dict):
            return None
        ends = _ENDS.get(kind)
        if ends is None or not ends(event):
            continue
        # Since the final SSF the subject stands beside the events; before, in each of them.
        subject = _subject(claims.get("sub_id", event.get("subject")), transmitter)
        if subject is None:
            return None
        found.add(subject)
    return frozenset(found)


def _subject(identifier: Any, transmitter: TransmitterSettings) -> str | None:
    """RFC 9493: `iss_sub` of an issuer that the transmitter speaks for, `opaque`, or a complex one's `user`."""
    if not isinstance(identifier, dict):
        return None
    kind = identifier.get("format", identifier.get("subject_type"))
    if kind == "complex" or (kind is None and "user" in identifier):
        user = identifier.get("user")
        return None if not isinstance(user, dict) or user.get("format") == "complex" else _subject(user, transmitter)
    if kind == "iss_sub" and identifier.get("iss") in (transmitter.issuer, *transmitter.subjects_of):
        named = identifier.get("sub")
    elif kind == "opaque":
        named = identifier.get("id")
    else:
        return None
    return named if _is_text(named) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()
