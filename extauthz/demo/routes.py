"""The routes of each zone, as they stand in its extauthz.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from extauthz.demo.people import SCOPES
from extauthz.demo.zones import (
    ADMINISTRATION,
    EDGE,
    EXPLANATION,
    MODEL,
    ORCHESTRATION,
    RETRAINER,
    STORAGE,
    Zone,
    spiffe_id,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTHORITY: Final = "authority"
LAB: Final = "lab"
"""The issuer of the lab: it signs what a compromised issuer would."""
HOP: Final = "60s"
"""Life of a token for the next zone."""
Tree = dict[str, Any]

_TRANSFER: Final[Tree] = {
    "kind": "request",
    "name": "transfer",
    "fields": {
        "tenant": {"from": "body:/tenant"},
        "region": {"from": "body:/region"},
        "amount": {"from": "body:/amount", "type": "number"},
        "currency": {"from": "body:/currency"},
        "transaction_type": {"from": "body:/transaction_type"},
    },
}
_EVENT: Final[Tree] = {"kind": "request", "name": "event", "fields": {"tenant": {"from": "body:/tenant"}}}
_ROWS: Final[Tree] = {
    "kind": "request",
    "name": "rows",
    "fields": {
        "tenant": {"from": "path:tenant"},
        "transaction_type": {"from": "path:transaction_class"},
        "masked": {"from": "query:masked", "type": "boolean", "required": False},
    },
}


def _http(name: str, url: str, fields: Mapping[str, str]) -> Tree:
    kinds = {"retention_days": "number", "age_days": "number"}
    rules = {field: {"from": f"/{field}", "type": kinds.get(field, "string")} for field in fields}
    return {"kind": "http", "name": name, "url": url, "timeout": "500ms", "fields": rules}


def _resource(*names: str, below: str = "") -> dict[str, str]:
    prefix = "resource.properties." + (f"{below}." if below else "")
    return {prefix + name: name for name in names}


_DATASET: Final = ("name", "classification", "retention_days", "age_days")
_USE_TRANSFER: Final = {
    "source": "transfer",
    "to": _resource("tenant", "region", "amount", "currency", "transaction_type"),
}


def sources(zone: Zone, catalogue: str) -> list[Tree]:
    """The attribute sources that the zone's routes name."""
    if zone.kind == MODEL.kind:
        model = ("name", "version", "stage")
        return [
            _TRANSFER,
            _http("deployed-model", f"{catalogue}/models/{{resource.id}}/deployed", dict.fromkeys(model, "")),
            _http("named-model", f"{catalogue}/models/{{resource.id}}/{{path.version}}", dict.fromkeys(model, "")),
        ]
    if zone.kind == STORAGE.kind:
        features = dict.fromkeys(("region", "data_class"), "")
        dataset = dict.fromkeys((*_DATASET, "region"), "")
        return [
            _ROWS,
            _http("features", f"{catalogue}/features/{{path.tenant}}", features),
            _http("dataset", f"{catalogue}/datasets/{{path.tenant}}/{{path.dataset}}", dataset),
        ]
    return [_TRANSFER, _EVENT] if zone is EDGE else [_TRANSFER]


def routes(zone: Zone) -> list[Tree]:
    """The route policies of the zone; their names are those of its Envoy's `context_extensions`."""
    return _BY_KIND[zone.kind](zone)


def _token(zone: Zone, **more: Any) -> Tree:
    return {"issuers": [AUTHORITY, LAB], "audiences": [zone.audience], **more}


def _call(name: str, zone: Zone, match: Tree, to: str, exchange: Tree, **more: Any) -> Tree:
    """The zone's own service calls another zone: judged here, with the token exchanged for one of the other zone."""
    return {
        "name": name,
        "match": match,
        "caller": "self",
        "workloads": [zone.id],
        "token": _token(zone, binding="received"),
        "action": "zone.call",
        "resource": {"type": "zone", "id": to},
        "policy": "extauthz/egress/decision",
        "exchange": {"lifetime": HOP, **exchange},
        **more,
    }


