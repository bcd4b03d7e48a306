"""The authority as a whole: the place where its parts meet.

1. Everything that can fail at the start does so before anything is served: store, keys, attestors, policy, addresses.
2. No part is trusted to be there later: what cannot be asked answers 503, and works again by itself.
3. Replicas share the store and nothing else; each has a server certificate of its own.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from extauthz.attestation.entries import Entries
from extauthz.attestation.registry import Attestors
from extauthz.audit.trail import AuditTrail
from extauthz.authn.keys import KeyStore
from extauthz.authority.audit import ChainedAudit
from extauthz.authority.certificate import OwnCertificate
from extauthz.authority.core import Core
from extauthz.authority.endpoints import Endpoints, application
from extauthz.authority.health import Health, gauges
from extauthz.authority.http import Listener
from extauthz.authority.instances import Instances
from extauthz.authority.metrics import AuthorityMetrics, CountedAudit
from extauthz.authority.operator import Operator
from extauthz.authority.operator_endpoints import OperatorEndpoints
from extauthz.authority.peers import Peer, Peers
from extauthz.authority.polls import Polls
from extauthz.authority.publication import Publication
from extauthz.authority.revocations import RevocationBook
from extauthz.authority.trail import RotationTrail
from extauthz.authority.workloads import Workloads
from extauthz.ca.certificate_authority import CertificateAuthority
from extauthz.keys.provider import load_provider
from extauthz.outbound import Outbound
from extauthz.policy.absent import AbsentEngine
from extauthz.policy.opening import OpenedPolicy, open_policy
from extauthz.store.opening import open_store
from extauthz.store.settings import MemoryStoreSettings
from extauthz.sts import endpoints as token_endpoints
from extauthz.sts.permission import EnginePolicy
from extauthz.sts.service import TokenService
from extauthz.tasks import Tasks
from extauthz.telemetry import trace_context
from extauthz.transport import choose
from extauthz.transport.settings import unix_path

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from extauthz.audit.settings import AuditSettings
    from extauthz.authn.settings import IssuerSettings
    from extauthz.authority.settings import AuthoritySettings
    from extauthz.clock import Clock
    from extauthz.outbound import OutboundSettings
    from extauthz.policy.engine import Engine
    from extauthz.policy.settings import PolicySettings
    from extauthz.store.settings import StoreSettings
    from extauthz.sts.interfaces import Client

log = logging.getLogger(__name__)
OPERATORS: Final = 16
"""Connections at once on the operator's socket."""
ADMIN_MODE: Final = 0o600


