"""Writes every file that the parts start from: secrets, Envoy configurations, extauthz.yaml, service settings."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from extauthz.clock import Clock, SystemClock
from extauthz.demo import routes
from extauthz.demo.dev_ca import SVID_LIFETIME, DevCa, Identity
from extauthz.demo.files import render, shared, write_private
from extauthz.demo.layout import LOOPBACK, Layout, ZoneLayout
from extauthz.demo.tokens import Mint, new_key
from extauthz.demo.zones import BY_NAME, EDGE, ENVIRONMENT, STORAGE, TRUST_DOMAIN, ZONES, Zone

if TYPE_CHECKING:
    from pathlib import Path

SERVICES: Final = tuple(zone for zone in ZONES if zone.environment == ENVIRONMENT)
"""Zones with a service of their own; the staging zone shares the feature store."""


@dataclass(slots=True)
class Credentials:
    """What the platform's authorities issued; kept in memory and in the run folder, for the length of the run."""

    ca: DevCa
    mint: Mint
    svids: dict[str, Identity] = field(default_factory=dict)
    """By zone name."""
    client_secrets: dict[str, str] = field(default_factory=dict)
    """By zone name: how a zone's service proves itself to the token issuer."""
    lifetime: float = SVID_LIFETIME
    """Of certificates, in seconds."""


def issue(
    layout: Layout, clock: Clock | None = None, ca: DevCa | None = None, lifetime: float = SVID_LIFETIME
) -> Credentials:
    """A certificate authority (unless one is given), a token key, and an SVID for every zone; `lifetime` in seconds."""
    clock = clock or SystemClock()
    made = Credentials(ca or DevCa(TRUST_DOMAIN, clock), Mint(layout.issuer, new_key(), clock), lifetime=lifetime)
    for zone in ZONES:
        made.svids[zone.name] = made.ca.svid(zone.id, lifetime=lifetime)
        made.client_secrets[zone.name] = secrets.token_urlsafe(32)
    return made


def write(layout: Layout, made: Credentials) -> None:
    """Everything, below `layout.root`."""
    for place in layout.zones.values():
        write_secrets(place, made)
        template = (shared("envoy") / f"{place.zone.kind}.yaml").read_text()
        write_private(place.root / "envoy.yaml", render(template, envoy_values(layout, place)).encode())
        write_yaml(place.root / "extauthz.yaml", extauthz_settings(layout, place.zone))
    for zone in SERVICES:
        write_json(layout.zone(zone).root / "service.json", service_settings(layout, zone, made))
    write_private(layout.root / "issuer.key", made.mint.private_key)
    write_json(layout.root / "issuer.json", issuer_settings(layout, made))
    write_json(layout.root / "catalogue.json", {"listen": f"{LOOPBACK}:{layout.catalogue_port}"})
    write_private(layout.root / "ca.pem", made.ca.trust_bundle)


def write_secrets(place: ZoneLayout, made: Credentials) -> None:
    made.svids[place.zone.name].write(place.secrets, "svid")
    write_private(place.secrets / f"{TRUST_DOMAIN}.pem", made.ca.trust_bundle)
    names = ["svid", "trust_bundle"]
    if place.zone is EDGE:
        made.ca.server(EDGE.host, lifetime=made.lifetime).write(place.secrets, "server")
        names.append("server")
    for name in names:
        template = (shared("envoy") / "sds" / f"{name}.yaml").read_text()
        write_private(place.secrets / f"{name}.yaml", render(template, {"SECRETS_DIR": str(place.secrets)}).encode())


def envoy_values(layout: Layout, place: ZoneLayout) -> dict[str, str]:
    """The values of the `${...}` in the zone's Envoy configuration."""
    values = {
        "ADMIN_SOCKET": str(place.socket("admin")),
        "LISTEN_ADDRESS": LOOPBACK,
        "LISTEN_PORT": str(place.port),
        "SECRETS_DIR": str(place.secrets),
        "ACCESS_LOG": str(place.access_log),
        "EXTAUTHZ_SOCKET": str(place.socket("check")),
        "SERVICE_SOCKET": str(
            layout.zone(STORAGE if place.zone.kind == STORAGE.kind else place.zone).socket("service")
        ),
    }
    if place.zone.next:
        values["EGRESS_SOCKET"] = str(place.socket("egress"))
        values["NEXT_ADDRESS"] = LOOPBACK
        values["NEXT_PORT"] = str(layout.zones[place.zone.next].port)
    return values


def extauthz_settings(layout: Layout, zone: Zone) -> dict[str, Any]:
    """The zone's extauthz.yaml."""
    place = layout.zone(zone)
    return {
        "version": 1,
        "environment": zone.environment,
        "server": {
            "listen": f"unix://{place.socket('check')}",
            "http": f"unix://{place.socket('http')}",
            "max_deadline": "900ms",  # Envoy waits for 1s
            "drain": "1s",
        },
        "workload": {
            "trust_domains": {TRUST_DOMAIN: {"trust_bundle": str(place.secrets / f"{TRUST_DOMAIN}.pem")}},
            "xfcc": "ignore" if zone is EDGE else "last",
        },
        "issuers": [
            {
                "name": routes.ISSUER_NAME,
                "issuer": layout.issuer,
                "algorithms": ["ES256"],
                "jwks": {"discovery": True, "cooldown": "1s"},
                "claims": {name: name for name in ("roles", "tenant", "region", "clearance")},
                "leeway": "5s",
                "max_lifetime": "10m",
            }
        ],
        "attributes": {"sources": routes.sources(zone, layout.catalogue)},
        "policy": {"engine": "sidecar", "path": str(shared("policies"))},
        "telemetry": {"records": {"output": str(place.records), "labels": {"zone": zone.name}}, "log_level": "warning"},
        "routes": routes.routes(zone),
    }


def service_settings(layout: Layout, zone: Zone, made: Credentials) -> dict[str, Any]:
    place = layout.zone(zone)
    settings: dict[str, Any] = {"listen": f"unix://{place.socket('service')}"}
    if zone.next:
        settings |= {
            "egress": str(place.socket("egress")),
            "issuer": layout.issuer,
            "client_id": zone.id,
            "client_secret": made.client_secrets[zone.name],
            "next_audience": BY_NAME[zone.next].audience,
        }
    if zone is STORAGE:
        settings["database"] = str(place.root / "features.sqlite")
    return settings


def issuer_settings(layout: Layout, made: Credentials) -> dict[str, Any]:
    clients = [
        {
            "id": zone.id,
            "secret_sha256": hashlib.sha256(made.client_secrets[zone.name].encode()).hexdigest(),
            "certificate_sha256": made.svids[zone.name].sha256,
            "audience": zone.audience,
            "reaches": [BY_NAME[zone.next].audience],
        }
        for zone in SERVICES
        if zone.next
    ]
    return {
        "listen": f"{LOOPBACK}:{layout.issuer_port}",
        "issuer": layout.issuer,
        "key_file": str(layout.root / "issuer.key"),
        "edge_audience": EDGE.audience,
        "clients": clients,
    }


def write_json(path: Path, value: Any) -> None:
    write_private(path, json.dumps(value, indent=2).encode())


def write_yaml(path: Path, value: Any) -> None:
    copied = json.loads(json.dumps(value))  # shared parts would become aliases, which extauthz.yaml does not take
    write_private(path, yaml.safe_dump(copied, sort_keys=False).encode())
