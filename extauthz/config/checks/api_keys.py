"""Rules about API keys: they are for what does no harm, and somebody lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.config.checks.rule import Finding, advice, error, routes
from extauthz.config.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.config.model import Config


@error
def api_keys_cause_no_effects(config: Config) -> Iterator[Finding]:
    """A key is a secret at rest that whoever copies it can use: no money moves by it."""
    for place, route in routes(config):
        if route.credential == "api_key" and route.effects:
            yield Finding(
                (*place, "credential"),
                f"the route {route.name} has effects ({listed(route.effects)}), and an API key is not enough for that",
                "write `credential: jwt` with a `token`, or `credential: workload`",
            )


@error
def api_keys_are_listed(config: Config) -> Iterator[Finding]:
    for place, route in routes(config):
        if route.credential == "api_key" and config.api_keys.file is None:
            yield Finding(
                (*place, "credential"),
                f"the route {route.name} takes API keys, and none are listed",
                "name a file in `api_keys.file`; `extauthz api-key new` prints its rows",
            )


@advice
def api_keys_are_taken_somewhere(config: Config) -> Iterator[Finding]:
    if config.api_keys.file is not None and not any(route.credential == "api_key" for route in config.routes):
        yield Finding(
            ("api_keys", "file"), "no route takes API keys", "write `credential: api_key` on a route, or remove it"
        )
