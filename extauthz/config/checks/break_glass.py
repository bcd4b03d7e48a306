"""Rules about break-glass: who may override is known, and a grant is never taken for a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.authn.break_glass import read_keys
from extauthz.authn.files import WatchedFile
from extauthz.config.checks.rule import Finding, advice, error, routes
from extauthz.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.config.model import Config


@error
def break_glass_has_its_section(config: Config) -> Iterator[Finding]:
    for place, route in routes(config):
        if not route.break_glass:
            continue
        if config.break_glass is None:
            yield Finding(
                (*place, "break_glass"),
                f"nobody may issue break-glass grants for the route {route.name}",
                "add a `break_glass` section with `keys` and `audience`, or remove the word",
            )
        if config.policy.compat:
            yield Finding(
                (*place, "break_glass"),
                f"the route {route.name} answers with the policy's own response, which no grant overrides",
                "remove `break_glass` from it",
            )


@error
def break_glass_has_an_issuer_of_its_own(config: Config) -> Iterator[Finding]:
    """Neither kind is accepted as the other anyway; names that are the same would only help an attacker."""
    if config.break_glass is not None and config.break_glass.issuer in {one.issuer for one in config.issuers}:
        yield Finding(
            ("break_glass", "issuer"),
            f"{config.break_glass.issuer} also issues tokens",
            "give the grants an issuer of their own",
        )


@advice
def break_glass_is_for_some_route(config: Config) -> Iterator[Finding]:
    if config.break_glass is not None and not any(route.break_glass for route in config.routes):
        yield Finding(("break_glass",), "no route can be opened", "write `break_glass: true` on a route")


@advice
def break_glass_keys_can_be_read(config: Config) -> Iterator[Finding]:
    """A server does not start without them; this says it before."""
    if config.break_glass is None or not config.break_glass.keys.is_file():  # another rule tells of that
        return
    try:
        read_keys(WatchedFile(config.break_glass.keys).changed() or b"", config.break_glass.keys)
    except ConfigError as refused:
        for problem in refused.problems:
            yield Finding(("break_glass", "keys"), f"{problem.file} {problem.message}", problem.remedy)
