"""Credentials, good and bad, and the sorts of requests that are made with them."""

from __future__ import annotations

import json
import secrets
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from extauthz.clock import SystemClock
from extauthz.demo.tokens import Mint, new_key
from tests.faults.oracle import Kind
from tests.faults.setup import AUDIENCE, ISSUER, TENANT
from tests.faults.web import Said

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.faults.web import Asked


LIFETIME: Final = 3600.0
POOL: Final = 40
"""Tokens of each sort that take turns."""
IDENTITY: Final = frozenset(
    {"token.missing", "token.expired", "token.signature", "token.key_unknown", "token.inactive", "token.revoked"}
)
REFUSED: Final = frozenset({"role.denied", "attribute.tenant_mismatch", "attribute.account_closed"})


class People:
    """An issuer that the servers trust, a stranger who forges its tokens, and users."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.clock = clock
        self.mint = Mint(ISSUER, new_key(), clock, "faults-1")
        self.stranger = Mint(ISSUER, new_key(), clock, "faults-1")
        self.published = [self.mint]
        """Mints whose keys `/jwks` shows."""
        self.opaque = {"xat_" + secrets.token_hex(12): ["teller"], "xat_" + secrets.token_hex(12): []}
        self.gone = "xat_" + secrets.token_hex(12)
        """An opaque token that is not active any more."""

    def token(self, mint: Mint | None = None, *, roles: Iterable[str] = ("teller",), **claims: Any) -> str:
        body = {"sub": "alice", "aud": AUDIENCE, "tenant": TENANT, "roles": list(roles), **claims}
        return (mint or self.mint).sign(body, lifetime=LIFETIME)

    def issuer(self, asked: Asked) -> Said:
        """`/jwks` and `/introspect` (RFC 7662)."""
        if asked.path == "/jwks":
            return Said(body={"keys": [key for mint in self.published for key in mint.jwks()["keys"]]})
        form = dict(part.split("=", 1) for part in asked.body.decode().split("&") if "=" in part)
        token = form.get("token", "")
        if token not in self.opaque:
            return Said(body={"active": False})
        now = int(self.clock.now())
        told = {"active": True, "iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "exp": now + 300, "iat": now - 10}
        return Said(body={**told, "token_type": "Bearer", "tenant": TENANT, "roles": self.opaque[token]})

    def kinds(self, *routes: str) -> list[Kind]:
        """For each route: what must be allowed, what the policy refuses, and credentials that are none."""
        found = []
        for route in routes:
            found += self._session() if route == "session" else self._bearer(route)
        return found

    def _bearer(self, route: str) -> list[Kind]:
        good = cycle([self.token() for _ in range(POOL)])
        idle = cycle([self.token(roles=()) for _ in range(POOL // 4)])
        now = int(self.clock.now())
        expired = self.token(iat=now - 900, exp=now - 300)
        forged = cycle([self.token(self.stranger) for _ in range(POOL // 4)])
        passes = route in {"ping", "hint"}
        here, there = f"/{route}/{TENANT}", f"/{route}/globex"
        return [
            Kind(f"{route}", route, "allow", here, lambda: bearer(next(good))),
            Kind(
                f"{route} of another tenant",
                route,
                "policy",
                there,
                lambda: bearer(next(good)),
                REFUSED,
                may_pass=passes,
            ),
            Kind(
                f"{route} without a role", route, "policy", here, lambda: bearer(next(idle)), REFUSED, may_pass=passes
            ),
            Kind(f"{route} expired", route, "identity", here, lambda: bearer(expired), IDENTITY),
            Kind(f"{route} forged", route, "identity", here, lambda: bearer(next(forged)), IDENTITY),
            Kind(f"{route} without a token", route, "identity", here, dict, IDENTITY),
        ]

    def _session(self) -> list[Kind]:
        good, idle = self.opaque
        here = f"/session/{TENANT}"
        return [
            Kind("session", "session", "allow", here, lambda: bearer(good)),
            Kind("session without a role", "session", "policy", here, lambda: bearer(idle), REFUSED),
            Kind("session ended", "session", "identity", here, lambda: bearer(self.gone), IDENTITY),
        ]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def accounts(_: Asked) -> Said:
    """The attribute source."""
    return Said(body={"state": "open"})


def upstream(asked: Asked) -> Said:
    """Tells what it was told: the decision's id and the mode."""
    told = {
        "decision_id": asked.headers.get("x-extauthz-decision-id", ""),
        "mode": asked.headers.get("x-extauthz-mode", ""),
        "subject": asked.headers.get("x-extauthz-subject", ""),
    }
    return Said(body=json.dumps(told).encode(), headers={"x-faults-upstream": "1"})
