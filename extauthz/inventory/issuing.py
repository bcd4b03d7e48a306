"""What an authority's configuration gives out: to whom, on whose evidence, for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.config.words import listed
from extauthz.inventory.model import Credential, Principal, Trust

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from extauthz.attestation.entries import EntrySettings
    from extauthz.attestation.settings import AttestorSettings
    from extauthz.authority.settings import AuthoritySettings
    from extauthz.inventory.files import Source

OPERATOR: Final = "operator"


def minted(sources: Iterable[Source]) -> dict[str, tuple[str, float]]:
    """`iss`, or `spiffe://…` of a domain or a workload → the authority that mints for it, and for how many seconds."""
    found = {}
    for settings in authorities(sources):
        sts = settings.sts
        development = sts.development.lifetime if sts.development else 0.0
        found[sts.issuer] = (settings.own_id, max(sts.lifetime, development))
        lives = [entry.svid_ttl for entry in settings.entries]
        found[f"spiffe://{settings.trust_domain}"] = (settings.own_id, max(lives, default=settings.ca.svid_ttl))
        found |= {entry.spiffe_id: (settings.own_id, entry.svid_ttl) for entry in settings.entries}
    return found


def authorities(sources: Iterable[Source]) -> Iterator[AuthoritySettings]:
    return (source.config.authority for source in sources if source.config.authority is not None)


def workload(source: Source, settings: AuthoritySettings, entries: list[EntrySettings]) -> Principal:
    """One SPIFFE ID; several entries may give it out, each on its own evidence, all with the same rights."""
    first = entries[0]
    how = " or ".join(f"{listed(entry.attestors, 'or')} says {listed(entry.selectors)}" for entry in entries)
    credentials = [
        Credential("x509-svid", settings.own_id, first.svid_ttl, (), how),
        Credential("jwt-svid", settings.own_id, first.jwt_ttl, (), "its X.509-SVID"),
    ]
    if first.exchange_to:
        credentials += _tokens(settings, first)
    names = [f"entries.{entry.name}" for entry in entries]
    return Principal(
        kind="workload",
        id=first.spiffe_id,
        credentials=tuple(credentials),
        receives=first.audiences,
        environment=first.environment,
        tenant=first.tenant,
        source=f"{source.name}: {', '.join(names)}",
    )


def _tokens(settings: AuthoritySettings, entry: EntrySettings) -> Iterator[Credential]:
    """Each token is bound to the certificate of whoever asked; a policy is asked before."""
    sts = settings.sts
    opaque = tuple(one for one in entry.exchange_to if one in sts.opaque_audiences)
    signed = tuple(one for one in entry.exchange_to if one not in sts.opaque_audiences)
    own = f"; for itself with {listed(entry.scopes)}" if entry.scopes else ""
    how = f"its X.509-SVID, a subject token that it may receive, {sts.policy}{own}"
    if signed:
        yield Credential("access token", settings.own_id, sts.lifetime, signed, how)
    if opaque:
        yield Credential("opaque token", settings.own_id, sts.lifetime, opaque, how)


def others(source: Source, settings: AuthoritySettings) -> Iterator[Principal]:
    """The authority itself, its operators, development users, and who may report security events."""
    where = f"{source.name}: authority"
    own = Credential("x509-svid", settings.own_id, settings.ca.svid_ttl, settings.dns_names, "it issues its own")
    yield Principal("workload", settings.own_id, (own,), environment=source.config.environment, source=where)
    admin = Credential("socket", OPERATOR, None, (), "may open the admin socket (file mode 0600)")
    yield Principal("operator", f"{source.name} admin", (admin,), source=f"{where}.admin")
    for attestor in settings.attestation.attestors:
        if attestor.kind == "join_token":
            how = "an operator hands it out, good once"
            token = Credential("join token", OPERATOR, attestor.max_ttl, (), how)
            yield Principal("operator", f"{source.name} {attestor.name}", (token,), source=f"{where}.attestation")
    for name, user in settings.sts.development.users.items() if settings.sts.development else ():
        given = Credential(
            "opaque token" if set(user.audiences) <= set(settings.sts.opaque_audiences) else "access token",
            settings.own_id,
            settings.sts.development.lifetime if settings.sts.development else None,
            user.audiences,
            "nothing: development sign-in by name",
        )
        tenant = user.claims.get("tenant", "")
        yield Principal(
            "user",
            f"{settings.sts.issuer} {name}",
            (given,),
            tenant=tenant if isinstance(tenant, str) else "",
            source=f"{source.name}: sts.development",
        )


def trust(source: Source, settings: AuthoritySettings) -> Iterator[Trust]:
    name = source.name
    for attestor in settings.attestation.attestors:
        yield Trust(name, "attestor", attestor.name, _evidence(attestor))
    if settings.ca.fallback_anchors is not None:
        yield Trust(name, "fallback anchor", f"spiffe://{settings.trust_domain}", "certificates in a file")
    for domain in settings.ca.federated:
        yield Trust(name, "federation", f"spiffe://{domain}", "a SPIFFE bundle in a file")
    for issuer in settings.sts.subject_issuers:
        chain = ", may delegate" if issuer.delegates else ""
        yield Trust(name, "subject issuer", issuer.issuer, f"its tokens may be exchanged{chain}")
    for transmitter in settings.sts.transmitters:
        about = listed((transmitter.issuer, *transmitter.subjects_of))
        yield Trust(name, "security events", transmitter.issuer, f"about subjects of {about}")


def _evidence(attestor: AttestorSettings) -> str:
    if attestor.kind == "join_token":
        return "one-time tokens of an operator"
    if attestor.kind == "instance":
        return f"instance documents of {listed(attestor.certificates)}"
    return f"tokens of {attestor.issuer}"
