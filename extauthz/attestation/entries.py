"""Registration entries: which attested workload is who, and what it may be given.

An entry fits when every one of its selectors was attested, by an attestor that it names. Of several that fit, the one
with most selectors counts; a tie is refused with the names. No entry, no identity.

`spiffe_id` may have holes, `spiffe://bank.example/ns/{k8s.ns}/sa/{k8s.sa}`: a hole is one whole path segment, filled
with the value of the one attested selector `k8s:ns:…`. What comes out must be a SPIFFE ID of the same shape, and not
one that another entry gives out: a template never reaches a workload that was registered alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from extauthz.attestation.refusal import Refused
from extauthz.attestation.settings import AttestorName  # noqa: TC001 - pydantic reads it at run time
from extauthz.authn import spiffe
from extauthz.errors import ConfigError, ConfigProblem
from extauthz.settings import Duration, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from extauthz.attestation.attestor import Attested

_HOLE: Final = re.compile(r"\{([a-z0-9]{1,32}\.[A-Za-z0-9_.-]{1,64})\}")
_PROBE: Final = "x"
"""Stands for a hole when the shape of a template is judged."""
_DNS_NAME: Final = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAX_DNS: Final = 253
MAX_DNS_NAMES: Final = 32
"""As many as `ca.profile` certifies."""
_WAYS: Final = frozenset({"name", "attestors", "selectors"})
"""Keys of an entry that say how a workload is recognised; the others say what it gets."""


def _template(text: str) -> str:
    if spiffe.parse(_HOLE.sub(_PROBE, text)) is None or any(
        "{" in segment and not _HOLE.fullmatch(segment) for segment in text.split("/")
    ):
        raise ValueError("a SPIFFE ID with a path is expected; a hole is a whole segment, like {k8s.ns}")
    if "{" in text.removeprefix("spiffe://").partition("/")[0]:
        raise ValueError("a trust domain is plain text: it has no holes")
    return text


def _dns_name(name: str) -> str:
    if len(name) > _MAX_DNS or not _DNS_NAME.fullmatch(name):
        raise ValueError("a DNS name in lower case is expected, without a wildcard")
    return name


SpiffeTemplate = Annotated[str, AfterValidator(_template)]
DnsName = Annotated[str, AfterValidator(_dns_name)]
Selector = Annotated[str, Field(pattern=r"^[a-z0-9]{1,32}:[^\x00-\x1f\x7f]{1,600}$")]
Audience = Annotated[str, Field(min_length=1, max_length=512)]
Scope = Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,256}$")]
Purpose = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class EntrySettings(Settings):
    """One kind of workload: how it is recognised, and what it gets."""

    name: AttestorName
    """Short name, for records and join tokens."""
    spiffe_id: SpiffeTemplate
    """SPIFFE ID that is given out; a whole path segment may be a hole such as `{k8s.ns}`."""
    attestors: Annotated[tuple[AttestorName, ...], Field(min_length=1)]
    """Names of the attestors that may vouch for it."""
    selectors: Annotated[tuple[Selector, ...], Field(min_length=1)]
    """What must have been attested, all of it: `k8s:ns:payments`, `aws:account:…`, `oidc:sub:…`, `join:<entry>`."""
    svid_ttl: Duration = Field(default="1h", gt=0, le=86400)  # type: ignore[assignment]  # parsed by the unit
    """Life of its X.509-SVIDs."""
    jwt_ttl: Duration = Field(default="5m", gt=0, le=3600)  # type: ignore[assignment]  # parsed by the unit
    """Life of its JWT-SVIDs."""
    audiences: tuple[Audience, ...] = ()
    """Audiences of tokens that it may receive from others and exchange. Empty: none."""
    exchange_to: tuple[Audience, ...] = ()
    """Audiences that it may ask tokens for. Empty: none."""
    scopes: tuple[Scope, ...] = ()
    """Scopes that its own access tokens (client_credentials) may have."""
    purposes: tuple[Purpose, ...] = ()
    """Purposes that its own access tokens may be for."""
    dns_names: Annotated[tuple[DnsName, ...], Field(max_length=MAX_DNS_NAMES)] = ()
    """DNS names in its X.509-SVIDs; no wildcards, and none of the authority's."""
    environment: Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?)?$")] = ""
    """Environment that it belongs to."""
    tenant: Annotated[str, Field(max_length=128)] = ""
    """Tenant whose data alone it may be given. Empty: not bound to one."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.selectors)) != len(self.selectors):
            raise ValueError("a selector stands twice")
        if self.templated and self.dns_names:
            raise ValueError("dns_names go with one workload: remove them, or the holes of spiffe_id")
        return self

    @property
    def templated(self) -> bool:
        return "{" in self.spiffe_id

    @property
    def trust_domain(self) -> str:
        return self.spiffe_id.removeprefix("spiffe://").partition("/")[0]


@dataclass(frozen=True, slots=True)
class Registration:
    """An entry, and the SPIFFE ID that it gives this workload."""

    entry: EntrySettings
    spiffe_id: str


class Entries:
    """Raises ConfigError for two entries of one name, or for two that give one SPIFFE ID different things."""

    __slots__ = ("_by_name", "_entries", "_exact", "_templates")

    def __init__(self, entries: Iterable[EntrySettings]) -> None:
        self._entries = tuple(entries)
        self._by_name: dict[str, EntrySettings] = {}
        self._exact: dict[str, EntrySettings] = {}
        self._templates: dict[str, EntrySettings] = {}
        for index, entry in enumerate(self._entries):
            if entry.name in self._by_name:
                raise _problem(index, f"two entries are called {entry.name}", "rename one of them")
            self._by_name[entry.name] = entry
            table = self._templates if entry.templated else self._exact
            other = table.setdefault(_shape(entry), entry)
            if _gives(other) != _gives(entry):
                raise _problem(
                    index,
                    f"{other.name} and {entry.name} have one SPIFFE ID and differ in more than how it is attested",
                    "give them the same rights, or another ID",
                )

    def __iter__(self) -> Iterator[EntrySettings]:
        return iter(self._entries)

    def named(self, name: str) -> EntrySettings | None:
        return self._by_name.get(name)

    def match(self, attested: Attested) -> Registration | Refused:
        """The entry for what was attested.

        1. an entry fits when it names the attestor, and all its selectors were attested
        2. the one with most selectors counts, and only one may have that many
        3. the holes of its SPIFFE ID are filled with attested values
        4. the result is a SPIFFE ID, and none that another entry gives out
        """
        fitting = [
            entry
            for entry in self._entries
            if attested.attestor in entry.attestors and attested.selectors.issuperset(entry.selectors)  # 1
        ]
        if not fitting:
            return Refused("attestation.no_entry", f"attested: {', '.join(sorted(attested.selectors))}")
        most = max(len(entry.selectors) for entry in fitting)
        best = [entry for entry in fitting if len(entry.selectors) == most]
        if len(best) > 1:  # 2
            return Refused("attestation.ambiguous_entry", ", ".join(sorted(entry.name for entry in best)))
        entry = best[0]
        spiffe_id = _filled(entry.spiffe_id, attested.selectors)  # 3
        parsed = None if spiffe_id is None else spiffe.parse(spiffe_id)
        if spiffe_id is None or parsed is None:  # 4
            return Refused("attestation.entry_conflict", f"{entry.name}: what was attested does not fit its spiffe_id")
        other = self._other(entry, parsed)
        if other is not None:  # 4
            return Refused("attestation.entry_conflict", f"{entry.name} would give out the SPIFFE ID of {other.name}")
        return Registration(entry, spiffe_id)

    def _other(self, entry: EntrySettings, parsed: spiffe.SpiffeId) -> EntrySettings | None:
        """The entry that has a better right to an ID that a template gave. A name of its own is everybody's best."""
        if not entry.templated:
            return None
        exact = self._exact.get(parsed.text)
        others = (
            other for shape, other in self._templates.items() if shape != _shape(entry) and _covers(other, parsed)
        )
        return exact or next(others, None)

    def of(self, spiffe_id: str) -> Registration | Refused:
        """The entry that a workload has its SPIFFE ID from, when it shows its SVID: an exact ID before a template."""
        parsed = spiffe.parse(spiffe_id)
        if parsed is None:
            return Refused("attestation.no_entry", "not a SPIFFE ID")
        exact = self._exact.get(spiffe_id)
        if exact is not None:
            return Registration(exact, spiffe_id)
        fitting = [entry for entry in self._templates.values() if _covers(entry, parsed)]
        if len(fitting) > 1:
            return Refused("attestation.ambiguous_entry", ", ".join(sorted(entry.name for entry in fitting)))
        return Registration(fitting[0], spiffe_id) if fitting else Refused("attestation.no_entry", spiffe_id)


