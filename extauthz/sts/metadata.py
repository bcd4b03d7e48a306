"""What the server says of itself (RFC 8414; OpenID Connect Discovery, for clients that only look there)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from extauthz.sts.answers import CLIENT_CREDENTIALS, EXCHANGE, SIGN_IN
from extauthz.sts.subject import ALGORITHMS

if TYPE_CHECKING:
    from extauthz.sts.settings import StsSettings


def metadata(settings: StsSettings) -> dict[str, Any]:
    """One document for both well-known paths. There is no authorization endpoint: users sign in elsewhere."""
    issuer = settings.issuer
    mutual_tls = ["tls_client_auth"]  # RFC 8705 section 2.1
    grants = [EXCHANGE, CLIENT_CREDENTIALS, *([SIGN_IN] if settings.development else [])]
    document: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "introspection_endpoint": f"{issuer}/introspect",
        "revocation_endpoint": f"{issuer}/revoke",
        "jwks_uri": f"{issuer}/jwks.json",
        "grant_types_supported": grants,
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(ALGORITHMS),
        "token_endpoint_auth_methods_supported": mutual_tls,
        "introspection_endpoint_auth_methods_supported": mutual_tls,
        "revocation_endpoint_auth_methods_supported": mutual_tls,
        "tls_client_certificate_bound_access_tokens": True,
    }
    if settings.development:
        document["x_unsafe_development_sign_in"] = True
    return document
