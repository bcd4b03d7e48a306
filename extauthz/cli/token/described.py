"""What a token says, in words. Nothing of it is proved: whoever made the text chose every word of it."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Any, Final

from extauthz import strict_json
from extauthz.authn import claims as rules
from extauthz.authn import jose
from extauthz.model import Deny
from extauthz.sts import opaque

_API_KEY: Final = re.compile(r"xak_([a-z0-9]{8})_[A-Za-z0-9_-]{43}")
_OPAQUE: Final = re.compile(r"xat_[A-Za-z0-9_-]{43}")
_TIMES: Final = ("iat", "nbf", "exp", "auth_time", "updated_at")
_PARTS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_LATEST: Final = 253402300799
"""The last second of the year 9999."""
_KINDS: Final = {
    "at+jwt": "an access token (RFC 9068)",
    "txntoken+jwt": "a transaction token",
    "secevent+jwt": "a security event (RFC 8417)",
    "dpop+jwt": "a DPoP proof (RFC 9449)",
    "jwt": "a JWT of no stated kind, or a JWT-SVID",
    jose.ABSENT: "a JWT of no stated kind",
}
_JWS_DOTS: Final = 2
_JWE_DOTS: Final = 4


def described(token: str, now: float) -> dict[str, Any]:
    """Never the token itself. `now`: seconds since the epoch."""
    found: dict[str, Any] = {
        "verified": False,
        "characters": len(token),
        "sha256": hashlib.sha256(token.encode("ascii", "replace")).hexdigest(),
    }
    if match := _API_KEY.fullmatch(token):
        return {**found, "kind": "api_key", "says": f"an API key; its public part is {match[1]}", "id": match[1]}
    if _OPAQUE.fullmatch(token):
        return {
            **found,
            "kind": "opaque",
            "says": "an opaque token of our authority: only it knows more (introspection)",
        }
    if opaque.is_opaque(token) or token.startswith("xak_"):
        return {**found, "kind": "unknown", "says": "begins like a token of ours, and is not one: cut off?"}
    dots = token.count(".")
    if dots == _JWE_DOTS:
        return {**found, "kind": "jwe", "says": "an encrypted token (five parts): never accepted here"}
    if dots != _JWS_DOTS:
        return {**found, "kind": "opaque", "says": "no JWT: an opaque token of some issuer, or no token at all"}
    return {**found, **_jwt(token, now)}


def _jwt(token: str, now: float) -> dict[str, Any]:
    """A compact JWS, read as far as it can be; `form` says what `extauthz serve` thinks of it."""
    parsed = jose.parse(token, unnamed="")
    header, payload = (_members(part) for part in token.split(".")[:2])
    form: dict[str, Any] = {"ok": True}
    if isinstance(parsed, Deny):
        form = {"ok": False, "code": parsed.code, "message": parsed.message, "detail": parsed.reasons[0].detail}
    typ = str((header or {}).get("typ", jose.ABSENT)).lower().removeprefix("application/")
    return {
        "kind": "jwt",
        "says": _KINDS.get(typ, "a token of another kind"),
        "form": form,
        "header": header,
        "claims": payload,
        "times": _times(payload or {}, now),
        "act": _chain(payload or {}),
        "bound_to": _bound(payload or {}),
        "ancestors": (payload or {}).get("ancestors", []),
    }


def _members(part: str) -> dict[str, Any] | None:
    raw = jose.decode(part.encode("ascii", "replace"))
    try:
        root = strict_json.parse(raw or b"", max_bytes=2 * jose.MAX_TOKEN, max_depth=2 * jose.MAX_DEPTH).root
    except strict_json.NotStrict:
        return None
    return root if isinstance(root, dict) else None


def _times(claims: dict[str, Any], now: float) -> list[dict[str, Any]]:
    found = []
    for name in _TIMES:
        value = claims.get(name)
        if type(value) is int and 0 <= value <= _LATEST:
            at = datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")
            found.append({"claim": name, "at": at, "words": words(name, value - now)})
    return found


def words(name: str, left: float) -> str:
    """`ends in 4m 12s`, `ended 3h 5m ago`, `issued 10s ago`."""
    before, after = {"exp": ("ended", "ends"), "iat": ("issued", "issued"), "nbf": ("valid since", "valid")}.get(
        name, ("was", "is")
    )
    return f"{after} in {_span(left)}" if left > 0 else f"{before} {_span(-left)} ago"


def _span(seconds: float) -> str:
    rest, told = int(seconds), []
    for unit, size in _PARTS:
        if rest >= size:
            told.append(f"{rest // size}{unit}")
            rest %= size
    return " ".join(told[:2]) or "0s"


def _chain(claims: dict[str, Any]) -> list[str]:
    """The actors, the current one first; bounded like the server's."""
    found: list[str] = []
    inside: Any = claims.get("act")
    while isinstance(inside, dict) and len(found) <= rules.MAX_ACTORS:
        found.append(str(inside.get("sub", "nobody named")))
        inside = inside.get("act")
    return found


def _bound(claims: dict[str, Any]) -> str:
    confirmation = claims.get("cnf")
    if not isinstance(confirmation, dict):
        return ""
    x5t = confirmation.get("x5t#S256")
    return f"certificate {x5t}" if isinstance(x5t, str) else f"something else: {', '.join(sorted(confirmation))}"
