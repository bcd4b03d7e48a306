"""API keys for tests: the file, the key, and a request that carries it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from extauthz.authn.api_key import HEADER, ApiKeys
from extauthz.authn.api_key_settings import ApiKeySettings
from extauthz.clock import ManualClock
from tests.support.certs import peer_request

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.model import Request

SECRET = "s" * 43
KEY = f"xak_partner1_{SECRET}"
ENDS = "2027-06-30T00:00:00Z"
"""`ManualClock()` starts in January 2027."""


def row(**changes: Any) -> dict[str, Any]:
    """One row of the file; a change to `...` removes the member."""
    written = {
        "id": "partner1",
        "sha256": hashlib.sha256(KEY.encode()).hexdigest(),
        "subject": "rates-partner",
        "tenant": "acme",
        "roles": ["rates_reader"],
        "scopes": ["rates:read"],
        "routes": ["rates"],
        "expires": ENDS,
        "rate": {"requests": 3, "per": "60s"},
        **changes,
    }
    return {name: value for name, value in written.items() if value is not ...}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump({"version": 1, "keys": list(rows)}))
    return path


def keys(path: Path, *rows: dict[str, Any]) -> tuple[ApiKeys, ManualClock]:
    clock = ManualClock()
    return ApiKeys(ApiKeySettings(file=write(path, *(rows or (row(),)))), clock), clock


def request(*values: str, **headers: str) -> Request:
    """With `values` as x-api-key headers: several are joined by Envoy, or told of as duplicated."""
    sent = {**headers, HEADER: ",".join(values)} if values else dict(headers)
    return replace(peer_request(), headers=sent)


def told_twice(value: str) -> Request:
    """As Envoy sends it with `encode_raw_headers`."""
    return replace(request(value), duplicated_headers=frozenset({HEADER}))
