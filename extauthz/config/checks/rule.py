"""What a rule over a whole configuration is, and the registry of them.

A rule is a function `Config → findings`; an `error` refuses the configuration, a piece of `advice` only says something.
`Finding.location` is where the file says it (`("routes", 2, "token")`); the loader turns it into file and line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from extauthz.check.routes import RouteSettings
    from extauthz.config.model import Config

Location: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """`message` says what is wrong, `remedy` what to write instead. Neither repeats a secret."""

    location: Location
    message: str
    remedy: str


Rule: TypeAlias = "Callable[[Config], Iterator[Finding]]"


@dataclass(slots=True)
class Registry:
    """Rules by name, in the order in which they were declared; a name comes once."""

    rules: dict[str, Rule] = field(default_factory=dict)

    def __call__(self, rule: Rule) -> Rule:
        name = rule.__name__
        if name in self.rules:
            raise AssertionError(f"the rule {name} is declared twice")
        self.rules[name] = rule
        return rule

    def findings(self, config: Config) -> Iterator[Finding]:
        for rule in self.rules.values():
            yield from rule(config)


error = Registry()
advice = Registry()


def routes(config: Config) -> Iterator[tuple[Location, RouteSettings]]:
    """Each route with its place in the file."""
    for index, route in enumerate(config.routes):
        yield ("routes", index), route
