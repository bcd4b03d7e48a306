"""The operator's verbs, over a Unix socket: whoever may open the socket (mode 0600) is the operator.

| verb | body → answer |
| --- | --- |
| GET `/status` | what is in force, and for how long |
| GET `/entries` | the registration entries |
| GET `/trust` | `{"pem"}`: the certificate authorities of the trust domain, for agents to start with |
| POST `/rotate` | `{"what": "ca"|"signing", "compromised": bool}` → what was begun |
| POST `/join-token` | `{"entry", "ttl": seconds, "instance"?}` → `{"token", "expires_at"}`, shown once, nowhere kept |
| POST `/revoke` | `{"kind", "value", "reason"}` → what was written into the log |

An order is recorded before it is carried out. A refusal is `{"error", "message", "remedy"}`, as over TLS.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.attestation.settings import JoinTokenSettings
from extauthz.authority.refusal import Refusal, refusal
from extauthz.ca.state import SETS
from extauthz.ca.trust import read
from extauthz.store.revocations import BadRevocation, Revocation

if TYPE_CHECKING:
    from extauthz.attestation.entries import Entries
    from extauthz.attestation.registry import Attestors
    from extauthz.authority.audit import Audit
    from extauthz.authority.revocations import RevocationBook
    from extauthz.authority.settings import AuthoritySettings
    from extauthz.ca.certificate_authority import CertificateAuthority
    from extauthz.ca.state import SetName
    from extauthz.clock import Clock
    from extauthz.store.revocations import Kind

WHAT: Final[dict[str, SetName]] = {"ca": "x509", "signing": "jwt"}
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_INSTANCE: Final = re.compile(r"[A-Za-z0-9._:/-]{0,128}")
_SKEW: Final = 600.0
"""Seconds for which a revocation outlives what it revokes."""
_ORDER: Final = {"by": "operator"}


@dataclass(frozen=True, slots=True)
class Named:
    """What the log is told of a thing that is to be revoked."""

    kind: str
    value: str


class Operator:
    """Everything raises ExtauthzError when it cannot be recorded or done."""

    def __init__(
        self,
        settings: AuthoritySettings,
        *,
        ca: CertificateAuthority,
        attestors: Attestors,
        entries: Entries,
        revocations: RevocationBook,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._ca = ca
        self._attestors = attestors
        self._entries = entries
        self._revocations = revocations
        self._audit = audit
        self._clock = clock

    async def status(self) -> dict[str, Any]:
        """Times in seconds since the epoch; no secret, not even a sealed one."""
        state = self._ca.state()
        connected = await self._ca.agents.connected()
        page = await self._revocations.page(0, 0)
        return {
            "trust_domain": self._settings.trust_domain,
            "now": self._clock.now(),
            "trust_sequence": state.sequence,
            "keys": {
                word: [slot.model_dump(exclude={"kept", "public"}, mode="json") for slot in state.slots(name)]
                for word, name in WHAT.items()
            },
            "agents": {
                "connected": len(connected),
                "behind": sorted(name for name, seen in connected.items() if seen < state.sequence)[:100],
            },
            "revocations": {"sequence": page.sequence, "in_force": len(page.entries)},
            "entries": sum(1 for _ in self._entries),
        }

    def entries(self) -> list[dict[str, Any]]:
        return [entry.model_dump(mode="json") for entry in self._entries]

    def trust(self) -> dict[str, Any]:
        """What a new agent is given, so that it knows the authority."""
        authorities = read(self._ca.trust().trust_domains[self._settings.trust_domain]).authorities
        return {"pem": b"".join(one.public_bytes(Encoding.PEM) for one in authorities).decode()}

    async def rotate(self, what: str, *, compromised: bool) -> dict[str, Any] | Refusal:
        """1. recorded; 2. begun, or (compromised) done at once; 3. every key that is distrusted is revoked."""
        name = WHAT.get(what)
        if name is None:
            return refusal("authority.malformed", "what")
        order = {**_ORDER, "what": what, "compromised": compromised}
        await self._audit.write("rotation.ordered", order)  # 1
        rotated = await self._ca.rotate(name, compromised=compromised)  # 2
        for kid in rotated.revoked:  # 3
            await self._revoke(Named("key", kid), "compromised", self._clock.now() + self._longest())
        return {"what": what, "next": rotated.next, "revoked": list(rotated.revoked), "sequence": rotated.sequence}

    async def join_token(self, entry: str, ttl: float, instance: str = "") -> dict[str, Any] | Refusal:
        """1. the entry is there, and an attestor that it names gives out join tokens; 2. recorded; 3. made.

        `instance`: where the workload runs, in the operator's words; a token for the same one continues it.
        """
        if not _INSTANCE.fullmatch(instance):
            return refusal("authority.malformed", "instance")
        found = self._entries.named(entry)
        named = (
            {}
            if found is None
            else {
                one.name: one
                for one in self._settings.attestation.attestors
                if isinstance(one, JoinTokenSettings) and one.name in found.attestors
            }
        )
        if not named:  # 1
            return refusal("authority.unknown_entry", entry)
        attestor = next(iter(named.values()))
        life = min(ttl, attestor.max_ttl)
        expires = self._clock.now() + life
        facts = {**_ORDER, "entry": entry, "attestor": attestor.name, "instance": instance, "expires_at": expires}
        await self._audit.write("join_token.issued", facts)  # 2
        issue = self._attestors.issue_join_token
        token = await issue(entry, life, attestor=attestor.name, instance=instance)  # 3
        return {"token": token, "expires_at": expires}

    async def revoke(self, kind: str, value: str, reason: str) -> dict[str, Any] | Refusal:
        """Revokes a token (itself, or its SHA-256 in hex), a token id, a subject's tokens up to now, a workload (SPIFFE
        ID or `x5t#S256`), or a signing key.

        A key of ours is distrusted at once, as by `rotate --compromised`.
        """
        things = _things(value) if kind == "token" else [Named(kind, value)]
        try:
            for thing in things:
                Revocation(cast("Kind", thing.kind), thing.value, 0.0, reason=reason)
        except BadRevocation as error:
            return refusal("authority.malformed", str(error))
        if kind == "key" and (name := self._set_of(value)) is not None:
            await self._audit.write("rotation.ordered", {**_ORDER, "what": name, "kid": value, "compromised": True})
            await self._ca.distrust(name, value)
        now = self._clock.now()
        kept = self._settings.revocations_kept if kind == "workload" else self._longest()
        written = [await self._revoke(thing, reason, now + kept) for thing in things]
        return {"revoked": written}

    async def _revoke(self, thing: Named, reason: str, until: float) -> dict[str, Any]:
        now = self._clock.now()
        before = now if thing.kind == "subject" else None
        facts = {"kind": thing.kind, "value": thing.value, "before": before, "until": until, "reason": reason}
        await self._audit.write("revocation.added", {**_ORDER, **facts})
        sequence = await self._revocations.revoke(thing.kind, thing.value, until=until, before=before, reason=reason)
        return {**facts, "sequence": sequence}

    def _set_of(self, kid: str) -> SetName | None:
        state = self._ca.state()
        return next((name for name in SETS if any(slot.kid == kid for slot in state.slots(name))), None)

    def _longest(self) -> float:
        """Seconds after which whatever was signed before now is dead."""
        settings = self._settings
        return max(settings.sts.longest, settings.signing.longest_token, settings.ca.max_svid_ttl) + _SKEW


def _things(value: str) -> list[Named]:
    """What names a token: its digest, and its id, which its descendants name as their ancestor.

    The id is read without a proof of the signature: at worst the operator revokes a token that is not there.
    """
    if _DIGEST.fullmatch(value):
        return [Named("token", value)]
    things = [Named("token", hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest())]
    try:
        payload = value.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        jti = claims["jti"]
    except (IndexError, KeyError, TypeError, ValueError):
        return things
    return [*things, Named("jti", jti)] if isinstance(jti, str) and jti else things
