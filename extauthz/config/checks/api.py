"""Rules about the HTTP API and the candidate policy: who can reach them, and what they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.config.checks.rule import Finding, error
from extauthz.config.words import is_loopback
from extauthz.transport.settings import host_port, unix_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.authn.access import AccessSettings
    from extauthz.config.checks.rule import Location
    from extauthz.config.model import Config


def doors(config: Config) -> Iterator[tuple[Location, AccessSettings]]:
    """Each endpoint of the HTTP API that is configured, with its place in the file."""
    for name in ("authzen", "decisions", "rollout"):
        settings = getattr(config.api, name)
        if settings is not None:
            yield ("api", name), settings


@error
def api_tokens_are_of_known_issuers(config: Config) -> Iterator[Finding]:
    known = {issuer.name for issuer in config.issuers}
    for place, door in doors(config):
        if door.token is None:
            continue
        if not door.token.issuers:
            yield Finding((*place, "token", "issuers"), "no issuer is accepted, so nobody can ask", "name an issuer")
        for index, name in enumerate(door.token.issuers):
            if name not in known:
                yield Finding(
                    (*place, "token", "issuers", index), f"no issuer is called {name}", "declare it under issuers"
                )


@error
def api_tokens_travel_protected(config: Config) -> Iterator[Finding]:
    """The HTTP listener speaks clear text: a token that crosses the network on it can be taken and used."""
    if unix_path(config.server.http) or is_loopback(host_port(config.server.http)[0]):
        return
    for place, door in doors(config):
        if door.token is not None:
            yield Finding(
                (*place, "token"),
                "the HTTP listener takes clear text from other hosts, and tokens with it",
                "listen on 127.0.0.1 or unix:///path in server.http, behind an Envoy that terminates TLS",
            )


@error
def local_callers_come_through_a_unix_socket(config: Config) -> Iterator[Finding]:
    for place, door in doors(config):
        if door.local and not unix_path(config.server.http):
            yield Finding(
                (*place, "local"),
                "server.http is no Unix socket, so no caller is known to be local",
                "write server.http: unix:///path, or ask for a token",
            )


@error
def candidates_run_on_engines_of_ours(config: Config) -> Iterator[Finding]:
    """An OPA of the operator's own has one policy, and we do not put another into it."""
    policy = config.policy
    if policy.candidate is not None and policy.engine == "sidecar" and not policy.sidecar.supervise:
        yield Finding(
            ("policy", "candidate"),
            "extauthz does not run the OPA of policy.sidecar.address, so it cannot run a candidate beside it",
            "set policy.sidecar.supervise to true, or policy.engine to embedded",
        )


@error
def candidates_are_tried_on_known_routes(config: Config) -> Iterator[Finding]:
    candidate = config.policy.candidate
    known = {route.name for route in config.routes}
    for index, name in enumerate(candidate.routes if candidate else ()):
        if name not in known:
            yield Finding(
                ("policy", "candidate", "routes", index), f"no route is called {name}", "name a route, or leave it out"
            )
