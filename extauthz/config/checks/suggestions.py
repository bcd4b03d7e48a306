"""Advice: odd, but safe. `extauthz config check` prints it; loading does not look at it.

Some of it looks at the files that the configuration names, on the machine where the check runs.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.config.checks.rule import Finding, advice, routes
from extauthz.config.files import named_files
from extauthz.config.words import listed, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.config.model import Config

_PACKAGE: Final = re.compile(r"^package[ \t]+([A-Za-z_][\w.]*)[ \t]*(?:#.*)?$", re.MULTILINE)
_MAX_POLICY_FILE: Final = 4 * 1024 * 1024
_MAX_ENTRIES: Final = 100_000


@advice
def nothing_is_declared_in_vain(config: Config) -> Iterator[Finding]:
    """An unused issuer is trust that nobody needs."""
    issuers = {name for route in config.routes if route.token for name in route.token.issuers}
    for index, issuer in enumerate(config.issuers):
        if issuer.name not in issuers:
            yield Finding(("issuers", index, "name"), f"no route accepts the issuer {issuer.name}", "remove it")
    sources = {use.source for route in config.routes for use in route.attributes}
    for index, source in enumerate(config.attributes.sources):
        if source.name not in sources:
            yield Finding(
                ("attributes", "sources", index, "name"), f"no route reads the source {source.name}", "remove it"
            )


@advice
def every_route_lets_somebody_in(config: Config) -> Iterator[Finding]:
    for place, route in routes(config):
        if not route.public and not route.workloads:
            yield Finding(
                (*place, "workloads"),
                f"nobody may call the route {route.name}",
                "name SPIFFE IDs in `workloads`, or write `public: true` for callers without one",
            )
        if route.token and not route.token.issuers:
            yield Finding(
                (*place, "token", "issuers"), f"the route {route.name} accepts no issuer's tokens", "name an issuer"
            )


@advice
def anonymous_callers_are_meant(config: Config) -> Iterator[Finding]:
    for place, route in routes(config):
        if route.public and route.credential == "none":
            yield Finding(
                (*place, "credential"),
                f"anybody may call the route {route.name}; only its policy decides",
                "write `credential: jwt` with a `token`, unless this is meant",
            )


@advice
def the_environment_is_named(config: Config) -> Iterator[Finding]:
    """Without a name of its own the server can admit only workloads that name no environment either."""
    wanted = any(route.workloads for route in config.routes)
    if wanted and not config.environment and not config.workload.environments:
        yield Finding(
            ("environment",),
            "the server has no environment, so workloads of any environment are refused",
            "write for example `environment: prod`, or list workload.environments",
        )


@advice
def tokens_say_what_they_are(config: Config) -> Iterator[Finding]:
    """RFC 8725 section 3.11: without `typ` an ID token can pass for an access token."""
    for index, issuer in enumerate(config.issuers):
        if "absent" in issuer.types:
            yield Finding(
                ("issuers", index, "types"),
                f"tokens of {issuer.name} without a `typ` are accepted, so ID tokens may pass for access tokens",
                "have the issuer set `typ: at+jwt` (RFC 9068)",
            )


@advice
def effects_can_be_stopped(config: Config) -> Iterator[Finding]:
    names = [route.name for route in config.routes if route.effects and route.token]
    if names and config.revocation.file is None and not config.revocation.remote:
        yield Finding(
            ("revocation", "file"),
            f"tokens cannot be revoked before they expire; routes with effects: {listed(names)}",
            "name a revocation feed, redis or file",
        )


@advice
def the_feed_knows_who_asks(config: Config) -> Iterator[Finding]:
    """The authority tells revocations to workloads that it knows, and to nobody else."""
    if config.revocation.feed is not None and config.identity is None:
        yield Finding(
            ("revocation", "feed"),
            "the feed is asked without a certificate, which the authority refuses",
            "configure `identity`",
        )


@advice
def cache_times_take_effect(config: Config) -> Iterator[Finding]:
    cache = config.policy.cache
    for place, route in routes(config):
        if "cache_ttl" not in route.model_fields_set or not cache.enabled:
            continue
        if route.cache_ttl > cache.ttl:
            yield Finding(
                (*place, "cache_ttl"),
                f"decisions are kept {seconds(cache.ttl)} at most, by policy.cache.ttl",
                f"write at most {seconds(cache.ttl)}",
            )


@advice
def files_are_there(config: Config) -> Iterator[Finding]:
    for location, path in named_files(config):
        try:
            present = path.exists()
        except (OSError, ValueError):
            present = False
        if not present:
            yield Finding(location, "there is no such file here", "create it, or correct the path")


@advice
def entrypoints_have_a_package(config: Config) -> Iterator[Finding]:
    """`extauthz/payments/decision` is the rule `decision` of the package `extauthz.payments`."""
    if config.policy.path is None or not config.policy.path.is_dir():
        return
    packages = set(_packages(config.policy.path))
    for place, route in routes(config):
        parts = route.policy.split("/")
        # A rule may have a dotted name, so any prefix may be the package.
        if not any(".".join(parts[:end]) in packages for end in range(1, len(parts))):
            yield Finding(
                (*place, "policy"),
                f"no file of the policy declares the package {'.'.join(parts[:-1])}",
                "correct the entrypoint, or add the package",
            )


def _packages(directory: Path) -> Iterator[str]:
    entries = 0
    for folder, folders, names in os.walk(directory):
        entries += len(folders) + len(names)
        if entries > _MAX_ENTRIES:
            return
        for name in names:
            if name.endswith(".rego") and not name.endswith("_test.rego"):
                try:
                    with Path(folder, name).open(encoding="utf-8", errors="replace") as stream:
                        found = _PACKAGE.search(stream.read(_MAX_POLICY_FILE))
                except OSError:
                    continue
                if found:
                    yield found[1]
