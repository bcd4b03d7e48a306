"""Who uses the platform, and what their tokens say. Roles and tenants are those of policies/extauthz/tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SCOPES: Final = "transfers.write scores.write scores.explain features.read"
"""Of a customer's token. Each hop keeps only what the next one needs."""
_CARRIED: Final = ("sub", "client_id", "scope", "roles", "tenant", "region", "clearance", "purpose")

USERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "alice": {"tenant": "acme", "region": "eu", "roles": ["wire-operator"], "clearance": "confidential"},
    "bob": {"tenant": "globex", "region": "us", "roles": ["wire-operator"], "clearance": "confidential"},
    "carol": {"tenant": "acme", "region": "eu", "roles": ["support-agent"], "clearance": "internal"},
    "dave": {"tenant": "acme", "region": "eu", "roles": [], "clearance": "internal"},
    "erin": {"tenant": "acme", "region": "eu", "roles": ["wire-operator", "wire-approver"], "clearance": "internal"},
    "frank": {"tenant": "acme", "region": "eu", "roles": ["limits-admin"], "clearance": "internal"},
    "mallory": {"tenant": "umbrella", "region": "eu", "roles": ["wire-operator"], "clearance": "internal"},
}
"""Who may sign in, and their claims."""


def user_claims(user: str, audience: str, purpose: str = "payment") -> dict[str, Any]:
    """The claims of a user's token, as RFC 9068 section 2.2 names them."""
    return {"sub": user, "aud": audience, "client_id": "bank-app", "scope": SCOPES, "purpose": purpose, **USERS[user]}


def hop_claims(subject: Mapping[str, Any], client: Mapping[str, Any], audience: str) -> dict[str, Any]:
    """A token for the next hop: same subject, other audience, one more actor, bound to the client's certificate.

    `client`: `{id, certificate_sha256}`.
    """
    actor: dict[str, Any] = {"sub": client["id"]}
    if isinstance(subject.get("act"), dict):
        actor["act"] = subject["act"]
    return {
        **{name: subject[name] for name in _CARRIED if name in subject},
        "aud": audience,
        "act": actor,
        "cnf": {"x5t#S256": client["certificate_sha256"]},
    }
