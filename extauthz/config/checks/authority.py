"""Rules about the issuer of a trust domain: what it may promise, and what must not be on in production."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.attestation.entries import Entries
from extauthz.config.checks.rule import Finding, advice, error
from extauthz.config.words import is_loopback, listed, seconds
from extauthz.errors import ConfigError
from extauthz.store.settings import MemoryStoreSettings, RedisStoreSettings
from extauthz.transport.settings import host_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.attestation.entries import EntrySettings
    from extauthz.authority.settings import AuthoritySettings
    from extauthz.config.checks.rule import Location
    from extauthz.config.model import Config

DEVELOPMENT: Final = frozenset({"dev", "development", "test", "demo", "local"})
"""Values of `environment` in which users may sign in without proof."""


def _entries(authority: AuthoritySettings) -> Iterator[tuple[Location, EntrySettings]]:
    for index, entry in enumerate(authority.entries):
        yield ("authority", "entries", index), entry


@error
def replicas_share_their_keys(config: Config) -> Iterator[Finding]:
    """Keys in one replica's memory: the others would sign with keys of their own, and replace each other's."""
    if config.authority is None or config.authority.keys.kind != "memory":
        return
    if isinstance(config.store, RedisStoreSettings):
        yield Finding(
            ("authority", "keys", "kind"),
            "the store is shared by replicas, and the keys would be in one of them alone",
            "write `kind: encrypted`, with the same passphrase for every replica",
        )


@error
def development_users_stay_in_development(config: Config) -> Iterator[Finding]:
    """The development sign-in proves nothing: whoever reaches it can be anybody."""
    authority = config.authority
    if authority is None or authority.sts.development is None or authority.unsafe_development:
        return
    if config.environment not in DEVELOPMENT:
        yield Finding(
            ("authority", "sts", "development"),
            f"anybody could sign in as any of its users in the environment {config.environment or '(none)'}",
            "remove it; or say that this is no production: `environment: dev`",
        )


@error
def entries_are_of_the_own_trust_domain(config: Config) -> Iterator[Finding]:
    """A CA certifies its own trust domain, and nobody but itself under its own name."""
    authority = config.authority
    if authority is None:
        return
    for place, entry in _entries(authority):
        if entry.trust_domain != authority.trust_domain:
            yield Finding(
                (*place, "spiffe_id"),
                f"{entry.trust_domain} is not the trust domain of this authority",
                f"begin it with spiffe://{authority.trust_domain}/",
            )
        elif entry.spiffe_id == authority.own_id:
            yield Finding((*place, "spiffe_id"), "this is the authority's own SPIFFE ID", "choose another path")
        for name in sorted({*entry.dns_names} & {*authority.dns_names} - {"localhost"}):
            yield Finding((*place, "dns_names"), f"{name} is the authority's own name", "remove it")


@error
def entries_agree(config: Config) -> Iterator[Finding]:
    """One name, one entry; one SPIFFE ID, one set of rights."""
    if config.authority is None:
        return
    try:
        Entries(config.authority.entries)
    except ConfigError as refused:
        for problem in refused.problems:
            yield Finding(_place(problem.key), problem.message, problem.remedy)


def _place(key: str) -> Location:
    return tuple(int(part) if part.isdecimal() else part for part in key.split("."))


@error
def entries_name_attestors_that_are_there(config: Config) -> Iterator[Finding]:
    """An attestor that is not configured would let nobody in, without saying so."""
    authority = config.authority
    if authority is None:
        return
    known = {attestor.name for attestor in authority.attestation.attestors}
    for place, entry in _entries(authority):
        for index, name in enumerate(entry.attestors):
            if name not in known:
                instead = f", or use {listed(sorted(known), 'or')}" if known else ""
                yield Finding(
                    (*place, "attestors", index),
                    f"no attestor is called {name}",
                    f"configure it under authority.attestation.attestors{instead}",
                )


@error
def lives_fit_into_the_authoritys(config: Config) -> Iterator[Finding]:
    """What an entry or the token service promises, the CA and the signing keys must be able to keep."""
    authority = config.authority
    if authority is None:
        return
    longest, token = authority.ca.max_svid_ttl, authority.signing.longest_token
    for place, entry in _entries(authority):
        if entry.svid_ttl > longest:
            yield _too_long((*place, "svid_ttl"), entry.svid_ttl, longest, "authority.ca.max_svid_ttl")
        if entry.jwt_ttl > token:
            yield _too_long((*place, "jwt_ttl"), entry.jwt_ttl, token, "authority.signing.longest_token")
    lives = {"lifetime": authority.sts.lifetime, "transaction_lifetime": authority.sts.transaction_lifetime}
    for key, life in lives.items():
        if life > token:
            yield _too_long(("authority", "sts", key), life, token, "authority.signing.longest_token")
    if authority.sts.development is not None and authority.sts.development.lifetime > token:
        place = ("authority", "sts", "development", "lifetime")
        yield _too_long(place, authority.sts.development.lifetime, token, "authority.signing.longest_token")


def _too_long(place: Location, life: float, most: float, limit: str) -> Finding:
    return Finding(
        place, f"{seconds(life)} is longer than {limit}, {seconds(most)}", f"write at most {seconds(most)}, or raise it"
    )


@error
def exchanges_are_decided_by_a_policy(config: Config) -> Iterator[Finding]:
    """Who may exchange what for what is a policy's decision; without one, every exchange would fail."""
    if config.authority is None or config.policy.path or config.policy.bundle or config.policy.sidecar.address:
        return
    for place, entry in _entries(config.authority):
        if entry.exchange_to:
            yield Finding(
                (*place, "exchange_to"),
                "nothing can be exchanged without a policy",
                f"configure `policy`, with the entrypoint {config.authority.sts.policy}",
            )
            return


@advice
def state_outlives_the_authority(config: Config) -> Iterator[Finding]:
    """With a store in memory every revocation is forgotten at a restart."""
    if config.authority is not None and (config.store is None or isinstance(config.store, MemoryStoreSettings)):
        yield Finding(
            ("store",) if config.store is not None else ("authority",),
            "revocations, opaque tokens and the CA are gone when the authority restarts",
            "write `store: {kind: sqlite, path: …}` and `authority.keys: {kind: encrypted, …}`",
        )


@advice
def development_is_loud(config: Config) -> Iterator[Finding]:
    authority = config.authority
    if authority is None or authority.sts.development is None:
        return
    if authority.unsafe_development and config.environment not in DEVELOPMENT:
        yield Finding(
            ("authority", "unsafe_development"),
            "whoever reaches the token endpoint can be any configured user",
            "remove authority.sts.development",
        )
    if authority.sts.development.from_anywhere and not is_loopback(host_port(authority.listen)[0]):
        yield Finding(
            ("authority", "sts", "development", "from_anywhere"),
            "users can sign in without proof from every machine that reaches the authority",
            "remove from_anywhere",
        )


@advice
def rotation_waits_for_long_polls(config: Config) -> Iterator[Finding]:
    """Agents that are between two polls must count as connected."""
    authority = config.authority
    if authority is not None and authority.ca.agent_seen_within < 2 * authority.listener.longest_poll:
        yield Finding(
            ("authority", "ca", "agent_seen_within"),
            f"polls are cut to {seconds(authority.ca.agent_seen_within / 2)}, so that agents stay connected in between",
            f"write at least {seconds(2 * authority.listener.longest_poll)}, or leave it",
        )
