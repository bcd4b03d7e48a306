"""What protects a route, in plain words, layer by layer, in the order in which a Check asks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from extauthz.attributes.settings import HttpSource, RequestSource
from extauthz.config.words import PARTS, WITHOUT, listed, seconds
from extauthz.judgement.settings import JudgementRule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.attributes.settings import AttributeUse
    from extauthz.check.routes import RouteSettings
    from extauthz.config.model import Config


@dataclass(frozen=True, slots=True)
class Chapter:
    """One layer of the protection: its name in `codes.Layer`, or `request`, `reuse`, `failure`, `answer`."""

    layer: str
    title: str
    says: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`facts` are the settings that the words were made from."""

    route: str
    chapters: tuple[Chapter, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def explain(config: Config, route: RouteSettings) -> Explanation:
    chapters = (
        Chapter("request", "Which requests", tuple(_requests(route))),
        Chapter("workload", "Which callers", tuple(_callers(config, route))),
        Chapter("transport", "Which certificate", tuple(_certificate(config, route))),
        Chapter("token", "Which credential", tuple(_credential(config, route))),
        Chapter("attribute", "Which attributes", tuple(_attributes(config, route))),
        Chapter("role", "Which policy", tuple(_policy(config, route))),
        Chapter("reuse", "How long a decision is reused", tuple(_reuse(config, route))),
        Chapter("engine", "When no decision can be made", tuple(_failure(config, route))),
        Chapter("answer", "What the upstream gets", tuple(_answer(route))),
    )
    return Explanation(route.name, chapters, route.model_dump(mode="json", by_alias=True))


def _requests(route: RouteSettings) -> Iterator[str]:
    yield f"Envoy names the route `{route.name}` in context_extensions."
    match = route.match
    if match is None or route.caller == "self":
        yield "No request reaches it in another way."
    if match is None:
        return
    methods = listed(match.methods, "or") or "Any method"
    hosts = f"on {listed(match.hosts, 'or')}" if match.hosts else "on any host"
    yield f"{methods} {match.path} {hosts}; a request that Envoy sends here and that does not fit is refused (400)."
    if route.effects:
        yield f"It has effects on the world: {listed(word.replace('_', ' ') for word in route.effects)}."


def _callers(config: Config, route: RouteSettings) -> Iterator[str]:
    if route.public:
        yield "Callers need no workload identity. One that is shown is verified all the same."
    elif not route.workloads:
        yield "Nobody: no workload is named, so every call is refused (403)."
        return
    elif route.caller == "self":
        yield f"Our own service, through a local listener; our workload must be {listed(route.workloads, 'or')}."
    else:
        yield f"Only {listed(route.workloads, 'or')}."
    domains = sorted(config.workload.trust_domains)
    yield f"Trusted domains: {listed(domains)}." if domains else "No trust domain is trusted: a workload is refused."
    if config.workload.environments:
        yield f"Workloads of the environments {listed(config.workload.environments, 'or')}."
    else:
        yield f"Workloads of this server's environment, {config.environment or 'which has no name'}, only."
    if config.workload.registered is not None:
        yield f"And registered: {listed(config.workload.registered, 'or') or 'none is'}."


def _certificate(config: Config, route: RouteSettings) -> Iterator[str]:
    workload = config.workload
    if route.caller == "self":
        yield "None may come: whoever shows one is not our own service (403). Our own must be valid now (503)."
        if route.token is not None and route.token.binding == "received":
            yield "A token that is bound to another workload's certificate is accepted: our service received it."
        return
    if workload.require_certificate:
        yield "A workload's certificate must be there and not expired, also on a connection that is older (403)."
    else:
        yield "A workload's certificate is checked only when Envoy sends it."
    if workload.require_svid_profile:
        yield "It must be an X.509-SVID."
    anchored = sorted(name for name, domain in workload.trust_domains.items() if domain.trust_bundle)
    if anchored:
        yield f"Its issuer is checked again here for {listed(anchored)}."
        yield "There a renewed certificate stands for those that it replaced."
    if workload.xfcc == "last":
        yield "The last element of x-forwarded-client-cert must say the same."
    if route.token is not None:
        if route.token.binding == "required":
            yield "The token must be bound to it (cnf x5t#S256)."
        else:
            yield "A token that is bound to a certificate is accepted only with that one."


def _credential(config: Config, route: RouteSettings) -> Iterator[str]:
    if route.credential == "none":
        yield "None: callers are anonymous."
        return
    if route.token is None:
        yield "The workload's certificate; no token is read."
        return
    rule = route.token
    if not rule.issuers:
        yield "No issuer is named, so every token is refused (401)."
        return
    for name in rule.issuers:
        if (issuer := config.issuer(name)) is not None:
            types = rule.types or issuer.types
            yield (
                f"A JWT of {issuer.issuer} ({name}), signed with {listed(issuer.algorithms, 'or')},"
                f" typ {listed(types, 'or')}, living at most {seconds(issuer.max_lifetime)}"
                f" (± {seconds(issuer.leeway)} clock skew)."
            )
    yield f"It must be for {listed(rule.audiences, 'or')}."
    if rule.purposes:
        yield f"Its purpose must be {listed(rule.purposes, 'or')}."
    if rule.scopes:
        yield f"It must have the {'scope' if len(rule.scopes) == 1 else 'scopes'} {listed(rule.scopes)}."
    yield from _revocation(config, route)


def _revocation(config: Config, route: RouteSettings) -> Iterator[str]:
    revocation = config.revocation
    if revocation.file is not None:
        yield f"Revocations are read from {revocation.file} every {seconds(revocation.interval)}."
    if revocation.feed is not None:
        yield f"Revocations are told by {revocation.feed.url}."
    if revocation.redis is not None:
        yield f"Revocations are told by the Redis at {revocation.redis.url}."
    if revocation.file is None and not revocation.remote:
        yield "It cannot be revoked before it expires."
    elif route.failure_plan.revocations == "closed":
        yield f"Refused (503) while they have not been known for {seconds(revocation.max_age)}."


def _attributes(config: Config, route: RouteSettings) -> Iterator[str]:
    if not route.attributes:
        yield "None beside those of the credential and the workload."
    for use in route.attributes:
        source = next(source for source in config.attributes.sources if source.name == use.source)
        if isinstance(source, HttpSource):
            keep = f"kept {seconds(source.ttl)}" if source.ttl else "asked each time"
            yield f"From {source.method} {source.url} ({source.name}; within {seconds(source.timeout)}, {keep}):"
        elif isinstance(source, RequestSource):
            yield f"From the request ({source.name}), so the caller's own word:"
        else:
            yield f"From the configuration ({source.name}):"
        for target, value in use.to.items():
            yield f"  {target} = {_origin(use, source, value)}"


def _origin(use: AttributeUse, source: Any, value: str) -> str:
    if source.kind == "static":
        return f"{use.source}.{value}"
    rule = source.fields[value]
    return f"{rule.source}, {rule.type}{'' if rule.required else ', may be missing'}"


def _policy(config: Config, route: RouteSettings) -> Iterator[str]:
    policy = config.policy
    where = f"of {policy.path}" if policy.path else f"in the OPA at {policy.sidecar.address}"
    if policy.bundle is not None:
        where = f"of the policy bundle {policy.bundle.file or policy.bundle.url}"
    yield f"data.{route.policy.replace('/', '.')} {where}."
    if policy.engine == "embedded":
        yield "Evaluated by OPA inside this process."
    else:
        yield f"Evaluated by an OPA that {'extauthz runs' if policy.sidecar.supervise else 'you run'} beside it."
    if policy.compat:
        yield f"Its input and its result are those of {policy.compat} (policy.compat); only a literal true allows."
        return
    yield f"It decides whether `{route.action}` on a `{route.resource.type}` is allowed; only a literal true allows."
    yield from _background(config, route)


def _background(config: Config, route: RouteSettings) -> Iterator[str]:
    """What is different where attributes and policy judge afterwards."""
    if route.evaluation != "async":
        return
    rule = route.judgement or JudgementRule()
    full = "judged at once" if rule.when_full == "sync" else "refused (503)"
    yield "The request goes on at once, with x-extauthz-mode: async; attributes and policy judge it afterwards."
    where = "" if config.judgement is None else f" in the {config.judgement.queue.kind} queue"
    yield f"It waits{where}; when it does not fit there, it is {full}."
    limits = rule.quarantine
    if limits is None:
        yield "A violation is recorded, counted and told; nobody is refused for it."
        return
    scope = "on this route" if limits.scope == "route" else "on every route"
    yield (
        f"Violations by one {limits.by}, {limits.strikes} within {seconds(limits.window)}, have it refused {scope} "
        f"for {seconds(limits.duration)} (403)."
    )


def _reuse(config: Config, route: RouteSettings) -> Iterator[str]:
    cache = config.policy.cache
    if config.policy.compat or not cache.enabled or min(route.cache_ttl, cache.ttl) == 0:
        yield "Not at all."
        return
    yield f"An allow at most {seconds(min(route.cache_ttl, cache.ttl))}."
    yield f"A denial at most {seconds(min(route.cache_ttl, cache.deny_ttl))}."
    yield "Never longer than token, certificate, policy and data stay as they are; the policy may shorten it."
    yield "The credential is verified before a decision is looked up."


_SHED: Final = {"critical": "shed last", "normal": "shed after sheddable routes", "sheddable": "shed first"}


def _failure(config: Config, route: RouteSettings) -> Iterator[str]:
    longest = seconds(config.server.max_deadline)
    if config.policy.compat:
        yield "Refused (503) when a layer before the policy cannot answer."
        yield f"A gRPC error when the policy cannot, or not within {longest}: Envoy's failure_mode_allow decides then."
        return
    yield f"Refused (503) when no decision is made within {longest}, or within Envoy's own timeout if that is shorter."
    for use in route.attributes:
        source = next(source for source in config.attributes.sources if source.name == use.source)
        if isinstance(source, HttpSource) and source.stale_if_error:
            yield f"{source.name} may be replaced by values up to {seconds(source.ttl + source.stale_if_error)} old."
    plan = route.failure_plan.model_dump()
    if set(plan.values()) == {"closed"}:
        yield "It fails closed."
    for part, word in plan.items():
        if word != "closed":
            yield f"Without {PARTS[part]}: {WITHOUT[part, word]}."
    if config.server.admission.enabled:
        yield f"Under overload it is {_SHED[route.shed_as]} (503): it is {route.shed_as}."
    if route.break_glass and config.break_glass is not None:
        most = seconds(config.break_glass.max_duration)
        yield f"A break-glass grant for this route and the caller's subject overrides the policy, at most {most} long."


def _exchanged(route: RouteSettings) -> Iterator[str]:
    wanted = route.exchange
    if wanted is None:
        return
    kind = "an access token" if wanted.kind == "access_token" else "a transaction token (Txn-Token)"
    scopes = f"the scopes {listed(wanted.scopes)}" if wanted.scopes else "the scopes of the one that came"
    purpose = f"the purpose {wanted.purpose}" if wanted.purpose else "the purpose of the one that came"
    yield f"Instead of the token that came: {kind} for {wanted.audience}, in our name, with {scopes} and {purpose}."
    if wanted.audiences or wanted.purposes:
        yield f"The policy may choose {listed((*wanted.audiences, *wanted.purposes), 'or')} instead."
    yield "The token that came never goes on; when no other can be had the request is refused (503, or 403)."


def _answer(route: RouteSettings) -> Iterator[str]:
    yield "x-extauthz-* headers, set here; copies that the client sent are removed."
    if route.policy_headers:
        yield f"{listed(route.policy_headers)}, when the policy sets them."
    if route.token is not None and not route.forward_token:
        yield "No Authorization header: the token stays here."
    yield from _exchanged(route)
