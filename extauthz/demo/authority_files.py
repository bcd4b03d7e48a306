"""The extauthz.yaml of the platform's authority: who may have which identity, and which token for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from extauthz.demo.config_files import CLAIMS, LAB_ISSUER
from extauthz.demo.files import shared
from extauthz.demo.layout import AUTHORITY_HOST, LOOPBACK
from extauthz.demo.people import SCOPES, USERS
from extauthz.demo.routes import LAB
from extauthz.demo.zones import (
    ADMINISTRATION,
    EDGE,
    EXPLANATION,
    MODEL,
    ORCHESTRATION,
    RETRAINER,
    STORAGE,
    TRUST_DOMAIN,
    ZONES,
    spiffe_id,
)

if TYPE_CHECKING:
    from extauthz.demo.layout import Layout

Tree = dict[str, Any]
PASSPHRASE: Final = "EXTAUTHZ_AUTHORITY_PASSPHRASE"  # noqa: S105 - the name of a variable
"""Environment variable with the passphrase of the authority's keys."""
CLUSTER: Final = "lab"
CLUSTER_ISSUER: Final = "https://cluster.lab.example"
"""Issuer of the service-account tokens of the lab's cluster, which stands in for a Kubernetes."""
CLUSTER_AUDIENCE: Final = "extauthz-authority"
REACHES: Final = {
    EDGE.name: (ORCHESTRATION.audience,),
    ORCHESTRATION.name: (MODEL.audience, EXPLANATION),
    MODEL.name: (STORAGE.audience,),
}
"""Zone → the audiences that its workload may ask tokens for."""
RECEIVES: Final = {EDGE.name: (EDGE.audience, ADMINISTRATION), MODEL.name: (MODEL.audience, EXPLANATION)}
"""Zone → the audiences of its workload, where they are not just the zone's own."""


def authority_settings(layout: Layout, *, pods: bool = False) -> Tree:
    """`pods`: the zones' agents are attested as pods of the lab's cluster, not by join tokens."""
    return {
        "version": 1,
        "environment": "demo",
        "store": {"kind": "sqlite", "path": str(layout.authority_root / "store.sqlite")},
        "policy": {"engine": "sidecar", "path": str(shared("policies"))},
        "telemetry": {"log_level": "warning"},
        "audit": {"directory": str(layout.authority_root / "audit")},
        "authority": {
            "trust_domain": TRUST_DOMAIN,
            "listen": f"{LOOPBACK}:{layout.authority_port}",
            "admin": f"unix://{layout.authority_admin}",
            "dns_names": [AUTHORITY_HOST],
            "keys": {"kind": "encrypted", "passphrase_env": PASSPHRASE},
            "ca": {
                "publish_for": "1s",
                "acknowledge_within": "10s",
                "fallback_anchors": str(layout.public / "lab.pem"),
            },
            # Longer than the servers' refresh of the keys.
            "signing": {"publish_for": "4s", "longest_token": "10m"},
            "attestation": {"attestors": [*([] if pods else [{"kind": "join_token"}]), _cluster(layout, pods=pods)]},
            "entries": entries(pods=pods),
            "sts": _token_service(layout),
        },
    }


def entries(*, pods: bool = False) -> list[Tree]:
    """Registration: the zones' workloads, and those that come and go. A zone's pod is in the namespace of its name."""
    zones = [
        {
            **_entry(zone.name, zone.id, zone.environment),
            "audiences": list(RECEIVES.get(zone.name, (zone.audience,))),
            "exchange_to": list(REACHES.get(zone.name, ())),
            # Clients of the edge know it by its host name.
            "dns_names": [zone.host] if zone is EDGE else [],
            **(_pod(zone.name, zone.service) if pods else {}),
        }
        for zone in ZONES
    ]
    batch = {
        **_entry("retrainer", RETRAINER, "prod"),
        **_pod("training", "retrainer"),
        "svid_ttl": "10m",
        "tenant": "acme",
    }
    if pods:
        return [*zones, batch]
    canary = {
        **_entry("fraud-scorer-pod", MODEL.id, "prod"),
        "audiences": list(RECEIVES[MODEL.name]),
        "exchange_to": list(REACHES[MODEL.name]),
        **_pod(MODEL.name, MODEL.service),
    }
    return [*zones, batch, canary, _entry("staging-scorer", spiffe_id("model", "fraud-scorer", "staging"), "staging")]


def _entry(name: str, identity: str, environment: str) -> Tree:
    return {
        "name": name,
        "spiffe_id": identity,
        "attestors": ["join_token"],
        "selectors": [f"join:{name}"],
        "environment": environment,
    }


def _pod(namespace: str, account: str) -> Tree:
    return {"attestors": ["cluster"], "selectors": [f"k8s:ns:{namespace}", f"k8s:sa:{account}"]}


def _cluster(layout: Layout, *, pods: bool) -> Tree:
    return {
        "kind": "kubernetes",
        "name": "cluster",
        "cluster": CLUSTER,
        "issuer": CLUSTER_ISSUER,
        "jwks": {"file": str(layout.public / "cluster.jwks.json")},
        "algorithms": ["ES256"],
        "audiences": [CLUSTER_AUDIENCE],
        "namespaces": [*([zone.name for zone in ZONES] if pods else [MODEL.name]), "training"],
    }


def _token_service(layout: Layout) -> Tree:
    claims = {name: name for name in CLAIMS}
    return {
        "issuer": layout.authority,
        "lifetime": "5m",
        "purposes": {"payment": ["fraud-review"], "fraud-review": ["risk-explanation"]},
        "opaque_audiences": [ADMINISTRATION],
        "subject_issuers": [
            {
                "name": LAB,
                "issuer": LAB_ISSUER,
                "algorithms": ["ES256"],
                "jwks": {"file": str(layout.public / "lab.jwks.json")},
                "claims": claims,
                "max_lifetime": "10m",
                "delegates": True,
            }
        ],
        "development": {"users": {name: _user(name) for name in USERS}},
    }


def _user(name: str) -> Tree:
    administrator = "limits-admin" in USERS[name]["roles"]
    return {
        "audiences": [ADMINISTRATION] if administrator else [EDGE.audience],
        "scopes": ["limits.write"] if administrator else SCOPES.split(),
        "purposes": ["administration"] if administrator else ["payment"],
        "acr": ["pwd", "mfa"],
        "claims": dict(USERS[name]),
    }
