"""Route policies, made ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.attributes.plan import build_plan
from extauthz.authn.api_key import HEADER as API_KEY
from extauthz.authn.extract import TXN_TOKEN
from extauthz.authn.spiffe import IdPatterns
from extauthz.check.admission import RANKS
from extauthz.check.budget import Budget
from extauthz.check.exchange import Wanted
from extauthz.check.pipeline import Route
from extauthz.check.policy_input import InputTemplate
from extauthz.check.routes import VARIABLE, RouteSettings
from extauthz.policy.projection import canonical, projector
from extauthz.telemetry.trail import RouteFacts

if TYPE_CHECKING:
    from extauthz.attributes.registry import Sources
    from extauthz.config import Config
    from extauthz.generation import Generation
    from extauthz.policy.projection import Projector


def ready_route(settings: RouteSettings, config: Config, generation: Generation, sources: Sources) -> Route:
    """A route policy made ready. Raises ConfigError with the route's place in the file's terms."""
    template = settings.match.path if settings.match else ""
    verified: set[str] = set()
    if settings.token is not None:
        issuers = [issuer for issuer in config.issuers if issuer.name in settings.token.issuers]
        verified = {name for issuer in issuers for name in issuer.claims}
    plan = None
    if settings.attributes:
        plan = build_plan(settings.attributes, sources, verified=verified, variables=VARIABLE.findall(template))
    # Where a token is exchanged, what takes its place overwrites it; nothing else may leave it standing.
    in_txn = settings.token is not None and settings.token.header == TXN_TOKEN
    kept = settings.forward_token and settings.exchange is None and not in_txn
    remove = settings.policy_headers if kept else (*settings.policy_headers, "authorization")
    if config.api_keys.file is not None:  # on every route: a key that was sent to the wrong one is still a key
        remove = (*remove, API_KEY)
    return Route(
        settings=settings,
        callers=IdPatterns(settings.workloads).match,
        attributes=plan,
        template=InputTemplate.of(settings, config.environment),
        project=projector_of(generation, settings.policy),
        policy_headers=frozenset(settings.policy_headers),
        remove=remove,
        facts=RouteFacts(
            name=settings.name,
            service=settings.service,
            template=template,
            entrypoint=settings.policy,
            action=settings.action,
            resource_type=settings.resource.type,
        ),
        failure=settings.failure_plan,
        budget=Budget.of(settings, attributes=plan is not None and plan.needs_await),
        rank=RANKS[settings.shed_as],
        exchange=None if settings.exchange is None else Wanted.of(settings.exchange),
    )


def projector_of(generation: Generation, entrypoint: str) -> Projector:
    analysis = generation.report.analyses.get(entrypoint) if generation.report else None
    return projector(analysis) if analysis else canonical
