"""Privilege that stands: there all the time, for whoever has got hold of it, needed now or not.

One function a rule; each finding says why it matters and how to get rid of it. Some cannot be avoided everywhere; then
they are at least on a list that somebody reads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from extauthz.config.words import listed, seconds
from extauthz.inventory import standing_authority
from extauthz.inventory.callers import many
from extauthz.inventory.model import Standing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.config import Config
    from extauthz.inventory.files import Source

LONG: Final = 86400.0
"""Seconds; a credential that lives longer is standing."""
_EMERGENCY: Final = re.compile(r"break.?glass|emergency|firefighter|super.?user", re.IGNORECASE)
_SECRETS: Final = {
    "secret_file": "a client secret",
    "secret_env": "a client secret",
    "password_file": "a password",
    "password_env": "a password",
    "passphrase_file": "the passphrase of the authority's keys",
    "passphrase_env": "the passphrase of the authority's keys",
    "bearer_token_file": "a bearer token",
    "bearer_env": "a bearer token",
    "private_key": "a private key in a file",
}
"""Settings that name a secret which stays the same until somebody changes it → what it is."""
_INSTEAD: Final = {
    "a client secret": "Use `client: mtls` where the issuer knows the workload's certificate; else rotate it.",
    "a password": "Use a Unix socket that only the service may open; else rotate it.",
    "the passphrase of the authority's keys": "Have a secret manager give it at the start, or use `keys.kind: memory`.",
    "a bearer token": "Let the service take the workload's certificate; else mount a token that is short and renewed.",
    "a private key in a file": "Use `identity.socket`: the key then lives in memory and is renewed.",
}


def standing(source: Source, now: float) -> Iterator[Standing]:
    """In the order of the rules. `now`: seconds since the epoch."""
    yield from _api_keys(source, now)
    config = source.config
    for kind, place, what, why, remedy in (
        *_walked(config),
        *_lifetimes(config),
        *_callers(config),
        *_chains(config),
        *_openings(config),
        *standing_authority.rules(config),
    ):
        yield Standing(kind, f"{source.name}: {place}", what, why, remedy)


Row = tuple[str, str, str, str, str]
"""Kind, place, what, why, remedy."""


def _api_keys(source: Source, now: float) -> Iterator[Standing]:
    for row in source.api_keys:
        days = max(0, int((row.expires - now) // 86400))
        yield Standing(
            "api_key",
            f"{source.name}: api_keys {row.id}",
            f"{row.subject} opens {listed(sorted(row.routes))}, for another {days} days",
            "Whoever has the text is the subject; nothing binds it to a holder.",
            "Give the caller a workload identity, or a short token; until then keep the key short and its routes few.",
        )


def _walked(config: Config) -> Iterator[Row]:
    """Secrets by the names of their settings, and everything that calls itself unsafe."""
    for place, value in _values(config):
        name = "bearer_token_file" if place.endswith("bundle.token_file") else place.rpartition(".")[2]
        if name in _SECRETS and value:
            what = _SECRETS[name]
            why = "It is the same tomorrow: whoever read it once keeps what it opens."
            yield "static_secret", place, what, why, _INSTEAD[what]
        elif name.startswith("unsafe_") and value is True:
            why = "The name says it: a protection is off all the time."
            yield "unsafe_setting", place, name.removeprefix("unsafe_").replace("_", " "), why, "Remove the setting."


def _lifetimes(config: Config) -> Iterator[Row]:
    for issuer in config.issuers:
        if issuer.max_lifetime > LONG:
            yield (
                "long_lifetime",
                f"issuers.{issuer.name}.max_lifetime",
                f"tokens of {issuer.issuer} may live {seconds(issuer.max_lifetime)}",
                "A stolen token is good until it ends, or until somebody notices and revokes it.",
                "Let the issuer grant an hour at most, and set max_lifetime to it.",
            )


def _callers(config: Config) -> Iterator[Row]:
    workload = config.workload
    wide = "Who gets an ID of that form later is let in without anybody deciding it."
    if workload.trust_domains and workload.registered is None:
        what = "every workload of the trusted domains whose ID fits a template counts as registered"
        yield "open_registration", "workload.registered", what, wide, "List the SPIFFE IDs, or `[]` for none."
    for pattern in workload.registered or ():
        if many(pattern):
            yield "wildcard", "workload.registered", pattern, wide, "Name each SPIFFE ID."
    if "*" in workload.environments:
        why = "A workload of a less guarded environment calls as one of this one."
        remedy = "Name the environments that must call, or none."
        yield "wildcard", "workload.environments", "workloads of every environment", why, remedy
    for route in config.routes:
        for pattern in route.workloads:
            if many(pattern):
                yield "wildcard", f"routes.{route.name}.workloads", pattern, wide, "Name each SPIFFE ID."


def _chains(config: Config) -> Iterator[Row]:
    """What is believed about a caller's certificate without a look."""
    workload = config.workload
    for name, domain in sorted(workload.trust_domains.items()):
        if domain.trust_bundle is None:
            why = "An Envoy that trusts too much, or an old connection, is believed."
            remedy = "Set `trust_bundle: identity`, or name the domain's CA certificates."
            yield "unchecked_chain", f"workload.trust_domains.{name}", "the chain is not checked here", why, remedy
    for field in ("require_certificate", "require_svid_profile"):
        if workload.trust_domains and not getattr(workload, field):
            why = "Neither expiry nor binding of what came can be relied on."
            yield "relaxed_check", f"workload.{field}", "is off", why, "Remove the setting."


def _openings(config: Config) -> Iterator[Row]:
    """Doors that no credential closes, or that are there for an emergency."""
    for route in config.routes:
        place = f"routes.{route.name}"
        if route.public and route.credential == "none":
            why = "Anybody who reaches Envoy is let through to the policy."
            yield "anonymous", place, "a public route without a credential", why, "Ask for one, if it is not meant."
        named = {route.name, route.action, *(route.token.purposes if route.token else ())}
        if any(map(_EMERGENCY.search, sorted(named))):
            why = "A way around the usual checks stands open on quiet days, too."
            remedy = "Make it a credential that is issued for one incident, for minutes, with step-up."
            yield "break_glass", place, "its name speaks of an emergency", why, remedy
    for name, door in (
        ("authzen", config.api.authzen),
        ("decisions", config.api.decisions),
        ("rollout", config.api.rollout),
    ):
        if door is not None and door.local:
            why = "Whoever may open the Unix socket may use it, without a name in any record."
            yield "local_door", f"api.{name}.local", "callers without a token", why, "Give it a `token` rule."
    for issuer in config.issuers:
        asked = issuer.introspection
        if asked is not None and asked.missing_audience == "accept":
            why = "A token that was meant for another service opens every route that takes this issuer."
            remedy = "Have the issuer name audiences, and remove the setting."
            place = f"issuers.{issuer.name}.introspection.missing_audience"
            yield "missing_audience", place, "tokens without an audience are accepted", why, remedy


def _values(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of a configuration with its dotted place; an entry of a list by its name, or its number."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _values(getattr(value, name), f"{place}.{name}" if place else name)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _values(item, f"{place}.{key}")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _values(item, f"{place}.{getattr(item, 'name', index)}")
    else:
        yield place, value
