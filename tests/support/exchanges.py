"""An exchanger with everything around it, and a token service that answers what a test says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from extauthz.authn.revocation import Revocations
from extauthz.authn.settings import RevocationSettings
from extauthz.check.exchange import Exchanger, Wanted
from extauthz.check.exchange_settings import TokenServiceSettings
from extauthz.clock import ManualClock
from extauthz.model import Subject
from extauthz.sts.answers import ACCESS_TOKEN, TRANSACTION_TOKEN, Issued, Refused
from extauthz.tasks import Tasks
from tests.support.tokens import EPOCH, Issuer

if TYPE_CHECKING:
    from collections.abc import Callable

US = "spiffe://bank.example/env/prod/ns/edge/sa/gateway"
AUTHORITY = Issuer("https://authority.bank.example")
SUBJECT = Subject(
    "user",
    "alice",
    "jwt",
    scopes=frozenset({"transfers:read", "transfers:write"}),
    purpose="payment",
    token_id="t-1",
    expires_at=EPOCH + 300.0,
)
WANTED = Wanted("ledger")
TOKEN = "a.b.c"


def shown(x5t: str = "A" * 43) -> Any:
    """As `ServerIdentity.shown` gives it, as far as an exchange looks."""
    return SimpleNamespace(leaf=SimpleNamespace(x5t=x5t), svid=SimpleNamespace(spiffe_id=US), context=None)


@dataclass
class Service:
    """A `TokenService`: every call waits for `gate`, then answers `answer`, or an honest token changed by `changes`."""

    clock: ManualClock
    own: Callable[[], Any]
    life: int = 120
    answer: Issued | Refused | Exception | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, Wanted, float]] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def exchange(
        self, subject_token: str, wanted: Wanted, *, timeout: float, traceparent: str = ""
    ) -> Issued | Refused:
        self.calls.append((subject_token, wanted, timeout))
        self.traces.append(traceparent)
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or self.issued(wanted)

    def issued(self, wanted: Wanted) -> Issued:
        now = int(self.clock.now())
        own = self.own()
        claims = {
            "iss": AUTHORITY.issuer,
            "sub": "alice",
            "aud": wanted.audience,
            "iat": now,
            "exp": min(now + self.life, EPOCH + 300),
            "jti": f"x-{len(self.calls)}",
            "scope": " ".join(wanted.scopes) or "transfers:read",
            "client_id": US,
            "act": {"sub": US},
            "ancestors": ["t-1"],
            "cnf": {"x5t#S256": own.leaf.x5t},
            **({"purpose": wanted.purpose} if wanted.purpose else {}),
            **self.changes,
        }
        claims = {name: value for name, value in claims.items() if value is not ...}
        token = AUTHORITY.sign(claims=claims)
        plain = wanted.kind == "access_token"
        kind = ACCESS_TOKEN if plain else TRANSACTION_TOKEN
        return Issued(token, kind, "Bearer" if plain else "N_A", self.life, frozenset())


@dataclass
class Exchange:
    """`x5t` is what our certificate is now; empty: we have none."""

    exchanger: Exchanger
    service: Service
    clock: ManualClock
    revocations: Revocations
    tasks: Tasks
    identity: dict[str, Any]

    async def get(self, token: str = TOKEN, subject: Subject = SUBJECT, wanted: Wanted = WANTED) -> Any:
        """As the pipeline asks: what is known, else the service."""
        known = self.exchanger.cached(token, subject, wanted)
        if known is not None:
            return known
        return await self.exchanger.fetch(token, subject, wanted, self.clock.monotonic() + 0.5)

    def renew(self, x5t: str) -> None:
        self.identity["now"] = shown(x5t) if x5t else None


def exchange(**settings: Any) -> Exchange:
    clock = ManualClock()
    identity = {"now": shown()}
    tasks = Tasks()
    revocations = Revocations(RevocationSettings(), clock)
    service = Service(clock, lambda: identity["now"])
    exchanger = Exchanger(
        TokenServiceSettings.model_validate({"url": "https://authority.bank.example/token", **settings}),
        service,
        own=lambda: identity["now"],
        revocations=revocations,
        clock=clock,
        tasks=tasks,
    )
    return Exchange(exchanger, service, clock, revocations, tasks, identity)
