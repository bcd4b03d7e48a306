"""The words of an inventory. Everything is a value; seconds for lifetimes, None where nobody among the files says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

PrincipalKind = Literal["workload", "user", "subjects", "api_key", "operator", "anonymous"]
ANYONE = "anyone"
"""The caller of a public route: no workload identity is asked for."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a principal proves itself with. `lifetime`: at most so many seconds."""

    kind: str
    """`x509-svid`, `jwt-svid`, `access token`, `opaque token`, `transaction token`, `api key`, `socket`, `event`."""
    minted_by: str
    lifetime: float | None = None
    audiences: tuple[str, ...] = ()
    """Whom it may be for; empty where the credential names nobody."""
    how: str = ""
    """What the minter asks before it gives it out."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who can do something. `id`: a SPIFFE ID (with `*` or `{…}`: many), `issuer name/user`, a key's id."""

    kind: PrincipalKind
    id: str
    credentials: tuple[Credential, ...] = ()
    reaches: tuple[str, ...] = ()
    """`Path.id` of each route that it may call; the policy has the last word."""
    receives: tuple[str, ...] = ()
    """Audiences of tokens that it may receive from others and exchange."""
    environment: str = ""
    tenant: str = ""
    source: str = ""
    """Which file says so, and where: `authority: entries.edge`."""


@dataclass(frozen=True, slots=True)
class Path:
    """One way in: a route of one server, who may take it, and with what."""

    server: str
    route: str
    callers: tuple[str, ...]
    """SPIFFE IDs with `*` for a segment, or ANYONE."""
    through: Literal["peer", "self"]
    """`self`: only the server's own service, through a local listener."""
    credential: Literal["jwt", "api_key", "workload", "none"]
    kinds: tuple[str, ...]
    """Kinds of credential as decision records name them: `jwt`, `opaque`, `api_key`, `workload`; empty: none."""
    issuers: tuple[str, ...]
    """The `iss` of each issuer that is accepted; a trust domain's SPIFFE ID where the workload is the credential."""
    minted_by: tuple[str, ...]
    lifetime: float | None
    audiences: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    binding: str = ""
    introspect: str = ""
    step_up: tuple[str, ...] = ()
    action: str = ""
    resource: str = ""
    access: Literal["read", "write", "call"] = "write"
    effects: tuple[str, ...] = ()
    service: str = ""
    policy: str = ""
    request: str = ""
    """Methods and path, in words."""
    upstream: str = ""
    """What the upstream gets: `the same token`, `no token`, or the audience of the exchanged one."""

    @property
    def id(self) -> str:
        return f"{self.server}/{self.route}"


@dataclass(frozen=True, slots=True)
class Trust:
    """Somebody's word that counts. `who` believes `whom`; `by` says how that one is known."""

    who: str
    kind: str
    """`trust domain`, `issuer`, `attestor`, `fallback anchor`, `federation`, `token service`, `policy`, …"""
    whom: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Data:
    """An action on a kind of resource, and the paths that it is done on."""

    resource: str
    action: str
    access: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """A privilege that is there whether or not anybody needs it now. `where`: file label and key."""

    kind: str
    where: str
    what: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class File:
    """One configuration that was read. `name` is what the inventory calls it; `roles`: server, authority, agent."""

    name: str
    roles: tuple[str, ...]
    environment: str
    digest: str
    labels: tuple[tuple[str, str], ...] = ()
    """Labels of its decision records."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """All of it. `gaps`: what could not be seen."""

    files: tuple[File, ...]
    principals: tuple[Principal, ...]
    paths: tuple[Path, ...]
    trust: tuple[Trust, ...]
    data: tuple[Data, ...]
    standing: tuple[Standing, ...]
    gaps: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "files": [{**asdict(file), "labels": dict(file.labels)} for file in self.files],
            "paths": [{"id": path.id, **asdict(path)} for path in self.paths],
        }
