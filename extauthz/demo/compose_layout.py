"""Where everything stands in the containers of docker-compose.yml: the same paths in every one that has them.

A zone's folder has one volume for each party, so that none sees what is another's. Nowhere is a private key of theirs:

| below `/platform/<zone>/` | who mounts it | what is in it |
| --- | --- | --- |
| `envoy` | the zone's Envoy | its configuration |
| `extauthz` | the zone's authorization servers | their configuration |
| `agent` | the zone's agent | its configuration, the token by which it is attested |
| `identity` | agent, Envoy, authorization servers | the agent's socket: who opens it is the workload |
| `service` | the zone's service | its settings |
| `run` | Envoy, authorization servers, OPAs | the sockets between them |
| `sockets` | Envoy and service | the sockets between them |
| `state` | the authorization servers | their audit trail; requests that wait for their judgement |

| below `/platform/` | who mounts it | what is in it |
| --- | --- | --- |
| `authority`, `authority-key` | the authority | its configuration; the passphrase of its keys |
| `authority-store` | the authority | its database: keys are sealed, tokens are digests |
| `authority-run` | the authority and its OPA | the socket between them |
| `trust` | the authority, agents | the certificates that vouch for the authority, which publishes them |
| `public` | authority and authorization servers | the lab's trust bundle, the keys that verify its tokens |
| `lab` | nobody | keys of the lab, an attacker who got hold of an anchor and an issuer: tests read them |
| `policy`, `catalogue` | OPAs; the catalogue | the policy bundle; its settings and server certificate |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.demo.layout import Layout, ZoneLayout
from extauthz.demo.zones import TRUST_DOMAIN, ZONES, Zone

ROOT: Final = Path("/platform")
PORT: Final = 8443
"""Where each Envoy, the authority and the catalogue listen, each in its own container."""
AUTHORITY: Final = f"authority.{TRUST_DOMAIN}"
CATALOGUE: Final = f"catalogue.{TRUST_DOMAIN}"
_FOLDERS: Final = ("envoy", "extauthz", "agent", "identity", "service", "run", "sockets", "state")
_AUTHORITY: Final = ("authority", "authority-key", "authority-run", "authority-store")
_COMMON: Final = (*_AUTHORITY, "trust", "public", "lab", "catalogue", "policy")


@dataclass(frozen=True, slots=True)
class ContainerZone(ZoneLayout):
    """A zone's paths, the same in every container that has them."""

    @property
    def access_log(self) -> Path:
        return Path("/dev/stdout")

    def socket(self, name: str) -> Path:
        folder = {"agent": "identity", "service": "sockets", "egress": "sockets"}.get(name, "run")
        return self.root / folder / f"{name}.sock"


@dataclass(frozen=True, slots=True)
class ContainerLayout(Layout):
    @property
    def authority(self) -> str:
        return f"https://{AUTHORITY}:{self.authority_port}"

    @property
    def catalogue(self) -> str:
        return f"https://{CATALOGUE}:{self.catalogue_port}"

    @property
    def public(self) -> Path:
        return self.root / "public"

    @property
    def trust(self) -> Path:
        return self.root / "trust" / "trust.pem"

    @property
    def lab(self) -> Path:
        return self.root / "lab"


def plan(root: Path = ROOT) -> ContainerLayout:
    zones: dict[str, ZoneLayout] = {zone.name: ContainerZone(zone, root / zone.name, PORT) for zone in ZONES}
    return ContainerLayout(root, zones, PORT, PORT)


def token_of(layout: Layout, zone: Zone) -> Path:
    """Where the service-account token of the zone's agent is."""
    return layout.zone(zone).root / "agent" / "token"


def folders(layout: Layout) -> None:
    """Make the folders, for nobody but their owner."""
    names = [f"{zone}/{folder}" for zone in layout.zones for folder in _FOLDERS]
    for name in (*names, *_COMMON):
        (layout.root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
