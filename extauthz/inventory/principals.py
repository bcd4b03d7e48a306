"""Everybody, and which paths each may take."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from extauthz.inventory import issuing
from extauthz.inventory.callers import admitted, meets
from extauthz.inventory.model import ANYONE, Credential, Principal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from extauthz.attestation.entries import EntrySettings
    from extauthz.inventory.files import Source
    from extauthz.inventory.model import Path


def principals(sources: Sequence[Source], paths: Sequence[Path]) -> tuple[Principal, ...]:
    """By kind, then by name."""
    found = [*_registered(sources), *_issued(sources, paths), *_keys(sources), *_doors(sources), *_anonymous(paths)]
    known = {one.id for one in found if one.kind == "workload"}
    found += _unregistered(paths, known)
    ways = {path.id: path for path in paths}
    whole = [
        one if one.reaches else replace(one, reaches=tuple(sorted(_reached(one, sources, ways.values()))))
        for one in found
    ]
    return tuple(sorted(whole, key=lambda one: (one.kind, one.id, one.source)))


def _registered(sources: Iterable[Source]) -> Iterator[Principal]:
    for source in sources:
        settings = source.config.authority
        if settings is None:
            continue
        by_id: dict[str, list[EntrySettings]] = {}
        for entry in settings.entries:
            by_id.setdefault(entry.spiffe_id, []).append(entry)
        for entries in by_id.values():
            yield issuing.workload(source, settings, entries)
        yield from issuing.others(source, settings)


def _unregistered(paths: Sequence[Path], known: set[str]) -> list[Principal]:
    """Callers that routes name and no authority among the files registers."""
    found: dict[str, Principal] = {}
    for path in paths:
        for caller in path.callers:
            if caller != ANYONE and caller not in found and not any(meets(caller, one) for one in known):
                domain = "/".join(caller.split("/")[:3])
                svid = Credential("x509-svid", domain, None, (), "no authority among the files says")
                found[caller] = Principal("workload", caller, (svid,), source=f"{path.server}: routes.{path.route}")
    return list(found.values())


def _issued(sources: Sequence[Source], paths: Sequence[Path]) -> Iterator[Principal]:
    """The subjects of every issuer that some route accepts, whoever they are."""
    lives: dict[str, list[float]] = {}
    where: dict[str, list[str]] = {}
    for source in sources:
        for issuer in source.config.issuers:
            lives.setdefault(issuer.issuer, []).append(issuer.max_lifetime)
            where.setdefault(issuer.issuer, []).append(f"{source.name}: issuers.{issuer.name}")
    minted = issuing.minted(sources)
    for iss, found in lives.items():
        ways = [path for path in paths if iss in path.issuers and path.through == "peer"]
        by, longest = minted.get(iss, (iss, max(found)))
        audiences = sorted({audience for path in ways for audience in path.audiences})
        token = Credential("access token", by, min(longest, max(found)), tuple(audiences), "a subject of the issuer")
        yield Principal(
            "subjects", iss, (token,), tuple(sorted(path.id for path in ways)), source="; ".join(where[iss])
        )


def _keys(sources: Iterable[Source]) -> Iterator[Principal]:
    for source in sources:
        for row in source.api_keys:
            key = Credential("api key", issuing.OPERATOR, None, (), "whoever has it; restricted to its routes")
            reached = tuple(f"{source.name}/{name}" for name in sorted(row.routes))
            yield Principal(
                "api_key", row.id, (key,), reached, tenant=row.tenant, source=f"{source.name}: api_keys ({row.subject})"
            )


def _doors(sources: Iterable[Source]) -> Iterator[Principal]:
    """Who may use the HTTP API by the mode of a Unix socket."""
    for source in sources:
        api = source.config.api
        for name, door in (("authzen", api.authzen), ("decisions", api.decisions), ("rollout", api.rollout)):
            if door is not None and door.local:
                socket = Credential("socket", issuing.OPERATOR, None, (), "may open server.http's Unix socket")
                yield Principal("operator", f"{source.name} {name}", (socket,), source=f"{source.name}: api.{name}")


def _anonymous(paths: Iterable[Path]) -> Iterator[Principal]:
    reached = tuple(sorted(path.id for path in paths if path.callers == (ANYONE,) and path.credential == "none"))
    if reached:
        yield Principal("anonymous", ANYONE, (), reached, source="public routes without a credential")


def _reached(one: Principal, sources: Sequence[Source], paths: Iterable[Path]) -> Iterator[str]:
    """The paths of a workload as the caller, of a user as the subject."""
    configs = {source.name: source.config for source in sources}
    for path in paths:
        if one.kind == "workload":
            named = any(caller != ANYONE and meets(one.id, caller) for caller in path.callers)
            if named and admitted(configs[path.server], one.id):
                yield path.id
        elif one.kind == "user":
            iss = one.id.partition(" ")[0]
            audiences = {audience for held in one.credentials for audience in held.audiences}
            if path.through == "peer" and iss in path.issuers and audiences.intersection(path.audiences):
                yield path.id
