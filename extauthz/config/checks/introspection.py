"""Rules about asking issuers: who is asked is never a guess, and there is somebody to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.config.checks.api import doors
from extauthz.config.checks.rule import Finding, advice, error, routes
from extauthz.config.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.authn.settings import TokenRule
    from extauthz.config.checks.rule import Location
    from extauthz.config.model import Config


def _rules(config: Config) -> Iterator[tuple[Location, TokenRule]]:
    """Every token rule with its place: routes and the HTTP API."""
    found = [(place, route.token) for place, route in routes(config)]
    found += [(place, door.token) for place, door in doors(config)]
    for place, rule in found:
        if rule is not None:
            yield (*place, "token"), rule


@error
def opaque_tokens_have_one_issuer_to_ask(config: Config) -> Iterator[Finding]:
    """An opaque token does not say whose it is; asking several issuers would show each the others' tokens."""
    able = {issuer.name for issuer in config.issuers if issuer.introspection is not None}
    for place, rule in _rules(config):
        asked = [name for name in rule.issuers if name in able]
        if rule.introspect == "opaque" and len(asked) != 1:
            named = f"{listed(asked)} could all be asked" if asked else "none of its issuers has `introspection`"
            yield Finding(
                (*place, "introspect"),
                f"opaque tokens need exactly one issuer that can be asked about them: {named}",
                "name exactly one issuer with `introspection` in `issuers`",
            )


@error
def every_issuer_can_be_asked_where_it_must(config: Config) -> Iterator[Finding]:
    able = {issuer.name for issuer in config.issuers if issuer.introspection is not None}
    for place, rule in _rules(config):
        mute = [name for name in rule.issuers if name not in able]
        if rule.introspect == "always" and mute:
            yield Finding(
                (*place, "introspect"),
                f"every token is to be introspected, and {listed(mute)} has no `introspection`",
                "give the issuer one, or write `introspect: opaque`",
            )


@error
def effects_rest_on_protected_answers(config: Config) -> Iterator[Finding]:
    """On a route with effects, whoever changes the answers would be whom they like."""
    accepted = {
        name: route
        for route in config.routes
        if route.effects and route.token and route.token.introspect != "never"
        for name in route.token.issuers
    }
    for index, issuer in enumerate(config.issuers):
        route = accepted.get(issuer.name)
        if route is not None and issuer.introspection is not None and issuer.introspection.unsafe_http:
            yield Finding(
                ("issuers", index, "introspection", "unsafe_http"),
                f"the route {route.name} has effects ({listed(route.effects)}), and this traffic is unprotected",
                "remove unsafe_http and use https",
            )


@advice
def introspection_is_used(config: Config) -> Iterator[Finding]:
    """A client secret that nobody needs."""
    used = {name for _, rule in _rules(config) if rule.introspect != "never" for name in rule.issuers}
    for index, issuer in enumerate(config.issuers):
        if issuer.introspection is not None and issuer.name not in used:
            yield Finding(
                ("issuers", index, "introspection"),
                f"no route asks the issuer {issuer.name} about tokens",
                "write `introspect: opaque` or `introspect: always` at a route's token, or remove this",
            )
