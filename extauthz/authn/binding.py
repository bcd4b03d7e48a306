"""Certificate-bound tokens: `cnf` against the peer that presents the token (RFC 8705 section 3, RFC 7800).

A binding that we cannot check is refused, never ignored: its issuer meant the token for one holder.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Any, Final, Literal

from extauthz.model import Deny, deny

if TYPE_CHECKING:
    from extauthz.model import Workload

X5T: Final = "x5t#S256"
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")

MISMATCH: Final = deny("transport.binding_mismatch")
MISSING: Final = deny("transport.binding_missing")


def thumbprint(claims: dict[str, Any]) -> str | Deny:
    """The token's `x5t#S256`; empty when the token is not bound. A `cnf` of another or of a second kind is refused."""
    if "cnf" not in claims:
        return ""
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict):
        return deny("token.claims", "cnf is not an object")
    if confirmation.keys() != {X5T}:
        return deny("transport.binding_mismatch", "cnf is not exactly one x5t#S256")
    value = confirmation[X5T]
    if not isinstance(value, str) or not _THUMBPRINT.fullmatch(value):
        return deny("token.claims", "x5t#S256 is not a SHA-256 in base64url")
    return value


def check(bound_to: str, workload: Workload | None, rule: Literal["required", "if_present"]) -> Deny | None:
    """`bound_to` is what `thumbprint` gave. A peer without a certificate holds no key that a token can be bound to."""
    if not bound_to:
        return MISSING if rule == "required" else None
    presented = "" if workload is None else workload.certificate_sha256
    return None if hmac.compare_digest(bound_to, presented) else MISMATCH
