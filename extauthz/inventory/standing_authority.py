"""Standing privilege that an authority's configuration, or an agent's, gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.config.words import listed, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.attestation.settings import AttestorSettings
    from extauthz.authority.settings import AuthoritySettings
    from extauthz.config import Config

Row = tuple[str, str, str, str, str]
"""Kind, place, what, why, remedy."""
_LONG: Final = 86400.0


def rules(config: Config) -> Iterator[Row]:
    settings = config.authority
    if settings is None:
        return
    yield from _anchors(settings)
    yield from _lifetimes(settings)
    yield from _entries(settings)
    for attestor in settings.attestation.attestors:
        yield from _attestor(attestor)
    yield from _development(settings)
    for issuer in settings.sts.subject_issuers:
        if issuer.delegates:
            why = "It names the actors of a chain that we did not see, and is believed."
            remedy = "Remove `delegates` unless the issuer is an authority of ours."
            place = f"authority.sts.subject_issuers.{issuer.name}.delegates"
            yield "delegation", place, f"{issuer.issuer} may say who acts", why, remedy


def _anchors(settings: AuthoritySettings) -> Iterator[Row]:
    if settings.ca.fallback_anchors is not None:
        why = "Whoever holds one of those keys may be any workload of the domain, and no rotation of ours ends it."
        remedy = "Keep the keys offline, give the certificates an end, and take the file out when nothing needs it."
        yield "fallback_anchor", "authority.ca.fallback_anchors", "further authorities are trusted", why, remedy


def _lifetimes(settings: AuthoritySettings) -> Iterator[Row]:
    why = "What is stolen is good until it ends."
    named = [
        ("ca.max_svid_ttl", settings.ca.max_svid_ttl),
        ("signing.longest_token", settings.signing.longest_token),
        *((f"sts.subject_issuers.{one.name}.max_lifetime", one.max_lifetime) for one in settings.sts.subject_issuers),
        *((f"entries.{entry.name}.svid_ttl", entry.svid_ttl) for entry in settings.entries),
    ]
    for place, life in named:
        if life > _LONG:
            yield "long_lifetime", f"authority.{place}", seconds(life), why, "An hour is enough where renewal works."


def _entries(settings: AuthoritySettings) -> Iterator[Row]:
    for entry in settings.entries:
        place = f"authority.entries.{entry.name}"
        if entry.templated:
            why = "Whoever can make a workload with the attested values makes an identity."
            remedy = "Register the workloads that there are, each by its own ID."
            yield "template", place, entry.spiffe_id, why, remedy


def _attestor(attestor: AttestorSettings) -> Iterator[Row]:
    place = f"authority.attestation.{attestor.name}"
    once = getattr(attestor, "once", True)
    if attestor.kind == "join_token":
        why = "Whoever may open the admin socket can hand out any identity of the entries that name it."
        remedy = "Use it for development and for machines that nothing else vouches for."
        yield "join_token", place, "operators may vouch for workloads", why, remedy
    if not once:
        why = "A copy of the evidence is worth an identity for as long as it is valid."
        yield "replay", f"{place}.once", "evidence serves more than once", why, "Remove the setting."
    if attestor.kind == "kubernetes":
        if "*" in attestor.namespaces:
            why = "Whoever may make a pod anywhere in the cluster comes as far as the entries."
            yield "wildcard", f"{place}.namespaces", "every namespace", why, "Name the namespaces."
        stars = [one for one in attestor.service_accounts if one.endswith("/*")]
        if stars:
            yield (
                "wildcard",
                f"{place}.service_accounts",
                listed(stars),
                "Every account of the namespace is let in.",
                "Name them.",
            )
        if not attestor.require_pod:
            why = "A token made by hand (`kubectl create token`) is as good as a running pod's."
            yield "relaxed_check", f"{place}.require_pod", "tokens without a pod", why, "Remove the setting."
    if attestor.kind == "oidc":
        for claim, patterns in attestor.require.items():
            if stars := [pattern for pattern in patterns if "*" in pattern]:
                why = "Whoever can get a token whose claim fits is let in."
                yield "wildcard", f"{place}.require.{claim}", listed(stars), why, "Name the values."


def _development(settings: AuthoritySettings) -> Iterator[Row]:
    development = settings.sts.development
    if development is None:
        return
    users = listed(sorted(development.users))
    where = "anywhere" if development.from_anywhere else "this machine"
    why = "A name is enough to be that user: nothing is proved."
    remedy = "Use an identity provider; remove the block outside of development."
    yield "development_user", "authority.sts.development", f"{users} sign in from {where}", why, remedy
