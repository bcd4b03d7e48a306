"""What a Check server's configuration opens, and whose word it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from extauthz.config.words import listed, seconds
from extauthz.inventory.callers import meets
from extauthz.inventory.model import ANYONE, Path, Trust

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from extauthz.authn.settings import IssuerSettings, JwksSettings
    from extauthz.check.routes import RouteSettings
    from extauthz.inventory.files import Source

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_READING: Final = frozenset({"read", "get", "list", "view", "search", "download", "export", "query"})
_LONGEST: Final = 366 * 86400.0
"""No API key lives longer (`authn.api_key_file`)."""


def paths(source: Source, minted: Mapping[str, tuple[str, float]]) -> Iterator[Path]:
    """One a route. `minted`: as `issuing.minted` says."""
    config = source.config
    for route in config.routes:
        issuers = [issuer for name in (route.token.issuers if route.token else ()) if (issuer := config.issuer(name))]
        domains = tuple(f"spiffe://{name}" for name in sorted(config.workload.trust_domains))
        by, lifetime = _minters(route, issuers, minted, domains)
        rule = route.token
        yield Path(
            server=source.name,
            route=route.name,
            callers=(ANYONE,) if route.public else route.workloads,
            through=route.caller,
            credential=route.credential,
            kinds=_kinds(route),
            issuers=domains if route.credential == "workload" else tuple(issuer.issuer for issuer in issuers),
            minted_by=by,
            lifetime=lifetime,
            audiences=rule.audiences if rule else (),
            scopes=rule.scopes if rule else (),
            purposes=rule.purposes if rule else (),
            binding=rule.binding if rule else "",
            introspect=rule.introspect if rule else "",
            step_up=_step_up(route),
            action=route.action,
            resource=route.resource.type,
            access=_access(route),
            effects=route.effects,
            service=route.service,
            policy=route.policy,
            request=_request(route),
            upstream=_upstream(route),
        )


def trust(source: Source) -> Iterator[Trust]:
    """Everybody whose word the server takes."""
    config, name = source.config, source.name
    for domain, settings in config.workload.trust_domains.items():
        bundle = settings.trust_bundle
        by = (
            "Envoy's check alone"
            if bundle is None
            else "the server's own identity"
            if bundle == "identity"
            else "a file"
        )
        yield Trust(name, "trust domain", f"spiffe://{domain}", by)
    for issuer in config.issuers:
        yield Trust(name, "issuer", issuer.issuer, _keys(issuer.jwks))
        if issuer.introspection is not None:
            client = "mTLS" if issuer.introspection.client == "mtls" else "a client secret"
            yield Trust(name, "introspection", issuer.introspection.url, f"asked with {client}")
    yield from _revocations(source)
    if config.sts is not None:
        yield Trust(name, "token service", config.sts.url, "mTLS, its SPIFFE ID")
    yield from _answers(source)


def _revocations(source: Source) -> Iterator[Trust]:
    config, name = source.config, source.name
    if config.revocation.feed is not None:
        yield Trust(name, "revocations", config.revocation.feed.url, "long poll")
    if config.revocation.redis is not None:
        yield Trust(name, "revocations", config.revocation.redis.url, "Redis")
    if config.revocation.file is not None:
        yield Trust(name, "revocations", "a file", "read again when it changes")
    if config.api_keys.file is not None:
        yield Trust(name, "API keys", "a file", f"{len(source.api_keys)} keys")


def _answers(source: Source) -> Iterator[Trust]:
    """Whose answers go into a decision."""
    config, name = source.config, source.name
    for attributes in config.attributes.sources:
        if attributes.kind == "http":
            yield Trust(name, "attribute source", attributes.url, attributes.name)
    bundle_settings = config.policy.bundle
    if bundle_settings is not None and bundle_settings.url:
        by = listed(key.id for key in bundle_settings.keys)
        yield Trust(name, "policy", bundle_settings.url, f"signed by {by}" if by else "unsigned")


def _minters(
    route: RouteSettings,
    issuers: list[IssuerSettings],
    minted: Mapping[str, tuple[str, float]],
    domains: tuple[str, ...],
) -> tuple[tuple[str, ...], float | None]:
    """Who makes the credential, and for how many seconds at most."""
    if route.credential == "api_key":
        return ("an operator",), _LONGEST
    if route.credential == "workload":
        lives = [life for who, (_, life) in minted.items() if any(meets(who, caller) for caller in route.workloads)]
        return tuple(minted[domain][0] if domain in minted else domain for domain in domains), max(lives, default=None)
    by = tuple(minted[one.issuer][0] if one.issuer in minted else one.issuer for one in issuers)
    lives = [min(one.max_lifetime, minted.get(one.issuer, ("", one.max_lifetime))[1]) for one in issuers]
    return by, max(lives, default=None)


def _kinds(route: RouteSettings) -> tuple[str, ...]:
    if route.token is not None:
        return ("jwt",) if route.token.introspect == "never" else ("jwt", "opaque")
    return () if route.credential == "none" else (route.credential,)


def _step_up(route: RouteSettings) -> tuple[str, ...]:
    rule = route.token
    if rule is None:
        return ()
    return (*rule.acr, *(() if rule.max_age is None else (f"within {seconds(rule.max_age)}",)))


def _access(route: RouteSettings) -> Literal["read", "write", "call"]:
    """`call`: our own service's way to another zone; `read` where the method or the action's verb says so."""
    if route.caller == "self":
        return "call"
    methods = set(route.match.methods) if route.match else set()
    verb = route.action.rpartition(".")[2]
    return "read" if verb in _READING or (methods and methods <= _READS) else "write"


def _request(route: RouteSettings) -> str:
    match = route.match
    if match is None:
        return "what Envoy sends by the route's name"
    hosts = f" on {listed(match.hosts, 'or')}" if match.hosts else ""
    return f"{'|'.join(match.methods) or 'any'} {match.path}{hosts}"


def _upstream(route: RouteSettings) -> str:
    if route.exchange is not None:
        kind = "a transaction token" if route.exchange.kind == "transaction_token" else "a token"
        return f"{kind} for {listed((route.exchange.audience, *route.exchange.audiences), 'or')}"
    return "the same token" if route.token is not None and route.forward_token else "no token"


def _keys(jwks: JwksSettings) -> str:
    if jwks.file is not None:
        return "keys in a file"
    if jwks.discovery:
        return "keys by discovery"
    return f"keys at {jwks.url}" + (", mTLS" if jwks.client == "mtls" else "")