class Authority:
    """`run_dir` is private (0700) and belongs to this process alone."""

    def __init__(
        self,
        settings: AuthoritySettings,
        *,
        store: StoreSettings | None,
        policy: PolicySettings,
        outbound: OutboundSettings,
        audit: AuditSettings,
        run_dir: Path,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._store_settings = store or MemoryStoreSettings(kind="memory")
        self._policy_settings = policy
        self._outbound = outbound
        self._audit_settings = audit
        self._run_dir = run_dir
        self._clock = clock
        self._stack = AsyncExitStack()
        self._tasks = Tasks()
        self._listeners: list[Listener] = []
        self._serving: list[asyncio.Task[None]] = []
        self._polls = Polls(settings.listener)
        self.port = 0
        """The port that it serves on, after `start`."""

    async def start(self) -> None:
        """Serves when it returns. Raises ExtauthzError; nothing is left running then."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def serve(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, or a listener ends by itself."""
        told = self._tasks.start(stop.wait(), "stop")
        await asyncio.wait({told, *self._serving}, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Answers what is in flight for a moment, ends polls at once."""
        self._polls.end()
        for listener in self._listeners:
            listener.should_exit = True
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._tasks.close()
        await self._stack.aclose()

    async def _start(self) -> None:
        core = await self._core()
        policy = await self._policy()
        tls = await core.certificate.start()
        health = Health(core, policy.engine if self._exchanges else None, self._clock)
        routes = [*self._endpoints(core, health).routes(), *await self._token_routes(core, policy.engine)]
        operator = Operator(
            self._settings,
            ca=core.ca,
            attestors=core.attestors,
            entries=core.entries,
            revocations=core.revocations,
            audit=core.audit,
            clock=self._clock,
        )
        if self._settings.publish is not None:
            publication = Publication(self._settings.publish, lambda: str(operator.trust()["pem"]), core.ca)
            await publication.write()
            self._tasks.start(publication.follow(), "published trust")
        core.attestors.start()
        self._stack.push_async_callback(core.trail.write)
        self._tasks.start(core.trail.run(), "rotation trail")
        self._tasks.start(core.certificate.follow(), "listener certificate")
        await self._listen(application(routes), application(OperatorEndpoints(operator).routes()), tls.context)

    async def _core(self) -> Core:
        settings, clock, stack = self._settings, self._clock, self._stack
        metrics = AuthorityMetrics()
        verify = await asyncio.to_thread(self._outbound.verify)
        chained = await AuditTrail.open(self._audit_settings, "authority", clock, verify=verify)
        audit = CountedAudit(ChainedAudit(chained), metrics)
        stack.push_async_callback(audit.close)
        await audit.write("authority.started", {"trust_domain": settings.trust_domain})
        store = await asyncio.to_thread(open_store, self._store_settings, clock)
        stack.push_async_callback(store.close)
        trail = RotationTrail(audit)
        keys = await asyncio.to_thread(load_provider, settings.keys)
        ca = CertificateAuthority(
            settings.trust_domain, store, keys, clock, settings.ca, settings.signing, report=trail.report
        )
        stack.push_async_callback(ca.close)
        await ca.start()
        attestors = await asyncio.to_thread(Attestors, settings.attestation, store=store, clock=clock)
        stack.push_async_callback(attestors.close)
        revocations = RevocationBook(store, clock)
        peers = Peers(settings.trust_domain, ca.trust, revocations, clock)
        name = settings.own_id
        certificate = OwnCertificate(name, settings.dns_names, ca=ca, anchors=peers.anchors, audit=audit, clock=clock)
        entries = Entries(settings.entries)
        return Core(metrics, audit, store, trail, ca, attestors, entries, revocations, peers, certificate)

    async def _policy(self) -> OpenedPolicy:
        """Opened only where something can be exchanged: an authority that just certifies needs no policy engine."""
        if not self._exchanges:
            return OpenedPolicy(AbsentEngine(), None, None)
        opened = await open_policy(
            self._policy_settings,
            entrypoint=self._settings.sts.policy,
            run_dir=self._run_dir,
            clock=self._clock,
            verify=await asyncio.to_thread(self._outbound.verify),
        )
        self._stack.push_async_callback(opened.close)
        return opened

    @property
    def _exchanges(self) -> bool:
        return any(entry.exchange_to for entry in self._settings.entries)

    def _endpoints(self, core: Core, health: Health) -> Endpoints:
        settings = self._settings
        ages = {"x509": settings.ca.rotation_age, "jwt": settings.signing.rotate_after}
        core.metrics.measured_by(lambda: gauges(core, self._polls, ages))
        return Endpoints(
            settings.trust_domain,
            ca=core.ca,
            peers=core.peers,
            workloads=self._workloads(core),
            revocations=core.revocations,
            polls=self._polls,
            longest_poll=min(settings.listener.longest_poll, settings.ca.agent_seen_within / 2),
            metrics=core.metrics,
            readiness=health,
        )

    def _workloads(self, core: Core) -> Workloads:
        return Workloads(
            self._settings.own_id,
            ca=core.ca,
            attestors=core.attestors,
            entries=core.entries,
            revocations=core.revocations,
            instances=Instances(core.store, core.revocations, self._clock, self._settings.signing.longest_token),
            audit=core.audit,
            metrics=core.metrics,
            clock=self._clock,
        )

    async def _token_routes(self, core: Core, engine: Engine) -> list[Route]:
        settings, workloads = self._settings.sts, self._workloads(core)
        policy = EnginePolicy(engine, self._clock, entrypoint=settings.policy, timeout=settings.policy_timeout)
        service = TokenService(
            settings,
            signer=core.ca.signer,
            store=core.store,
            revocations=core.revocations,
            policy=policy,
            audit=core.audit,
            clock=self._clock,
            subject_keys=(await self._keys_of(settings.subject_issuers)).source,
            transmitter_keys=(await self._keys_of(settings.transmitters)).source,
        )

        def client_of(request: Request) -> Client | None:
            found: Client | None = request.state.client
            return found

        return [_with_client(route, core.peers, workloads) for route in token_endpoints.routes(service, client_of)]

    async def _keys_of(self, issuers: Sequence[IssuerSettings]) -> KeyStore:
        """Keys of others, fetched from where their settings say, and kept fresh."""
        verify = await asyncio.to_thread(self._outbound.verify)
        outbound = Outbound([url for issuer in issuers for url in issuer.outbound_urls], verify=verify)
        self._stack.push_async_callback(outbound.close)
        store = KeyStore(issuers, outbound, self._clock)
        self._stack.push_async_callback(store.close)
        await store.refresh_due()
        store.start()
        return store

    async def _listen(self, public: ASGIApp, operators: ASGIApp, context: ssl.SSLContext) -> None:
        """Addresses first, so that one that is taken ends the start."""
        admin = Path(unix_path(self._settings.admin))
        sockets = []
        for address, mode in ((self._settings.listen, 0), (self._settings.admin, ADMIN_MODE)):
            sockets.append(await asyncio.to_thread(choose.listen, address, mode=mode))
            self._stack.callback(sockets[-1].close)
        self._stack.callback(admin.unlink, missing_ok=True)
        self.port = sockets[0].getsockname()[1]
        self._listeners = [
            Listener(public, tls=context, connections=self._settings.listener.connections),
            Listener(operators, connections=OPERATORS),
        ]
        self._serving = [
            self._tasks.start(listener.serve_on(one), "listener")
            for listener, one in zip(self._listeners, sockets, strict=True)
        ]
        log.info("the authority of %s serves on port %d", self._settings.trust_domain, self.port)


def _with_client(route: Route, peers: Peers, workloads: Workloads) -> Route:
    """`route` with the registered workload that calls as `client` of its request; None: there is none. Audit records
    of the request name its trace.

    A workload that is revoked itself is left to the token service, which has an answer of its own for that.
    """
    endpoint: Callable[[Request], Awaitable[Response]] = route.endpoint

    async def identified(request: Request) -> Response:
        peer = peers.identify(request.state.peer_certificate)
        known = isinstance(peer, Peer) and not await peers.succeeds_revoked(peer)
        request.state.client = workloads.client(peer) if known and isinstance(peer, Peer) else None
        trace_context.current.set(trace_context.trace_of(request.headers.get(trace_context.HEADER)))
        return await endpoint(request)

    return Route(route.path, identified, methods=sorted(route.methods or ()))
