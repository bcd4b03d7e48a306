"""Writes every file that the parts of a zone start from: for Envoy, for extauthz, for the agent, for the service.

None of them holds a secret: keys are made where they are used and stay there. The authority's is `authority_files`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import yaml

from extauthz.clock import Clock, SystemClock
from extauthz.demo import routes
from extauthz.demo.dev_ca import SVID_LIFETIME, DevCa, Identity
from extauthz.demo.files import render, shared, write_private
from extauthz.demo.layout import LOOPBACK, Layout, ZoneLayout
from extauthz.demo.tokens import Mint, new_key
from extauthz.demo.zones import EDGE, ENVIRONMENT, STORAGE, TRUST_DOMAIN, ZONES, Zone

if TYPE_CHECKING:
    from pathlib import Path

SERVICES: Final = tuple(zone for zone in ZONES if zone.environment == ENVIRONMENT)
"""Zones with a service of their own; the staging zone shares the feature store."""
LAB_ISSUER: Final = "https://lab.bank.example"
"""`iss` of the lab's tokens."""
GRANTS: Final = "break-glass"
"""`iss` of break-glass grants."""
JOIN_TOKEN: Final = "EXTAUTHZ_JOIN_TOKEN"  # noqa: S105 - the name of a variable
"""Environment variable in which an agent finds its join token."""
_KEY_ID: Final = "partner1"
_KEY_LIFE: Final = 30 * 86400.0
CLAIMS: Final = ("roles", "tenant", "region", "clearance")


@dataclass(slots=True)
class Credentials:
    """What the lab forges with, kept in memory: an authority that the platform trusts as a fallback anchor, and an
    issuer that its routes accept. What is honest comes from `extauthz authority`."""

    ca: DevCa
    mint: Mint
    api_key: str
    """A partner's key for published rates; the edge's server knows its digest."""
    grants: Mint
    """Signs break-glass grants, as an operator on duty would."""
    svids: dict[str, Identity] = field(default_factory=dict)
    """By zone name: certificates of the lab's own, with the SPIFFE IDs of the zones' workloads."""


def issue(clock: Clock | None = None, lifetime: float = SVID_LIFETIME) -> Credentials:
    """`lifetime` of the certificates, in seconds."""
    clock = clock or SystemClock()
    key = f"xak_{_KEY_ID}_{secrets.token_urlsafe(32)}"
    grants = Mint(GRANTS, new_key(), clock, "duty-1")
    made = Credentials(DevCa(TRUST_DOMAIN, clock), Mint(LAB_ISSUER, new_key(), clock), key, grants)
    for zone in ZONES:
        made.svids[zone.name] = made.ca.svid(zone.id, lifetime=lifetime)
    return made


def api_keys(made: Credentials) -> dict[str, Any]:
    """The edge's file of API keys, with the digest of the partner's."""
    expires = datetime.fromtimestamp(made.mint.clock.now() + _KEY_LIFE, UTC)
    row = {
        "id": _KEY_ID,
        "sha256": hashlib.sha256(made.api_key.encode()).hexdigest(),
        "subject": "partner-rates",
        "roles": ["rates-reader"],
        "routes": ["read-rates"],
        "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "rate": {"requests": 100, "per": "1s"},
    }
    return {"version": 1, "keys": [row]}


def write_public(layout: Layout, made: Credentials) -> None:
    """What the platform knows of the lab."""
    write_private(layout.public / "lab.pem", made.ca.trust_bundle)
    write_json(layout.public / "lab.jwks.json", made.mint.jwks())
    write_json(layout.public / "break-glass.jwks.json", made.grants.jwks())


def write(layout: Layout, made: Credentials) -> None:
    """Everything, below `layout.root`."""
    write_public(layout, made)
    write_json(layout.root / "catalogue.json", {"listen": f"{LOOPBACK}:{layout.catalogue_port}"})
    write_yaml(layout.zone(EDGE).root / "api-keys.yaml", api_keys(made))
    for place in layout.zones.values():
        template = (shared("envoy") / f"{place.zone.kind}.yaml").read_text()
        write_private(place.root / "envoy.yaml", render(template, envoy_values(layout, place)).encode())
        write_yaml(place.root / "extauthz.yaml", extauthz_settings(layout, place.zone))
        write_yaml(place.root / "agent.yaml", agent_settings(layout, place.zone))
    for zone in SERVICES:
        write_json(layout.zone(zone).root / "service.json", service_settings(layout, zone))


