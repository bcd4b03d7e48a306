"""What a verified token says, held against its issuer's settings and the route's rule (RFC 7519, 9068, 8725)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final

from extauthz.authn import binding, step_up
from extauthz.model import Deny, Subject, deny

if TYPE_CHECKING:
    from extauthz.authn.settings import IssuerSettings, TokenRule

MAX_TEXT: Final = 512
MAX_SECONDS: Final = 2**40
_TEXT: Final = re.compile(rf"[^\x00-\x1f\x7f\x80-\x9f\u2028\u2029]{{1,{MAX_TEXT}}}")
"""Texts that go into headers and records: no control characters, no line separators."""
_SCOPE: Final = re.compile(r"[!#-\[\]-~]{1,256}")
"""RFC 6749 section 3.3."""
MAX_ACTORS: Final = 8
MAX_ANCESTORS: Final = 8
_SUBJECT_TYPES: Final = frozenset({"user", "service", "workload"})
_UNTYPED: Final = frozenset({"jwt", "absent", "jose"})
_OTHER_KINDS: Final = {
    "nonce": "an ID token",
    "at_hash": "an ID token",
    "c_hash": "an ID token",
    "s_hash": "an ID token",
    "events": "a security event or logout token",
    "token_introspection": "an introspection answer",
    "req_wl": "a transaction token",
    "htm": "a DPoP proof",
    "htu": "a DPoP proof",
}
"""Claims that give another kind of token away where `typ` does not say (RFC 8725 section 3.12)."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """`not_before` and `expires` already include the leeway; `issued_at` is 0 when the token does not say.

    From `step_up_at` (seconds since the epoch) on, the sign-in is too old for the rule; minus infinity: never enough.
    """

    subject: Subject
    not_before: float
    expires: float
    issued_at: float
    bound_to: binding.Bound
    step_up_at: float = inf
    acr: str = ""
    auth_time: int = 0


@dataclass(frozen=True, slots=True)
class _Times:
    expires: int
    not_before: int
    issued_at: int


def accept(  # noqa: PLR0911 - one return a refusal, numbered
    claims: dict[str, Any],
    typ: str,
    issuer: IssuerSettings,
    rule: TokenRule,
    now: float,
    digest: str,
    *,
    credential: str = "jwt",
) -> Accepted | Deny:
    """Judge verified claims. `digest`: lower-case hex SHA-256 of the token. `iss` has been compared by the caller.

    1. where `typ` is generic, no claim gives another kind of token away
    2. exp, nbf and iat are whole seconds; the token is valid now and does not live too long
    3. `sub` and the issuer's required claims are there
    4. the audience is ours
    5. the scopes that the route needs are there
    6. the purpose is one of the route's
    7. `act` and `ancestors`, where present, are well formed and bounded
    8. `cnf`, where present, is of the one kind that can be checked (against the peer: `binding.check`)
    9. how long the sign-in is good for the rule is worked out; `held.judge` refuses, after the binding
    """
    if typ in _UNTYPED and (foreign := next((name for name in _OTHER_KINDS if name in claims), None)):  # 1
        return deny("token.type", f"{foreign}: {_OTHER_KINDS[foreign]}")
    times = _times(claims, issuer, now)  # 2
    if isinstance(times, Deny):
        return times
    missing = [name for name in issuer.required_claims if claims.get(name) in (None, "")]
    if missing:  # 3
        return deny("token.claims", f"missing: {', '.join(missing)}")
    texts = _texts(claims, issuer)  # 3
    audience, scopes = _audience(claims.get("aud")), _scopes(claims.get(issuer.scope_claim))
    if audience is None or texts is None or scopes is None:
        return deny("token.claims", "aud, sub, jti, purpose or the scope claim is missing or malformed")
    if not audience.intersection(rule.audiences):  # 4
        return deny("token.audience")
    if not scopes.issuperset(rule.scopes):  # 5
        return deny("token.scope", ", ".join(sorted(set(rule.scopes) - scopes)))
    subject_id, token_id, purpose, subject_type = texts
    if rule.purposes and purpose not in rule.purposes:  # 6
        return deny("token.purpose")
    act, ancestors = _actors(claims), _ancestors(claims)
    if act is None or ancestors is None:  # 7
        return deny("token.claims", "act or ancestors is malformed, or too long")
    bound_to = binding.bound(claims, act)  # 8
    if isinstance(bound_to, Deny):
        return bound_to
    subject = Subject(
        type=subject_type,
        id=subject_id,
        credential=credential,
        issuer=issuer.issuer,
        audience=tuple(sorted(audience)),
        scopes=scopes,
        purpose=purpose,
        token_id=token_id,
        expires_at=float(times.expires),
        claims=_properties(claims, issuer, scopes, purpose),
        digest=digest[:16],
        act=act,
        ancestors=ancestors,
    )
    acr, auth_time = claims.get("acr"), claims.get("auth_time")
    return Accepted(
        subject=subject,
        not_before=max(times.not_before, times.issued_at) - issuer.leeway,
        expires=times.expires + issuer.leeway,
        issued_at=float(times.issued_at),
        bound_to=bound_to,
        step_up_at=step_up.good_until(claims, rule, issuer.leeway, now),  # 9
        acr=acr if type(acr) is str else "",
        auth_time=auth_time if type(auth_time) is int else 0,
    )


def _times(claims: dict[str, Any], issuer: IssuerSettings, now: float) -> _Times | Deny:
    """Whole seconds only: RFC 7519 allows fractions, no issuer needs them, and libraries disagree about them."""
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, 0)
        # bool is an int, and None is not "absent"
        if type(value) is not int or not 0 <= value < MAX_SECONDS:
            return deny("token.claims", f"{name} is not a whole number of seconds")
    if "exp" not in claims:
        return deny("token.claims", "exp is missing")
    expires, not_before = claims["exp"], claims.get("nbf", 0)
    # Without iat the rest of its life must do.
    issued_at = claims.get("iat", 0)
    born = issued_at if "iat" in claims else now - issuer.leeway
    if now >= expires + issuer.leeway:
        return deny("token.expired")
    if now < max(not_before, issued_at) - issuer.leeway:
        return deny("token.not_yet_valid")
    if expires - born > issuer.max_lifetime:
        return deny("token.lifetime")
    return _Times(expires, not_before, issued_at)


def _audience(value: Any) -> frozenset[str] | None:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(entry, str) and entry for entry in values):
        return None
    return frozenset(values)


def _scopes(value: Any) -> frozenset[str] | None:
    """A space-separated string (RFC 6749 section 3.3) or an array; nothing at all is no scope."""
    if value is None or value == "":
        return frozenset()
    values = value.split(" ") if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(entry, str) and _SCOPE.fullmatch(entry) for entry in values):
        return None
    return frozenset(values)


def _texts(claims: dict[str, Any], issuer: IssuerSettings) -> tuple[str, str, str, str] | None:
    """sub, jti, purpose and the subject's type; None when one of them cannot be used."""
    subject_type = issuer.subject_type
    if issuer.subject_type_claim is not None:
        subject_type = lookup(claims, issuer.subject_type_claim)
        if not isinstance(subject_type, str) or subject_type not in _SUBJECT_TYPES:
            return None
    found = [claims.get("sub"), claims.get("jti"), lookup(claims, issuer.purpose_claim)]
    if found[0] is None or not all(
        value is None or (isinstance(value, str) and _TEXT.fullmatch(value)) for value in found
    ):
        return None
    return found[0], found[1] or "", found[2] or "", subject_type


