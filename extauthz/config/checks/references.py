"""Rules about names: each is declared once, and what a route names is there."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from extauthz.config.checks.rule import Finding, error, routes
from extauthz.config.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from extauthz.config.model import Config


@error
def issuers_are_distinct(config: Config) -> Iterator[Finding]:
    """A token names its issuer by `iss`; two entries for one would make the choice of keys ambiguous."""
    names: set[str] = set()
    issuers: dict[str, str] = {}
    for index, issuer in enumerate(config.issuers):
        if issuer.name in names:
            yield Finding(("issuers", index, "name"), f"two issuers are called {issuer.name}", "rename one of them")
        elif issuer.issuer in issuers:
            yield Finding(
                ("issuers", index, "issuer"),
                f"the issuers {issuers[issuer.issuer]} and {issuer.name} have the same `iss`",
                "keep one entry for each `iss`",
            )
        names.add(issuer.name)
        issuers.setdefault(issuer.issuer, issuer.name)


@error
def routes_name_known_issuers(config: Config) -> Iterator[Finding]:
    known = {issuer.name for issuer in config.issuers}
    for place, route in routes(config):
        for index, name in enumerate(route.token.issuers if route.token else ()):
            if name not in known:
                yield Finding(
                    (*place, "token", "issuers", index),
                    f"no issuer is called {name}",
                    _instead(name, known, "issuers"),
                )


@error
def routes_name_known_sources(config: Config) -> Iterator[Finding]:
    sources = {source.name: source for source in config.attributes.sources}
    for place, route in routes(config):
        for index, use in enumerate(route.attributes):
            here = (*place, "attributes", index)
            source = sources.get(use.source)
            if source is None:
                yield Finding(
                    (*here, "source"),
                    f"no attribute source is called {use.source}",
                    _instead(use.source, sources, "attributes.sources"),
                )
                continue
            values = source.values if source.kind == "static" else source.fields
            for target, value in use.to.items():
                if value not in values:
                    yield Finding(
                        (*here, "to", target),
                        f"the source {use.source} has no value called {value}",
                        f"it has {listed(sorted(values))}",
                    )


@error
def routes_have_a_policy(config: Config) -> Iterator[Finding]:
    """Without a policy every request would end as `engine.undefined`."""
    own_opa = config.policy.engine == "sidecar" and not config.policy.sidecar.supervise
    if config.routes and config.policy.path is None and config.policy.bundle is None and not own_opa:
        yield Finding(
            ("policy", "path"),
            "there are routes, but no policy",
            "name the directory of the policy or a policy bundle, or set policy.sidecar.supervise to false and name an"
            " OPA of your own",
        )


def _instead(name: str, known: Iterable[str], block: str) -> str:
    names = sorted(known)
    if near := get_close_matches(name, names, n=1, cutoff=0.6):
        return f"did you mean `{near[0]}`?"
    return f"declare it under {block}" + (f", or use {listed(names, 'or')}" if names else "")