def envoy_values(layout: Layout, place: ZoneLayout) -> dict[str, str]:
    """The values of the `${...}` in the zone's Envoy configuration."""
    values = {
        "ADMIN_SOCKET": str(place.socket("admin")),
        "LISTEN_ADDRESS": LOOPBACK,
        "LISTEN_PORT": str(place.port),
        "AGENT_SOCKET": str(place.socket("agent")),
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


def agent_settings(layout: Layout, zone: Zone) -> dict[str, Any]:
    """The extauthz.yaml of the zone's agent."""
    return {
        "version": 1,
        "agent": {
            "authority": layout.authority,
            "trust_bundle": str(layout.trust),
            "attestation": {"kind": "join_token", "token_env": JOIN_TOKEN},
            "socket": f"unix://{layout.zone(zone).socket('agent')}",
        },
    }


def extauthz_settings(layout: Layout, zone: Zone) -> dict[str, Any]:
    """The zone's extauthz.yaml."""
    place = layout.zone(zone)
    claims = {name: name for name in CLAIMS}
    settings: dict[str, Any] = {
        "version": 1,
        "environment": zone.environment,
        "server": {
            "listen": f"unix://{place.socket('check')}",
            "http": f"unix://{place.socket('http')}",
            "max_deadline": "900ms",  # Envoy waits for 1s
            "drain": "1s",
        },
        "identity": {"socket": f"unix://{place.socket('agent')}"},
        "workload": {
            "trust_domains": {TRUST_DOMAIN: {"trust_bundle": "identity"}},
            "xfcc": "ignore" if zone is EDGE else "last",
        },
        "issuers": [
            {
                "name": routes.AUTHORITY,
                "issuer": layout.authority,
                "algorithms": ["ES256"],
                "jwks": {
                    "url": f"{layout.authority}/jwks.json",
                    "client": "mtls",
                    "cooldown": "1s",
                    "refresh": "2s",
                },
                "claims": claims,
                "leeway": "5s",
                "max_lifetime": "10m",
                "introspection": {
                    "url": f"{layout.authority}/introspect",
                    "client": "mtls",
                    "cache_ttl": "1s",
                    "negative_ttl": "1s",
                },
            },
            {
                "name": routes.LAB,
                "issuer": LAB_ISSUER,
                "algorithms": ["ES256"],
                "jwks": {"file": str(layout.public / "lab.jwks.json")},
                "claims": claims,
                "leeway": "5s",
                "max_lifetime": "10m",
            },
        ],
        "revocation": {"feed": {"url": f"{layout.authority}/v1/revocations"}},
        "attributes": {"sources": routes.sources(zone, layout.catalogue)},
        "policy": {"engine": "sidecar", "path": str(shared("policies"))},
        "telemetry": {"records": {"output": str(place.records), "labels": {"zone": zone.name}}, "log_level": "warning"},
        "audit": {"directory": str(place.root / "audit")},
        "routes": routes.routes(zone),
    }
    if zone.next:
        settings["sts"] = {"url": f"{layout.authority}/token", "timeout": "700ms"}  # of the Check's 900ms
    if zone is EDGE:
        settings["api_keys"] = {"file": str(place.root / "api-keys.yaml")}
        settings["judgement"] = {"queue": {"kind": "sqlite", "path": str(place.root / "judgements.sqlite")}}
        settings["break_glass"] = {
            "keys": str(layout.public / "break-glass.jwks.json"),
            "issuer": GRANTS,
            "audience": zone.audience,
        }
    return settings


def service_settings(layout: Layout, zone: Zone) -> dict[str, Any]:
    place = layout.zone(zone)
    settings: dict[str, Any] = {"listen": f"unix://{place.socket('service')}"}
    if zone.next:
        settings["egress"] = str(place.socket("egress"))
    if zone is STORAGE:
        settings["database"] = str(place.root / "features.sqlite")
    return settings


def write_json(path: Path, value: Any) -> None:
    write_private(path, json.dumps(value, indent=2).encode())


def write_yaml(path: Path, value: Any) -> None:
    copied = json.loads(json.dumps(value))  # shared parts would become aliases, which extauthz.yaml does not take
    write_private(path, yaml.safe_dump(copied, sort_keys=False).encode())
