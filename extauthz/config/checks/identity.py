"""Rules about the server's own identity and what is done with it: it is there where it is needed, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.config.checks.rule import Finding, advice, error, routes
from extauthz.config.words import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.config.checks.rule import Location
    from extauthz.config.model import Config


def _needs(config: Config) -> Iterator[tuple[Location, str]]:
    """Each place that cannot do without an identity of our own, and why."""
    for name, domain in config.workload.trust_domains.items():
        if domain.trust_bundle == "identity":
            yield ("workload", "trust_domains", name, "trust_bundle"), "the bundle is to come with our own identity"
    for index, issuer in enumerate(config.issuers):
        if issuer.jwks.client == "mtls":
            yield ("issuers", index, "jwks", "client"), "the issuer is to be known by our own trust bundle"
        if issuer.introspection is not None and issuer.introspection.client == "mtls":
            yield ("issuers", index, "introspection", "client"), "we are to prove ourselves by a certificate of our own"
    for place, route in routes(config):
        if route.caller == "self":
            yield (*place, "caller"), "the caller is to be our own workload"
        if route.exchange is not None:
            yield (*place, "exchange"), "the token is to be exchanged in our own name"


@error
def own_identity_is_there_where_it_is_needed(config: Config) -> Iterator[Finding]:
    if config.identity is None:
        for place, why in _needs(config):
            yield Finding(place, f"{why}, and we have none", "add `identity`: a socket, or certificate and key")


@error
def exchanges_have_a_token_service(config: Config) -> Iterator[Finding]:
    for place, route in routes(config):
        if route.exchange is not None and config.sts is None:
            yield Finding((*place, "exchange"), "there is no token service to ask", "add `sts` with its `url`")


@error
def compatible_policies_exchange_nothing(config: Config) -> Iterator[Finding]:
    """A policy written for opa-envoy-plugin writes the whole answer itself."""
    for place, route in routes(config):
        if route.exchange is not None and config.policy.compat:
            yield Finding(
                (*place, "exchange"), "policy.compat leaves no room for an exchange", "remove policy.compat or this"
            )


@error
def exchanges_fit_into_a_check(config: Config) -> Iterator[Finding]:
    if config.sts is not None and config.sts.timeout >= config.server.max_deadline:
        yield Finding(
            ("sts", "timeout"),
            f"an exchange may take {seconds(config.sts.timeout)}, a Check {seconds(config.server.max_deadline)}",
            f"write less than {seconds(config.server.max_deadline)}",
        )


@advice
def token_service_is_used(config: Config) -> Iterator[Finding]:
    if config.sts is not None and all(route.exchange is None for route in config.routes):
        yield Finding(("sts",), "no route exchanges a token", "give a route an `exchange`, or remove this")