def _shape(entry: EntrySettings) -> str:
    return _HOLE.sub("*", entry.spiffe_id)


def _gives(entry: EntrySettings) -> dict[str, object]:
    return entry.model_dump(exclude=set(_WAYS))


def _covers(entry: EntrySettings, parsed: spiffe.SpiffeId) -> bool:
    domain, *segments = entry.spiffe_id.removeprefix("spiffe://").split("/")
    return (
        domain == parsed.trust_domain
        and len(segments) == len(parsed.segments)
        and all("{" in wanted or wanted == segment for wanted, segment in zip(segments, parsed.segments, strict=True))
    )


def _filled(template: str, selectors: frozenset[str]) -> str | None:
    """None when a hole has no value, several, or one that is more than a path segment."""
    filled = []
    for segment in template.split("/"):
        hole = _HOLE.fullmatch(segment)
        if hole is None:
            filled.append(segment)
            continue
        prefix = hole[1].replace(".", ":", 1) + ":"
        values = [text.removeprefix(prefix) for text in selectors if text.startswith(prefix)]
        if len(values) != 1 or "/" in values[0]:
            return None
        filled.append(values[0])
    return "/".join(filled)


def _problem(index: int, message: str, remedy: str) -> ConfigError:
    return ConfigError((ConfigProblem("", 0, f"authority.entries.{index}", message, remedy),))
