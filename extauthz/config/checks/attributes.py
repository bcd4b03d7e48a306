"""Rules about attributes: what a route reads can be had, in time, from where it may come."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from extauthz.attributes.settings import TEMPLATE_VARIABLE, HttpSource, RequestSource
from extauthz.check.routes import VARIABLE
from extauthz.config.checks.rule import Finding, Location, error, routes
from extauthz.config.words import is_loopback, listed, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.attributes.settings import AttributeUse, SourceSettings
    from extauthz.check.routes import RouteSettings
    from extauthz.config.model import Config

_PATH = "path"


def _uses(config: Config) -> Iterator[tuple[Location, RouteSettings, AttributeUse, SourceSettings]]:
    """Each use of a known source."""
    sources = {source.name: source for source in config.attributes.sources}
    for place, route in routes(config):
        for index, use in enumerate(route.attributes):
            if use.source in sources:
                yield (*place, "attributes", index), route, use, sources[use.source]


@error
def a_property_has_one_origin(config: Config) -> Iterator[Finding]:
    """Two values for one property, or one inside another, would depend on the order of the sources."""
    for place, route in routes(config):
        issuers = [config.issuer(name) for name in (route.token.issuers if route.token else ())]
        claims = {name for issuer in issuers if issuer is not None for name in issuer.claims}
        taken = {f"subject.properties.{name}": "a verified claim" for name in claims}
        for index, use in enumerate(route.attributes):
            for target in use.to:
                clash = next((old for old in taken if _contains(old, target) or _contains(target, old)), None)
                if clash is not None:
                    yield Finding(
                        (*place, "attributes", index, "to", target),
                        f"{clash} is already filled by {taken[clash]}",
                        "keep one of them",
                    )
                taken.setdefault(target, f"the source {use.source}")


def _contains(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(f"{outer}.")


@error
def callers_do_not_describe_themselves(config: Config) -> Iterator[Finding]:
    """What a request says is the caller's word; a property of the subject is ours."""
    for here, _, use, source in _uses(config):
        if not isinstance(source, RequestSource):
            continue
        for target in use.to:
            if target.startswith("subject."):
                yield Finding(
                    (*here, "to", target),
                    f"the source {source.name} takes values from the request; they never become subject properties",
                    "use resource.properties or context.properties",
                )


@error
def path_variables_exist(config: Config) -> Iterator[Finding]:
    """A value that is taken from a path variable needs a route whose template has it."""
    for here, route, use, source in _uses(config):
        have = set(VARIABLE.findall(route.match.path)) if route.match else set()
        if lacking := sorted(_path_variables(use, source) - have):
            yield Finding(
                (*here, "source"),
                f"the source {source.name} needs the path {_variables(lacking)}, which {route.name} does not have",
                "name it in the route's match.path",
            )


def _variables(names: list[str]) -> str:
    return f"{'variables' if len(names) > 1 else 'variable'} {listed(f'{{{name}}}' for name in names)}"


def _path_variables(use: AttributeUse, source: SourceSettings) -> set[str]:
    if isinstance(source, RequestSource):
        pickers = (source.fields[value].source for value in use.to.values() if value in source.fields)
        return {name for kind, _, name in (picker.partition(":") for picker in pickers) if kind == _PATH}
    return {name for scope, name in _template(source) if scope == _PATH}


def _template(source: SourceSettings) -> set[tuple[str, str]]:
    """(`subject`, `claims.x`), (`path`, `id`) …: what an HTTP source's URL and body name."""
    if not isinstance(source, HttpSource):
        return set()
    names = {name for text in (source.url, *source.body.values()) for name in TEMPLATE_VARIABLE.findall(text)}
    return {(scope, rest) for scope, _, rest in (name.partition(".") for name in names)}


@error
def questions_to_sources_can_be_asked(config: Config) -> Iterator[Finding]:
    """A URL that names the subject, the workload or the resource's id needs a route that has one."""
    for here, route, _, source in _uses(config):
        scopes = _template(source)
        lacking = []
        if route.credential == "none" and any(scope == "subject" for scope, _ in scopes):
            lacking.append(("a subject", "write `credential: jwt` with a `token`"))
        elif route.credential == "workload" and any(rest.startswith("claims.") for _, rest in scopes):
            lacking.append(("a token's claims", "write `credential: jwt` with a `token`"))
        if route.public and any(scope == "workload" for scope, _ in scopes):
            lacking.append(("a workload", "write `public: false` and name `workloads`"))
        if not route.resource.id and ("resource", "id") in scopes:
            lacking.append(("a resource id", "give the route's resource an `id`"))
        for what, remedy in lacking:
            yield Finding(
                (*here, "source"), f"the source {source.name} needs {what}, and route {route.name} has none", remedy
            )


@error
def sources_answer_within_the_deadline(config: Config) -> Iterator[Finding]:
    """A source that may take the whole Check leaves no time for the policy."""
    deadline = config.server.max_deadline
    for index, source in enumerate(config.attributes.sources):
        if isinstance(source, HttpSource) and source.timeout >= deadline:
            yield Finding(
                ("attributes", "sources", index, "timeout"),
                f"the source {source.name} may take {seconds(source.timeout)}, a whole Check {seconds(deadline)}",
                f"write less than {seconds(deadline)}, or raise server.max_deadline and Envoy's timeout",
            )


@error
def sources_are_asked_over_tls(config: Config) -> Iterator[Finding]:
    """Whoever can change a source's answer decides with it."""
    steering = {source.name for _, route, _, source in _uses(config) if route.effects}
    for index, source in enumerate(config.attributes.sources):
        if not isinstance(source, HttpSource) or source.name not in steering:
            continue
        url = urlsplit(source.url)
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            yield Finding(
                ("attributes", "sources", index, "url"),
                f"the source {source.name} decides about a route with effects over plain http to another host",
                "use https, or a proxy on the loopback",
            )


@error
def money_and_secrets_need_fresh_attributes(config: Config) -> Iterator[Finding]:
    """An old answer in place of a failed source is a way of failing open."""
    reported = set()
    for _, route, _, source in _uses(config):
        if not isinstance(source, HttpSource) or not source.stale_if_error or source.name in reported:
            continue
        if {"money", "secrets"} & set(route.effects):
            reported.add(source.name)
            index = config.attributes.sources.index(source)
            yield Finding(
                ("attributes", "sources", index, "stale_if_error"),
                f"the route {route.name} has effects ({listed(route.effects)}) and would be decided by old values",
                "write `stale_if_error: 0s`, or give the route a source of its own",
            )


@error
def subjects_are_not_remembered_beyond_their_tokens(config: Config) -> Iterator[Finding]:
    """What is known of a subject is kept no longer than any token that can name it."""
    lifetimes = {issuer.name: issuer.max_lifetime for issuer in config.issuers}
    reported = set()
    for _, route, use, source in _uses(config):
        if not isinstance(source, HttpSource) or source.name in reported or route.token is None:
            continue
        if not any(target.startswith("subject.") for target in use.to):
            continue
        trust = min((lifetimes[name] for name in route.token.issuers if name in lifetimes), default=None)
        kept = source.ttl + source.stale_if_error
        if trust is not None and kept > trust:
            reported.add(source.name)
            index = config.attributes.sources.index(source)
            yield Finding(
                ("attributes", "sources", index, "ttl"),
                f"subject properties are kept {seconds(kept)}, tokens on route {route.name} live at most"
                f" {seconds(trust)}",
                f"keep ttl and stale_if_error together within {seconds(trust)}",
            )
