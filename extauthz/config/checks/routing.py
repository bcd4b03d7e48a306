"""Rules about routes among themselves: one name, one route; one request, one route; effects need a full decision."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from extauthz.check.routes import VARIABLE
from extauthz.config.checks.rule import Finding, error, routes
from extauthz.config.words import PARTS, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.check.routes import Match
    from extauthz.config.model import Config


@error
def route_names_are_distinct(config: Config) -> Iterator[Finding]:
    """Envoy names a route by its name, and metrics count by it."""
    first: dict[str, int] = {}
    for index, route in enumerate(config.routes):
        if route.name in first:
            yield Finding(
                ("routes", index, "name"),
                f"the route {route.name} is declared twice, first as routes[{first[route.name]}]",
                "give one of them another name",
            )
        first.setdefault(route.name, index)


@error
def one_request_has_one_route(config: Config) -> Iterator[Finding]:
    """Templates have an order (literal, variable, `**`); two routes with the same template need other hosts or methods.

    Otherwise their order in the file would silently decide which policy protects a request.
    """
    seen: dict[str, _Covered] = {}
    for place, route in routes(config):
        if route.match is None or route.caller == "self":  # found by their names only
            continue
        template = VARIABLE.sub("{}", route.match.path)
        covered = seen.setdefault(template, _Covered())
        if other := covered.overlap(route.match):
            yield Finding(
                (*place, "match"),
                f"the routes {other} and {route.name} cover the same requests",
                "narrow hosts, methods or path of one of them",
            )
        covered.add(route.name, route.match)


@dataclass(slots=True)
class _Covered:
    """Routes of one path template, found by host in time that does not depend on their number.

    A suffix starts with a dot: `.example.com` is what `*.example.com` covers.
    """

    any_host: list[tuple[str, Match]] = field(default_factory=list)
    exact: dict[str, list[tuple[str, Match]]] = field(default_factory=dict)
    wild: dict[str, list[tuple[str, Match]]] = field(default_factory=dict)
    below: dict[str, list[tuple[str, Match]]] = field(default_factory=dict)
    """Suffix → routes of the hosts and wildcards below it."""
    everything: list[tuple[str, Match]] = field(default_factory=list)

    def add(self, name: str, match: Match) -> None:
        entry = (name, match)
        self.everything.append(entry)
        if not match.hosts:
            self.any_host.append(entry)
        for host in match.hosts:
            table, key = (self.wild, host[1:]) if host.startswith("*.") else (self.exact, host)
            table.setdefault(key, []).append(entry)
            for suffix in _suffixes(key):
                self.below.setdefault(suffix, []).append(entry)

    def overlap(self, match: Match) -> str:
        """The name of an earlier route that covers one of this one's requests; empty when there is none."""
        return next((name for name, other in self._candidates(match) if _methods_meet(match, other)), "")

    def _candidates(self, match: Match) -> Iterator[tuple[str, Match]]:
        if not match.hosts:
            yield from self.everything
            return
        yield from self.any_host
        for host in match.hosts:
            if host.startswith("*."):
                yield from self.wild.get(host[1:], ())
                yield from self.below.get(host[1:], ())
            else:
                yield from self.exact.get(host, ())
            for suffix in _suffixes(host.removeprefix("*")):
                yield from self.wild.get(suffix, ())


def _suffixes(host: str) -> Iterator[str]:
    """`a.b.c` → `.b.c`, `.c`; `.b.c` → `.c`."""
    start = host.find(".", 1)
    while start > 0:
        yield host[start:]
        start = host.find(".", start + 1)


def _methods_meet(one: Match, other: Match) -> bool:
    return not one.methods or not other.methods or bool(set(one.methods) & set(other.methods))


@error
def effects_are_decided_before(config: Config) -> Iterator[Finding]:
    """DESIGN law 7: money, secrets and outside effects are decided synchronously, for a proven caller, closed on
    failure."""
    for place, route in routes(config):
        if not route.effects:
            continue
        has = f"the route {route.name} has effects ({listed(route.effects)})"
        if route.evaluation != "sync":
            yield Finding((*place, "evaluation"), f"{has} and would be decided afterwards", "write `evaluation: sync`")
        if lenient := [PARTS[part] for part, word in route.failure_plan.model_dump().items() if word != "closed"]:
            what = f"{has} and would go on without {listed(lenient)}"
            yield Finding((*place, "on_failure"), what, "write `on_failure: closed`")
        if route.credential == "none":
            yield Finding(
                (*place, "credential"),
                f"{has} and asks for no credential",
                "write `credential: jwt` with a `token`, or `credential: workload`",
            )


@error
def a_degraded_route_has_something_left(config: Config) -> Iterator[Finding]:
    """`degrade` decides with the last known good policy in this process: there must be one, and another engine that
    may fail without it; attributes can only be missed where there are sources that are waited for."""
    policy = config.policy
    fetched = {source.name for source in config.attributes.sources if source.kind == "http"}
    for place, route in routes(config):
        plan, one_word = route.failure_plan, isinstance(route.on_failure, str)
        where = (*place, "on_failure") if one_word else (*place, "on_failure", "engine")
        if plan.engine == "degrade" and policy.engine == "embedded":
            yield Finding(
                where,
                f"the route {route.name} cannot degrade: the policy is evaluated in this process already",
                "write `engine: closed` or `engine: open`, or set policy.engine to sidecar",
            )
        elif plan.engine == "degrade" and policy.path is None and policy.bundle is None:
            yield Finding(
                where,
                f"the route {route.name} cannot degrade: the policy is known to your OPA alone",
                "name the same policy here, as policy.bundle or policy.path",
            )
        if plan.attributes == "degrade" and not one_word and not fetched & {use.source for use in route.attributes}:
            yield Finding(
                (*place, "on_failure", "attributes"),
                f"the route {route.name} reads no source that is waited for, so nothing can be missed",
                "leave `attributes` out, or read an http source",
            )


@error
def the_plugins_contract_has_no_plan(config: Config) -> Iterator[Finding]:
    """Under `policy.compat` a policy that cannot answer ends the call, and Envoy's own failure mode decides."""
    if not config.policy.compat:
        return
    for place, route in routes(config):
        plan = route.failure_plan
        if {plan.engine, plan.attributes, plan.introspection} != {"closed"}:
            yield Finding(
                (*place, "on_failure"),
                f"the route {route.name} has a failure plan, and {config.policy.compat} knows none",
                "leave it out: Envoy's failure_mode_allow decides, or leave policy.compat out",
            )


@error
def money_and_secrets_name_their_callers(config: Config) -> Iterator[Finding]:
    """A wildcard lets in workloads that do not exist yet."""
    for place, route in routes(config):
        if not {"money", "secrets"} & set(route.effects):
            continue
        for index, pattern in enumerate(route.workloads):
            if "*" in pattern:
                yield Finding(
                    (*place, "workloads", index),
                    f"a wildcard may not open the route {route.name}, which has effects ({listed(route.effects)})",
                    "name each SPIFFE ID",
                )


@error
def resource_ids_are_templates(config: Config) -> Iterator[Finding]:
    """Braces that are no variable would fail at the first request."""
    for place, route in routes(config):
        if re.search(r"[{}]", VARIABLE.sub("", route.resource.id)):
            yield Finding(
                (*place, "resource", "id"),
                "the id has braces that are no path variable",
                "write {name}, with a name that match.path has",
            )
