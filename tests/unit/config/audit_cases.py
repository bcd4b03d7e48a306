"""The rules of `config.checks.audit`: what each refuses and where, a near miss, and what is only advised."""

from __future__ import annotations

from typing import Any

from .authority_cases import authority

TRAIL = {"audit": {"directory": "audit"}}
RECEIVER = {"kind": "http", "url": "http://records.bank.example"}
NEAR = {"kind": "opentelemetry", "endpoint": "http://127.0.0.1:4318"}

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("a_written_record_needs_a_trail", {"routes.0.audit": "written"}, "routes[0].audit", "there is no trail"),
    ("an_issuer_has_a_trail", {**authority(), "audit": {}}, "authority", "issues nothing"),
]
ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("a_written_record_needs_a_trail", {"routes.0.audit": "written", **TRAIL}),
    ("an_issuer_has_a_trail", authority()),
]
ADVICE: list[tuple[str, dict[str, Any], str]] = [
    ("uploads_are_encrypted", {"audit": {"directory": "audit", "sinks": [NEAR, RECEIVER]}}, "audit.sinks[1]"),
]
