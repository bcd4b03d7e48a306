"""The steps of a Check up to the credential, with the server's own parts, for one token and one route.

1. the peer's certificate: who calls (`authn.workload`)
2. the route: may this workload call it
3. the token, by the route's rule (`authn.bearer`), or the API key (`authn.api_key`)

What is fetched is what the server would fetch: keys, introspection answers, revocations, its own identity. Nothing is
cached beyond this one question, and attributes and policy are not asked: `extauthz policy explain` does that.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from extauthz.authn.api_key import HEADER, ApiKeys
from extauthz.authn.bearer import BearerVerifier
from extauthz.authn.extract import of_value
from extauthz.authn.keys import KeyStore
from extauthz.authn.revocation import Revocations
from extauthz.authn.revocation_feed import OutboundFeed
from extauthz.authn.revocation_follower import open_follower
from extauthz.authn.spiffe import IdPatterns
from extauthz.authn.tokens import TokenVerifier
from extauthz.authn.workload import WorkloadVerifier
from extauthz.check.own_identity import ServerIdentity
from extauthz.model import Deny, Request, Subject, Workload, deny
from extauthz.outbound import Outbound
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from extauthz.check.routes import RouteSettings
    from extauthz.clock import Clock
    from extauthz.config import Config

_PATIENCE: Final = 30.0
"""Seconds for the whole question."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`answer`: who the token speaks for, or why it is refused; None: the route asks for none. `notes`: what bears on
    it beside. `at`: `workload`, `route` or `credential`."""

    at: str
    answer: Subject | Deny | None
    workload: Workload | None
    notes: tuple[str, ...] = ()


async def judge(config: Config, route: RouteSettings, token: str, certificate: bytes, clock: Clock) -> Verdict:
    """`certificate`: PEM of the peer's, empty when none is to be assumed. Raises ExtauthzError."""
    try:
        async with asyncio.timeout(_PATIENCE), AsyncExitStack() as stack:
            return await _Server(config, clock, stack).judge(route, token, certificate)
    except TimeoutError:
        return Verdict("credential", deny("engine.deadline", f"nothing was decided in {_PATIENCE:g} s"), None)


class _Server:
    """The parts of `app._assemble` that judge a credential."""

    def __init__(self, config: Config, clock: Clock, stack: AsyncExitStack) -> None:
        self._config = config
        self._clock = clock
        self._stack = stack
        self._notes: list[str] = []

    async def judge(self, route: RouteSettings, token: str, certificate: bytes) -> Verdict:
        identity = await self._identity()
        own = self._own_outbound(identity)
        revocations = await self._revocations(own)
        workloads = WorkloadVerifier(
            self._config.workload, self._config.environment, self._clock, revocations, identity
        )
        request = _request(token, certificate, api_key=route.credential == "api_key")
        caller = workloads.own(request) if route.caller == "self" else workloads.verify(request)  # 1
        if isinstance(caller, Deny):
            return self._verdict("workload", caller, None)
        if caller is None and not certificate and not route.public:
            self._notes.append("no peer certificate was given (--certificate): a token that is bound to one is refused")
        elif refused := _route(route, caller):  # 2
            return self._verdict("route", refused, caller)
        if revocations.stale and route.effects:
            self._notes.append("what has been revoked is not known: the server would refuse this route (503)")
        answer = await self._credential(route, request, caller, revocations, own)  # 3
        return self._verdict("credential", answer, caller)

    async def _credential(
        self,
        route: RouteSettings,
        request: Request,
        caller: Workload | None,
        revocations: Revocations,
        own: Outbound | None,
    ) -> Subject | Deny | None:
        config, clock = self._config, self._clock
        if route.credential == "api_key":
            return (await asyncio.to_thread(ApiKeys, config.api_keys, clock)).verify(request, route.name)
        if route.token is None:
            self._notes.append(f"the route asks for no token: `credential: {route.credential}`")
            return None
        sent = of_value(request.headers["authorization"])
        if isinstance(sent, Deny):
            return sent
        urls = [url for one in config.issuers for url in (*one.outbound_urls, *one.introspection_urls)]
        outbound = Outbound(urls, verify=await asyncio.to_thread(config.outbound.verify))
        self._stack.push_async_callback(outbound.close)
        keys = KeyStore(config.issuers, outbound, clock, own=own)
        self._stack.push_async_callback(keys.close)
        tasks = Tasks()
        self._stack.push_async_callback(tasks.close)
        verifier = BearerVerifier.of(
            config.issuers,
            TokenVerifier(config.issuers, keys, revocations, clock, config.verifier),
            revocations,
            clock,
            tasks,
            send=outbound.send,
            own=None if own is None else own.send,
            asked=lambda *_: None,
        )
        verified = await verifier.verify(sent, route.token, caller)
        return verified if isinstance(verified, Deny) else verified.subject

    async def _identity(self) -> ServerIdentity | None:
        if self._config.identity is None:
            return None
        identity = ServerIdentity(self._config.identity, self._clock)
        self._stack.push_async_callback(identity.close)
        await identity.start()
        if not identity.ready:
            self._notes.append("the server's own identity cannot be had from here: what needs it is refused")
        return identity

    def _own_outbound(self, identity: ServerIdentity | None) -> Outbound | None:
        """For calls that show the server's own certificate."""
        if identity is None:
            return None
        config = self._config
        asked = [one.introspection.url for one in config.issuers if one.introspection is not None]
        keys = [one.jwks.url for one in config.issuers if one.jwks.client == "mtls" and one.jwks.url]
        outbound = Outbound([*asked, *keys, *config.revocation.outbound_urls], verify=identity.context)
        self._stack.push_async_callback(outbound.close)
        return outbound

    async def _revocations(self, own: Outbound | None) -> Revocations:
        """From the file, the feed or Redis, looked at once; nothing is written."""
        settings = self._config.revocation.model_copy(update={"snapshot": None})
        revocations = await asyncio.to_thread(Revocations, settings, self._clock)
        feed = own
        if feed is None:
            feed = Outbound(settings.outbound_urls, verify=await asyncio.to_thread(self._config.outbound.verify))
            self._stack.push_async_callback(feed.close)
        follower = await asyncio.to_thread(open_follower, revocations, OutboundFeed(feed), self._clock)
        if follower is not None:
            self._stack.push_async_callback(follower.close)
            await follower.first()
            if revocations.stale:
                self._notes.append("the source of revocations was not reached: a revoked token would pass here")
        return revocations

    def _verdict(self, at: str, answer: Subject | Deny | None, workload: Workload | None) -> Verdict:
        return Verdict(at, answer, workload, tuple(self._notes))


def _route(route: RouteSettings, caller: Workload | None) -> Deny | None:
    """As `check.pipeline` asks it."""
    if route.public:
        return None
    if caller is None:
        return deny("workload.missing")
    return None if IdPatterns(route.workloads).match(caller.id) else deny("workload.route_denied")


def _request(token: str, certificate: bytes, *, api_key: bool) -> Request:
    headers = {HEADER: token} if api_key else {"authorization": f"Bearer {token}"}
    return Request(
        id="explain",
        method="",
        scheme="https",
        host="",
        path="/",
        query="",
        protocol="",
        headers=headers,
        body=b"",
        body_truncated=False,
        principal="",
        certificate=quote(certificate.decode("ascii", "replace"), safe=""),
        source_address="",
        destination_principal="",
        context_extensions={},
    )
