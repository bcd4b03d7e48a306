"""Rules about trust: who may call is sayable, what proves it can be had, and nothing is remembered beyond it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.config.checks.rule import Finding, error, routes
from extauthz.config.words import listed, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.config.model import Config

STALE_KEYS: Final = 3600.0
"""How old an issuer's keys may get on a route with effects while the issuer is away (SECURITY-TESTS D)."""


@error
def workloads_are_of_trusted_domains(config: Config) -> Iterator[Finding]:
    """A pattern of a domain that is not trusted would match nobody without saying so."""
    known = config.workload.trust_domains
    places = [
        ((*place, "workloads", index), pattern)
        for place, route in routes(config)
        for index, pattern in enumerate(route.workloads)
    ]
    places += [
        (("workload", "registered", index), pattern) for index, pattern in enumerate(config.workload.registered or ())
    ]
    for place, pattern in places:
        domain = pattern.removeprefix("spiffe://").partition("/")[0]
        if domain not in known:
            instead = f", or use {listed(sorted(known), 'or')}" if known else ""
            yield Finding(
                place, f"the trust domain {domain} is not trusted", f"add it under workload.trust_domains{instead}"
            )


@error
def public_routes_do_not_pretend(config: Config) -> Iterator[Finding]:
    """On a public route nobody has to show a workload, so a list of them keeps nobody out."""
    for place, route in routes(config):
        if route.public and route.workloads:
            yield Finding(
                (*place, "workloads"),
                f"the route {route.name} is public: its list of workloads keeps nobody out",
                "remove `public`, or remove `workloads`",
            )


@error
def bound_tokens_have_a_certificate_to_meet(config: Config) -> Iterator[Finding]:
    """`binding: required` compares the token with the peer's certificate: there must be one."""
    certificate = config.workload.require_certificate or config.workload.xfcc != "ignore"
    for place, route in routes(config):
        if route.token is None or route.token.binding != "required":
            continue
        here = (*place, "token", "binding")
        if not config.workload.trust_domains:
            yield Finding(
                here, "no trust domain is known, so no caller has a certificate", "add one to workload.trust_domains"
            )
        elif not route.public and not route.workloads:
            yield Finding(here, "no workload may call this route", "name the callers in `workloads`")
        elif not certificate:
            yield Finding(
                here,
                "callers need not show a certificate that the token could be bound to",
                "set workload.require_certificate to true, or workload.xfcc to last",
            )


@error
def decisions_do_not_outlive_tokens(config: Config) -> Iterator[Finding]:
    """DESIGN law 2: a decision is kept no longer than any token that it can rest on."""
    lifetimes = {issuer.name: issuer.max_lifetime for issuer in config.issuers}
    for place, route in routes(config):
        names = route.token.issuers if route.token else ()
        trust = min((lifetimes[name] for name in names if name in lifetimes), default=None)
        if trust is not None and route.cache_ttl > trust:
            yield Finding(
                (*place, "cache_ttl"),
                f"decisions are kept {seconds(route.cache_ttl)}, tokens live at most {seconds(trust)}",
                f"write at most {seconds(trust)}",
            )


@error
def denials_are_kept_shorter(config: Config) -> Iterator[Finding]:
    """Someone who has just been given a permission should not wait longer than someone who has lost one."""
    cache = config.policy.cache
    if cache.enabled and cache.deny_ttl > cache.ttl:
        yield Finding(
            ("policy", "cache", "deny_ttl"),
            f"denials are kept {seconds(cache.deny_ttl)}, longer than allows ({seconds(cache.ttl)})",
            f"write at most {seconds(cache.ttl)}",
        )


@error
def leeway_is_less_than_a_life(config: Config) -> Iterator[Finding]:
    """A token that is forgiven for longer than it lives never expires in time."""
    for index, issuer in enumerate(config.issuers):
        if issuer.leeway >= issuer.max_lifetime:
            yield Finding(
                ("issuers", index, "leeway"),
                f"the leeway of {seconds(issuer.leeway)} is not below the longest life, {seconds(issuer.max_lifetime)}",
                f"write less than {seconds(issuer.max_lifetime)}",
            )


@error
def effects_rest_on_fresh_and_protected_keys(config: Config) -> Iterator[Finding]:
    """On a route with effects, keys come over TLS (or the loopback), and are not served stale for long."""
    accepted = {name: route for route in config.routes if route.effects and route.token for name in route.token.issuers}
    for index, issuer in enumerate(config.issuers):
        route = accepted.get(issuer.name)
        if route is None:
            continue
        has = f"the route {route.name} has effects ({listed(route.effects)})"
        if issuer.jwks.unsafe_http:
            yield Finding(
                ("issuers", index, "jwks", "unsafe_http"),
                f"{has}, and whoever changes this traffic could issue its tokens",
                "remove unsafe_http and use https",
            )
        if issuer.jwks.file is None and issuer.jwks.stale_if_error > STALE_KEYS:
            yield Finding(
                ("issuers", index, "jwks", "stale_if_error"),
                f"{has}, and keys would serve {seconds(issuer.jwks.stale_if_error)} without the issuer",
                f"write at most {seconds(STALE_KEYS)}",
            )


@error
def effects_rest_on_whole_identities(config: Config) -> Iterator[Finding]:
    """Without the peer's certificate neither its expiry nor its profile is checked."""
    callers = [route for route in config.routes if route.effects and not route.public]
    if not callers:
        return
    has = f"the route {callers[0].name} has effects ({listed(callers[0].effects)})"
    for key in ("require_certificate", "require_svid_profile"):
        if not getattr(config.workload, key):
            yield Finding(
                ("workload", key), f"{has}, and its callers' certificates would not be checked", f"write `{key}: true`"
            )