def _actors(claims: dict[str, Any]) -> tuple[str, ...] | None:
    """The chain of `act`, the current actor first (RFC 8693 section 4.1)."""
    found: list[str] = []
    inside = claims
    while "act" in inside:
        inside = inside["act"]
        if not isinstance(inside, dict) or len(found) == MAX_ACTORS or not _is_text(inside.get("sub")):
            return None
        found.append(inside["sub"])
    return tuple(found)


def _ancestors(claims: dict[str, Any]) -> tuple[str, ...] | None:
    """Ids of the tokens that this one was derived from: a claim of our own authority's tokens."""
    values = claims.get("ancestors", [])
    if not isinstance(values, list) or len(values) > MAX_ANCESTORS or not all(map(_is_text, values)):
        return None
    return tuple(values)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and _TEXT.fullmatch(value) is not None


def _properties(claims: dict[str, Any], issuer: IssuerSettings, scopes: frozenset[str], purpose: str) -> dict[str, Any]:
    """`subject.properties` of the policy input. A claim that is absent or null gives no property."""
    properties = {name: value for name, claim in issuer.claims.items() if (value := lookup(claims, claim)) is not None}
    properties["issuer"] = issuer.issuer
    properties["scopes"] = sorted(scopes)
    if purpose:
        properties["purpose"] = purpose
    return properties


def lookup(claims: dict[str, Any], name: str) -> Any:
    """The claim called `name`, or else the value at the dotted path `name`; None when there is none."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value
