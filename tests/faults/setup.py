"""What the servers start from: a small policy, the route policies, `extauthz.yaml`.

| route | what it stands for |
| --- | --- |
| `pay` | effects: money. Critical, closed for every cause; never cached, so every request asks the engine |
| `read` | no effects, closed; decisions are reused for a while, as most routes' are |
| `profile` | a value of an attribute source decides |
| `session` | opaque tokens: the issuer is asked |
| `report` | `on_failure: degrade` |
| `advice` | the same, with an attribute source |
| `ping` | `on_failure: open` |
| `hint` | `evaluation: async` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Tree = dict[str, Any]
ISSUER: Final = "https://issuer.faults.example"
AUDIENCE: Final = "https://faults.example"
TENANT: Final = "acme"
REVISION: Final = "faults-1"
POLICY: Final = """package faults

default decision := {"allow": false, "ttl": 1, "reasons": [{"code": "role.denied"}]}

# METADATA
# title: A teller may act for the own tenant, with an account that is not closed
# entrypoint: true
decision := {"allow": false, "ttl": 1, "reasons": [{"code": "attribute.tenant_mismatch"}]} if {
	teller
	input.resource.properties.tenant != input.subject.properties.tenant
} else := {"allow": false, "ttl": 1, "reasons": [{"code": "attribute.account_closed"}]} if {
	teller
	input.resource.properties.account == "closed"
} else := {"allow": true} if {
	teller
}

teller if "teller" in input.subject.properties.roles
"""
_TENANT: Final[Tree] = {"source": "asked", "to": {"resource.properties.tenant": "tenant"}}
_ACCOUNT: Final[Tree] = {"source": "accounts", "to": {"resource.properties.account": "state"}}
_SHORT: Final = {"timeout": "300ms"}


def routes() -> dict[str, Tree]:
    """Route policies by name; each is also the first segment of its path."""
    return {
        "pay": _route("pay", effects=["money"], cache_ttl="0s"),
        "read": _route("read", cache_ttl="5s"),
        "profile": _route("profile", cache_ttl="0s", attributes=[_TENANT, _ACCOUNT]),
        "advice": _route("advice", cache_ttl="0s", attributes=[_TENANT, _ACCOUNT], on_failure="degrade"),
        "session": _route(
            "session",
            cache_ttl="0s",
            token={"issuers": ["main"], "audiences": [AUDIENCE], "introspect": "opaque"},
        ),
        "report": _route("report", cache_ttl="0s", on_failure="degrade"),
        "ping": _route("ping", cache_ttl="0s", on_failure="open"),
        "hint": _route("hint", cache_ttl="0s", evaluation="async"),
    }


def _route(name: str, **more: Any) -> Tree:
    return {
        "name": name,
        "match": {"path": f"/{name}/{{tenant}}"},
        "public": True,
        "token": {"issuers": ["main"], "audiences": [AUDIENCE]},
        "action": f"{name}.use",
        "resource": {"type": name, "id": "{tenant}"},
        "attributes": [_TENANT],
        "policy": "faults/decision",
        **more,
    }


def write_policy(folder: Path, **more: str) -> Path:
    """A directory with the policy; `more`: further files by stem."""
    place = folder / "policy"
    place.mkdir(exist_ok=True)
    (place / "faults.rego").write_text(POLICY)
    for stem, text in more.items():
        (place / f"{stem}.rego").write_text(text)
    return place


def settings(place: Path, names: Mapping[str, Tree], issuer: str, accounts: str) -> Tree:
    """`extauthz.yaml` of the server whose folder is `place`; `issuer` and `accounts` are URLs of the runner's own."""
    return {
        "version": 1,
        "server": {
            "listen": f"unix://{place / 'check.sock'}",
            "http": f"unix://{place / 'http.sock'}",
            "max_deadline": "700ms",
            "drain": "3s",
            # A machine that runs tests is busy without anybody asking much of the server.
            "admission": {"target": "200ms"},
        },
        "workload": {"trust_domains": {}},
        "issuers": [
            {
                "name": "main",
                "issuer": ISSUER,
                "algorithms": ["ES256"],
                "jwks": {"url": f"{issuer}/jwks", "cooldown": "1s", "refresh": "2s", "timeout": "500ms"},
                "claims": {"roles": "roles", "tenant": "tenant"},
                "max_lifetime": "2h",
                "introspection": {
                    "url": f"{issuer}/introspect",
                    "client": {"id": "faults", "secret_file": str(place.parent / "client-secret")},
                    "cache_ttl": "0s",
                    "negative_ttl": "0s",
                    "prefix": "xat_",
                    **_SHORT,
                },
            }
        ],
        "attributes": {
            "sources": [
                {"kind": "request", "name": "asked", "fields": {"tenant": {"from": "path:tenant"}}},
                {
                    "kind": "http",
                    "name": "accounts",
                    "url": f"{accounts}/accounts/{{path.tenant}}",
                    "fields": {"state": {"from": "/state"}},
                    **_SHORT,
                },
            ]
        },
        "policy": {"path": str(place.parent / "policy"), "sidecar": {"timeout": "500ms"}},
        "telemetry": {"records": {"output": str(place / "records.jsonl")}, "log_level": "info"},
        "routes": list(names.values()),
    }
