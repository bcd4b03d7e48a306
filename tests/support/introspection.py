"""An issuer that is asked about tokens, as a web server in this process; every answer can be spoilt."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import httpx

from extauthz.authn.bearer import BearerVerifier
from extauthz.authn.introspection import Introspector
from extauthz.authn.keys import KeyStore
from extauthz.authn.revocation import Revocations
from extauthz.authn.settings import IssuerSettings, RevocationSettings, TokenRule
from extauthz.authn.tokens import TokenVerifier
from extauthz.clock import ManualClock
from extauthz.outbound import Outbound
from extauthz.tasks import Tasks
from tests.support.tokens import AUDIENCE, EPOCH, ISSUER, JWKS_URL, Issuer, compact, issuer_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from extauthz.model import Workload

URL = ISSUER + "/introspect"
SECRET = "s3cret+with/signs=and space"


def rule(introspect: str, **changes: Any) -> TokenRule:
    return TokenRule.model_validate(
        {"issuers": ("main",), "audiences": (AUDIENCE,), "introspect": introspect, **changes}
    )


OPAQUE, ALWAYS = rule("opaque"), rule("always")
TOKEN = "opaque-token-0001"


def active(**changes: Any) -> dict[str, Any]:
    """A good answer about an opaque token; a change to `...` removes the member."""
    answer = {
        "active": True,
        "iss": ISSUER,
        "sub": "alice",
        "aud": AUDIENCE,
        "exp": EPOCH + 300,
        "iat": EPOCH - 10,
        "scope": "transfers:write transfers:read",
        "client_id": "app",
        "token_type": "Bearer",
        "tenant": "acme",
        **changes,
    }
    return {name: value for name, value in answer.items() if value is not ...}


def respond(value: Any, status: int = 200, kind: str = "application/json", **headers: str) -> httpx.Response:
    content = value if isinstance(value, bytes) else compact(value)
    return httpx.Response(status, content=content, headers={"content-type": kind, **headers})


@dataclass
class AskedIssuer:
    """`known`: token → answer (JSON, a response, or an exception); any other token is not active."""

    known: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    calls: list[dict[str, str]] = field(default_factory=list)
    before: Callable[[], Awaitable[Any]] | None = None
    running: int = 0
    peak: int = 0
    fallback: Any = None
    """What every token is answered with, instead."""

    def __post_init__(self) -> None:
        self.transport = httpx.MockTransport(self._answer)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if str(request.url) != URL:
            return respond(self.documents[str(request.url)])
        assert request.method == "POST"
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        form = {name: values[0] for name, values in parse_qs(request.content.decode(), strict_parsing=True).items()}
        scheme, _, pair = request.headers.get("authorization", "").partition(" ")
        self.calls.append({**form, "scheme": scheme, "pair": base64.b64decode(pair).decode()})
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            if self.before is not None:
                await self.before()
            answer = self.known.get(form["token"], {"active": False}) if self.fallback is None else self.fallback
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, httpx.Response) else respond(answer)
        finally:
            self.running -= 1


@dataclass
class Desk:
    """A verifier with everything around it; the clock stands still."""

    issuer: AskedIssuer
    clock: ManualClock
    revocations: Revocations
    introspector: Introspector
    verifier: BearerVerifier
    tasks: Tasks
    outbound: Outbound
    asked: list[bool]

    async def code(
        self, token: str = TOKEN, rule: TokenRule = OPAQUE, workload: Workload | None = None, left: float = 5.0
    ) -> str:
        """The code of the refusal, or `ok`."""
        answer = await self.verifier.verify(token, rule, workload, self.clock.monotonic() + left)
        return getattr(answer, "code", "ok")

    def start(self, *args: Any, **kwargs: Any) -> asyncio.Task[str]:
        """`code`, without waiting for it."""
        return self.tasks.start(self.code(*args, **kwargs), "check")

    async def close(self) -> None:
        await self.tasks.close()
        await self.outbound.close()


def desk(
    known: dict[str, Any] | None = None,
    *,
    jwts: Issuer | None = None,
    settings: IssuerSettings | None = None,
    revocations: RevocationSettings | None = None,
    **introspection: Any,
) -> Desk:
    """`known`: what the issuer says (TOKEN is active unless given); `introspection`: changes of its settings."""
    client = {"id": "ext authz", "secret_env": "INTROSPECTION_SECRET"}
    own = settings or issuer_settings(introspection={"url": URL, "client": client, **introspection})
    issuer = AskedIssuer({TOKEN: active()} if known is None else known)
    if jwts is not None:
        issuer.documents[JWKS_URL] = jwts.jwks()
    clock = ManualClock()
    revoked = Revocations(revocations or RevocationSettings())
    outbound = Outbound([JWKS_URL, URL], transport=issuer.transport)
    tasks = Tasks()
    asked: list[bool] = []
    introspector = Introspector(own, outbound.send, revoked, clock, tasks, lambda _, good: asked.append(good))
    tokens = TokenVerifier([own], KeyStore([own], outbound, clock), revoked, clock)
    return Desk(issuer, clock, revoked, introspector, BearerVerifier(tokens, [introspector]), tasks, outbound, asked)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - no event tells of what others wait for
        await asyncio.sleep(0)