def _edge(zone: Zone) -> list[Tree]:
    return [
        {
            "name": "create-transfer",
            "match": {"methods": ["POST"], "path": "/v1/transfers"},
            "effects": ["money"],
            "audit": "written",
            "public": True,
            "token": _token(zone, purposes=["payment"], scopes=["transfers.write"]),
            "action": "transfer.create",
            "resource": {"type": "transfer"},
            "attributes": [_USE_TRANSFER],
            "policy": "extauthz/payments/decision",
        },
        {
            # Money that is stopped: the token is verified here, and its issuer asked as well.
            "name": "cancel-transfer",
            "match": {"methods": ["POST"], "path": "/v1/transfers/{transfer}/cancel"},
            "effects": ["money"],
            "public": True,
            "token": {
                "issuers": [AUTHORITY],
                "audiences": [zone.audience],
                "purposes": ["payment"],
                "scopes": ["transfers.write"],
                "introspect": "always",
            },
            "action": "transfer.cancel",
            "resource": {"type": "transfer", "id": "{transfer}"},
            "attributes": [_USE_TRANSFER],
            "policy": "extauthz/payments/decision",
        },
        {
            # Roles alone decide: a count of transfers, which every operator may see of every tenant. Without OPA the
            # last good policy decides; in an emergency a grant does.
            "name": "read-usage",
            "on_failure": {"engine": "degrade"},
            "break_glass": True,
            "match": {"methods": ["GET"], "path": "/v1/usage/{tenant}"},
            "public": True,
            "token": _token(zone),
            "action": "usage.read",
            "resource": {"type": "usage", "id": "{tenant}"},
            "policy": "extauthz/operations/decision",
        },
        {
            # What an app noticed: taken at once, judged afterwards. Who reports for others twice reports no more.
            "name": "report-event",
            "match": {"methods": ["POST"], "path": "/v1/events"},
            "criticality": "sheddable",
            "evaluation": "async",
            "judgement": {
                "when_full": "sync",
                "quarantine": {"by": "token", "strikes": 2, "window": "60s", "duration": "10m"},
            },
            "on_failure": {"engine": "open"},
            "public": True,
            "token": _token(zone),
            "action": "event.report",
            "resource": {"type": "event"},
            "attributes": [{"source": "event", "to": _resource("tenant")}],
            "policy": "extauthz/operations/decision",
        },
        {
            "name": "read-rates",
            "match": {"methods": ["GET"], "path": "/v1/rates"},
            "public": True,
            "credential": "api_key",
            "action": "rates.read",
            "resource": {"type": "rates"},
            "policy": "extauthz/operations/decision",
        },
        {
            "name": "change-limit",
            "match": {"methods": ["PUT"], "path": "/v1/limits/{kind}"},
            "effects": ["side_effects"],
            "public": True,
            "token": {
                "issuers": [AUTHORITY],
                "audiences": [ADMINISTRATION],
                "scopes": ["limits.write"],
                "introspect": "always",
                "acr": ["mfa"],
                "max_age": "5m",
            },
            "forward_token": False,
            "action": "limits.update",
            "resource": {"type": "limits", "id": "{kind}"},
            "policy": "extauthz/operations/decision",
        },
        _call(
            "call-orchestration",
            zone,
            {"methods": ["POST"], "path": "/v1/transfers"},
            ORCHESTRATION.kind,
            {"audience": ORCHESTRATION.audience, "scopes": SCOPES.split()},
            effects=["money"],
        ),
    ]


def _orchestration(zone: Zone) -> list[Tree]:
    return [
        {
            "name": "decide-transfer",
            "match": {"methods": ["POST"], "path": "/v1/transfers"},
            "effects": ["money"],
            "workloads": [EDGE.id],
            "token": _token(zone, binding="required"),
            "action": "transfer.create",
            "resource": {"type": "transfer"},
            "attributes": [_USE_TRANSFER],
            "policy": "extauthz/payments/decision",
        },
        _call(
            "call-model",
            zone,
            {"methods": ["POST"], "path": "/v1/score"},
            MODEL.kind,
            {"audience": MODEL.audience, "scopes": ["scores.write", "features.read"], "purpose": "fraud-review"},
        ),
        _call(
            "call-explanation",
            zone,
            {"methods": ["POST"], "path": "/v1/explain"},
            MODEL.kind,
            {"audience": EXPLANATION, "scopes": ["scores.explain"], "purpose": "risk-explanation"},
        ),
    ]


def _model(zone: Zone) -> list[Tree]:
    base = {
        "workloads": [ORCHESTRATION.id],
        "token": _token(zone, binding="required"),
        "action": "score.create",
        "resource": {"type": "model", "id": "fraud"},
        "policy": "extauthz/models/decision",
    }
    transfer = {"source": "transfer", "to": _resource("tenant", "region")}
    model = _resource("name", "version", "stage", below="model")
    return [
        {
            "name": "score-transfer",
            "match": {"methods": ["POST"], "path": "/v1/score"},
            **base,
            "attributes": [transfer, {"source": "deployed-model", "to": model}],
        },
        {
            "name": "score-with-version",
            "match": {"methods": ["POST"], "path": "/v1/score/{version}"},
            **base,
            "attributes": [transfer, {"source": "named-model", "to": model}],
        },
        {
            "name": "explain-score",
            "match": {"methods": ["POST"], "path": "/v1/explain"},
            **base,
            "token": {
                **_token(zone, binding="required", purposes=["risk-explanation"], scopes=["scores.explain"]),
                "audiences": [EXPLANATION],
            },
            "action": "score.explain",
            "attributes": [transfer, {"source": "deployed-model", "to": model}],
        },
        _call(
            "call-storage",
            zone,
            {"methods": ["GET"], "path": "/v1/features/{tenant}/{transaction_class}"},
            STORAGE.kind,
            {"audience": STORAGE.audience, "scopes": ["features.read"]},
        ),
    ]


def _storage(zone: Zone) -> list[Tree]:
    dataset = {**_resource(*_DATASET, below="dataset"), **_resource("region")}
    return [
        {
            "name": "read-features",
            "match": {"methods": ["GET"], "path": "/v1/features/{tenant}/{transaction_class}"},
            "workloads": [spiffe_id(MODEL.kind, MODEL.service, zone.environment)],
            "token": _token(zone, binding="required"),
            "action": "features.read",
            "resource": {"type": "features"},
            "attributes": [
                {"source": "rows", "to": _resource("tenant", "transaction_type", "masked")},
                {"source": "features", "to": _resource("region", "data_class")},
            ],
            "policy": "extauthz/features/decision",
        },
        {
            "name": "read-dataset",
            "match": {"methods": ["GET"], "path": "/v1/datasets/{tenant}/{dataset}"},
            "workloads": [RETRAINER],
            "credential": "workload",
            "action": "dataset.read",
            "resource": {"type": "dataset", "id": "{dataset}"},
            "attributes": [
                {"source": "rows", "to": _resource("tenant", "masked")},
                {"source": "dataset", "to": dataset},
            ],
            "policy": "extauthz/datasets/decision",
        },
    ]


_BY_KIND: Final = {EDGE.kind: _edge, ORCHESTRATION.kind: _orchestration, MODEL.kind: _model, STORAGE.kind: _storage}
