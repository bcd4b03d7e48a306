"""A small valid configuration, and ways to change it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

GATEWAY = "spiffe://bank.example/env/prod/ns/edge/sa/gateway"

BASE: dict[str, Any] = {
    "version": 1,
    "environment": "prod",
    "workload": {"trust_domains": {"bank.example": {}}},
    "issuers": [
        {
            "name": "bank",
            "issuer": "https://issuer.bank.example",
            "algorithms": ["ES256"],
            "jwks": {"url": "https://issuer.bank.example/jwks.json"},
        }
    ],
    "attributes": {
        "sources": [
            {"name": "limits", "kind": "static", "values": {"region": "eu"}},
            {"name": "body", "kind": "request", "fields": {"amount": {"from": "body:/amount", "type": "number"}}},
            {
                "name": "register",
                "kind": "http",
                "url": "https://register.bank.example/transfers/{path.transfer_id}",
                "fields": {"tenant": {"from": "/tenant"}},
            },
        ]
    },
    "policy": {"path": "policies"},
    "routes": [
        {
            "name": "read-transfer",
            "match": {"hosts": ["edge.bank.example"], "methods": ["GET"], "path": "/v1/transfers/{transfer_id}"},
            "workloads": [GATEWAY],
            "token": {"issuers": ["bank"], "audiences": ["https://api.bank.example"]},
            "action": "transfer.read",
            "resource": {"type": "transfer", "id": "{transfer_id}"},
            "attributes": [
                {"source": "register", "to": {"resource.properties.tenant": "tenant"}},
                {"source": "limits", "to": {"context.properties.region": "region"}},
            ],
            "policy": "extauthz/payments/decision",
        },
        {
            "name": "create-transfer",
            "match": {"hosts": ["edge.bank.example"], "methods": ["POST"], "path": "/v1/transfers"},
            "effects": ["money"],
            "workloads": [GATEWAY],
            "token": {"issuers": ["bank"], "audiences": ["https://api.bank.example"]},
            "action": "transfer.create",
            "resource": {"type": "transfer"},
            "attributes": [{"source": "body", "to": {"resource.properties.amount": "amount"}}],
            "policy": "extauthz/payments/decision",
        },
    ],
}

REMOVE = object()


class _Plain(yaml.SafeDumper):
    """Writes a value out each time."""

    def ignore_aliases(self, _data):
        return True


def changed(changes: dict[str, Any]) -> str:
    """BASE as YAML with changes: `routes.0.public: True`; a value of REMOVE takes the key away; `+` appends."""
    tree = copy.deepcopy(BASE)
    for path, value in changes.items():
        *parents, last = path.replace("\\.", "\0").split(".")
        node: Any = tree
        for part in parents:
            key = part.replace("\0", ".")
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        last = last.replace("\0", ".")
        if last == "+":
            node.append(copy.deepcopy(value))
        elif value is REMOVE:
            del node[last]
        else:
            node[int(last) if isinstance(node, list) else last] = copy.deepcopy(value)
    return yaml.dump(tree, sort_keys=False, Dumper=_Plain)


@pytest.fixture
def text() -> Callable[[dict[str, Any]], str]:
    return changed
