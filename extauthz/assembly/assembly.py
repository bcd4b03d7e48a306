"""Everything is built from one generation, from the bottom up, before any of it is used; `app` swaps it in."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from extauthz import __version__
from extauthz.api.decisions import Decisions
from extauthz.api.dispatch import Api
from extauthz.api.evaluations import Evaluations
from extauthz.api.rollouts import Rollouts
from extauthz.assembly.active import Active
from extauthz.assembly.deciding import Deciding
from extauthz.assembly.routes import projector_of, ready_route
from extauthz.attributes.registry import build_sources, outbound_urls
from extauthz.audit.trail import AuditTrail
from extauthz.authn import files as watched_files
from extauthz.authn.api_key import ApiKeys
from extauthz.authn.bearer import BearerVerifier
from extauthz.authn.break_glass import Grants
from extauthz.authn.break_glass_uses import Uses
from extauthz.authn.keys import KeyStore
from extauthz.authn.revocation import Revocations
from extauthz.authn.revocation_feed import OutboundFeed
from extauthz.authn.revocation_follower import open_follower
from extauthz.authn.tokens import TokenVerifier
from extauthz.authn.workload import WorkloadVerifier
from extauthz.authzen.evaluator import Evaluator
from extauthz.check.admission import Admission
from extauthz.check.break_glass import BreakGlass
from extauthz.check.compat import pipeline as compat
from extauthz.check.credential import CredentialStage
from extauthz.check.exchange import Exchanger
from extauthz.check.judgement import Background
from extauthz.check.own_identity import ServerIdentity
from extauthz.check.pipeline import Pipeline, Route
from extauthz.check.router import Router
from extauthz.endpoint import Endpoints
from extauthz.guarded import Guarded
from extauthz.judgement.office import Office
from extauthz.outbound import Outbound
from extauthz.sts.client import ExchangeClient
from extauthz.tasks import Tasks
from extauthz.telemetry.recorder import Recorder
from extauthz.telemetry.tickets import Tickets
from extauthz.telemetry.tracer import Tracer
from extauthz.transport import certificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from extauthz.breaker import State
    from extauthz.check.policy_stage import PolicyStage
    from extauthz.clock import Clock
    from extauthz.config import Config
    from extauthz.generation import Generation
    from extauthz.outbound import Verify
    from extauthz.policy.rollout import Rollout
    from extauthz.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Assembly:
    """Builds what runs under a generation, as a whole, beside whatever runs now."""

    def __init__(self, run_dir: Path, transport: str, clock: Clock, metrics: Metrics) -> None:
        self._run_dir = run_dir
        self._transport = transport
        self._clock = clock
        self._metrics = metrics

    async def build(self, generation: Generation, running: Active | None) -> Active:
        """`running` is what it will replace: revocations are inherited, an identity with the same settings goes on.

        Nothing of it is visible yet. Raises ConfigError, EngineFault or MissingPart; nothing is left then.
        """
        config = await asyncio.to_thread(generation.config)
        async with AsyncExitStack() as undo:
            audit = None if running is None else running.audit
            if audit is None or audit.settings != config.audit:
                audit = await self._audit(config)
                if audit is not None:
                    undo.push_async_callback(audit.close)
            identity = None if running is None else running.identity
            if config.identity is None:
                identity = None
            elif identity is None or identity.settings != config.identity:
                identity = ServerIdentity(config.identity, self._clock, partial(self._metrics.certificate, "svid"))
                undo.push_async_callback(identity.close)
                await identity.start()
            known = None if running is None else running.revocations
            office = None if running is None else running.office
            if office is None or office.settings != config.judgement:
                office = await self._office(config)
                if office is not None:
                    undo.push_async_callback(office.close)
            active = await self._assemble(generation, config, identity, known, audit, office)
            undo.pop_all()
            return active

    async def _audit(self, config: Config) -> AuditTrail | None:
        """One a process: it goes on under every generation with the same settings. Raises AuditError."""
        if config.audit.directory is None:
            return None
        count = self._metrics.count
        return await AuditTrail.open(
            config.audit,
            "serve",
            self._clock,
            verify=await asyncio.to_thread(config.outbound.verify),
            written=lambda records: count("extauthz_audit_records_total", count=records),
            dropped=lambda records: count("extauthz_audit_dropped_total", count=records),
        )

    async def _assemble(
        self,
        generation: Generation,
        config: Config,
        identity: ServerIdentity | None,
        known: Revocations | None,
        audit: AuditTrail | None,
        office: Office | None,
    ) -> Active:
        """Builds the parts from the bottom up."""
        clock = self._clock
        if config.server.tls is not None:
            ends = await asyncio.to_thread(certificate.not_after, config.server.tls.certificate)
            self._metrics.certificate("listener", ends)
        tasks = Tasks()
        urls = [url for issuer in config.issuers for url in (*issuer.outbound_urls, *issuer.introspection_urls)]
        verify = await asyncio.to_thread(config.outbound.verify)
        outbound = Outbound([*urls, *outbound_urls(config.attributes), *config.revocation.outbound_urls], verify=verify)
        own_outbound = _own_outbound(config, identity)
        endpoints = Endpoints(clock, self._moved)
        revocations = Revocations(config.revocation, clock)
        if known is not None:
            await asyncio.to_thread(revocations.inherit, known)
        feed = OutboundFeed(own_outbound or outbound)
        follower = await asyncio.to_thread(open_follower, revocations, feed, clock)
        workloads = WorkloadVerifier(config.workload, config.environment, clock, revocations, identity)
        keys = KeyStore(config.issuers, outbound, clock, fetched=self._metrics.jwks_fetch, own=own_outbound)
        api_keys = await asyncio.to_thread(ApiKeys, config.api_keys, clock)
        tokens = BearerVerifier.of(
            config.issuers,
            TokenVerifier(config.issuers, keys, revocations, clock, config.verifier),
            revocations,
            clock,
            tasks,
            send=outbound.send,
            own=None if own_outbound is None else own_outbound.send,
            asked=partial(self._metrics.upstream, "introspection"),
            endpoint=partial(endpoints.make, settings=config.outbound.breaker, kind="introspection"),
        )
        sources = await asyncio.to_thread(
            build_sources,
            config.attributes,
            outbound=lambda source: Guarded(
                outbound,
                endpoints.make(source.name, source.timeout, config.outbound.breaker, "attributes"),
                clock,
            ),
            clock=clock,
            tasks=tasks,
            waited=self._waited,
        )
        routes = [(route, ready_route(route, config, generation, sources)) for route in config.routes]
        grants = await self._grants(config, revocations)
        watched: list[watched_files.Reloadable] = [
            revocations,
            workloads,
            api_keys,
            *([] if grants is None else [grants]),
        ]
        kept = config.api.decisions
        tickets = None if kept is None else Tickets(kept.keep, inputs=kept.inputs, mask=kept.mask)
        tracer = self._tracer(config, verify)
        recorder = Recorder(config.telemetry.records, self._metrics, tickets=tickets, audit=audit, tracer=tracer)
        deciding = await Deciding.build(
            self._run_dir, self._metrics, clock, generation, config, revocations, endpoints, recorder
        )
        rollout, policy = deciding.rollout, deciding.stage
        background = self._background(config, office, [route for _, route in routes], recorder, audit)
        make: Callable[..., Pipeline] = Pipeline
        if config.policy.compat:
            make = await asyncio.to_thread(compat.prepare, config.policy.opa_envoy_plugin, routed=bool(routes))
        pipeline = make(
            router=Router(routes),
            workloads=workloads,
            revocations=revocations,
            credentials=CredentialStage(tokens, api_keys, clock, self._metrics),
            policy=policy,
            recorder=recorder,
            metrics=self._metrics,
            clock=clock,
            max_deadline=config.server.max_deadline,
            transport=self._transport,
            exchanger=self._exchanger(config, identity, own_outbound, revocations, endpoints, tasks),
            audit=audit,
            quarantine=None if office is None else office.confined,
            judgement=background,
            admission=self._admission(config, policy),
            break_glass=grants and BreakGlass(grants, Uses(self._run_dir), metrics=self._metrics, clock=clock),
        )
        api = self._api(generation, config, [route for _, route in routes], policy, recorder, tokens, tickets, rollout)
        # Nothing below can fail: what runs in the background starts only when all the rest stands.
        await keys.refresh_due()
        keys.start()
        if follower is not None:
            await follower.first()
            follower.start(tasks)
        recorder.start(tasks)
        if office is not None:
            await office.start()
        if tracer is not None:
            tracer.start(tasks)
        if rollout is not None:
            rollout.start(tasks)
        tasks.start(watched_files.watch(watched, config.revocation.interval), "watched files")
        return Active(
            generation=generation,
            config=config,
            pipeline=pipeline,
            api=api,
            engine=deciding.engine,
            fallback=deciding.fallback,
            endpoints=endpoints,
            rollout=rollout,
            keys=keys,
            api_keys=api_keys,
            revocations=revocations,
            follower=follower,
            tokens=tokens,
            recorder=recorder,
            audit=audit,
            office=office,
            background=background,
            tracer=tracer,
            outbound=outbound,
            identity=identity,
            own_outbound=own_outbound,
            tasks=tasks,
        )

    async def _office(self, config: Config) -> Office | None:
        """One a process, as the audit trail. Raises ConfigError."""
        if config.judgement is None:
            return None
        metrics = self._metrics
        return await Office.open(
            config.judgement,
            self._clock,
            busy=lambda: metrics.in_flight > 0,
            random=random.random,
            alerted=partial(metrics.count, "extauthz_judgement_alerts_total"),
            verify=await asyncio.to_thread(config.outbound.verify),
        )

    async def _grants(self, config: Config, revocations: Revocations) -> Grants | None:
        if config.break_glass is None:
            return None
        return await asyncio.to_thread(Grants, config.break_glass, revocations, self._clock)

    def _background(
        self,
        config: Config,
        office: Office | None,
        routes: list[Route],
        recorder: Recorder,
        audit: AuditTrail | None,
    ) -> Background | None:
        if office is None:
            return None
        return Background(
            office, routes, config.attributes, recorder=recorder, metrics=self._metrics, clock=self._clock, audit=audit
        )

    def _admission(self, config: Config, load: PolicyStage) -> Admission | None:
        settings = config.server.admission
        if not settings.enabled:
            return None
        in_flight = min(settings.in_flight, config.server.max_concurrent)
        later = asyncio.get_running_loop().call_soon
        return Admission(
            in_flight,
            settings.target,
            settings.engine,
            load=load,
            metrics=self._metrics,
            clock=self._clock,
            later=later,
        )

    def _tracer(self, config: Config, verify: Verify) -> Tracer | None:
        settings = config.telemetry.traces
        if settings is None:
            return None
        post = Outbound([settings.endpoint], verify=verify)
        return Tracer(settings, post, self._metrics, resource=config.telemetry.records.labels, version=__version__)

    def _exchanger(
        self,
        config: Config,
        identity: ServerIdentity | None,
        own: Outbound | None,
        revocations: Revocations,
        endpoints: Endpoints,
        tasks: Tasks,
    ) -> Exchanger | None:
        if config.sts is None or identity is None or own is None:
            return None
        endpoint = endpoints.make("sts", config.sts.timeout, config.outbound.breaker, "token-service")
        return Exchanger(
            config.sts,
            ExchangeClient(config.sts.url, Guarded(own, endpoint, self._clock)),
            own=identity.shown,
            revocations=revocations,
            clock=self._clock,
            tasks=tasks,
            waited=partial(self._metrics.upstream, "sts"),
        )

    def _api(
        self,
        generation: Generation,
        config: Config,
        routes: list[Route],
        policy: PolicyStage,
        recorder: Recorder,
        tokens: BearerVerifier,
        tickets: Tickets | None,
        rollout: Rollout | None,
    ) -> Api:
        """Only what is configured exists."""
        settings, clock = config.api, self._clock
        evaluations = decisions = rollouts = None
        if settings.authzen is not None:
            evaluator = Evaluator(
                settings.authzen,
                routes=routes,
                environment=config.environment,
                projector_of=lambda entrypoint: projector_of(generation, entrypoint),
                policy=policy,
                recorder=recorder,
                clock=clock,
            )
            evaluations = Evaluations(settings.authzen, tokens=tokens, evaluator=evaluator, clock=clock)
        if settings.decisions is not None and tickets is not None:
            records = config.telemetry.records.output
            decisions = Decisions(settings.decisions, tokens=tokens, tickets=tickets, records=records)
        if settings.rollout is not None:
            live = generation.revision
            rollouts = Rollouts(settings.rollout, tokens=tokens, rollout=rollout, live=live, clock=clock)
        return Api(self._metrics, evaluations=evaluations, decisions=decisions, rollouts=rollouts)

    def _moved(self, endpoint: str, state: State) -> None:
        log.warning("the breaker of %s is %s", endpoint, state.name.lower().replace("_", "-"))
        self._metrics.count("extauthz_breaker_transitions_total", endpoint, state.name.lower())

    def _waited(self, source: str, seconds: float, good: bool) -> None:  # noqa: FBT001 - the shape of attributes.Waited
        del source
        self._metrics.upstream("attributes", seconds, good)


def _own_outbound(config: Config, identity: ServerIdentity | None) -> Outbound | None:
    """For calls that show our own certificate, to the authority of our own trust domain."""
    if identity is None:
        return None
    asked = [issuer.introspection for issuer in config.issuers if issuer.introspection is not None]
    urls = [introspection.url for introspection in asked if introspection.client == "mtls"]
    urls += [issuer.jwks.url for issuer in config.issuers if issuer.jwks.client == "mtls" and issuer.jwks.url]
    if config.sts is not None:
        urls.append(config.sts.url)
    return Outbound([*urls, *config.revocation.outbound_urls], verify=identity.context)
