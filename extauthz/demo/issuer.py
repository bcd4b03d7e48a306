"""A development token issuer: discovery, keys, and two grants. The production one comes with the identity plane.

Anyone who reaches its loopback port may sign in as any of its users, without a password: it is for this machine only.
A workload proves itself with a secret of the run folder, and gets tokens that only its own certificate may carry.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote_plus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from extauthz.clock import Clock, SystemClock
from extauthz.demo.services import http
from extauthz.demo.services.hop import ACCESS_TOKEN, EXCHANGE
from extauthz.demo.tokens import Mint
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

SIGN_IN: Final = "urn:extauthz:development:sign-in"
"""`grant_type` of a user's token: `user` names who."""
HOP_LIFETIME: Final = 60.0
"""Seconds."""
MAX_HOPS: Final = 8
"""Nested actors in a token, at most."""
_CARRIED: Final = ("sub", "client_id", "scope", "roles", "tenant", "region", "clearance", "purpose")

USERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "alice": {"tenant": "acme", "region": "eu", "roles": ["wire-operator"], "clearance": "confidential"},
    "bob": {"tenant": "globex", "region": "us", "roles": ["wire-operator"], "clearance": "confidential"},
    "carol": {"tenant": "acme", "region": "eu", "roles": ["support-agent"], "clearance": "internal"},
    "dave": {"tenant": "acme", "region": "eu", "roles": [], "clearance": "internal"},
    "erin": {"tenant": "acme", "region": "eu", "roles": ["wire-operator", "wire-approver"], "clearance": "internal"},
    "mallory": {"tenant": "umbrella", "region": "eu", "roles": ["wire-operator"], "clearance": "internal"},
}
"""Who may sign in. Roles and tenants are those of policies/extauthz/tables."""


def user_claims(user: str, audience: str, purpose: str = "payment") -> dict[str, Any]:
    """The claims of a user's token, as RFC 9068 section 2.2 names them."""
    scope = "transfers.write"
    return {"sub": user, "aud": audience, "client_id": "bank-app", "scope": scope, "purpose": purpose, **USERS[user]}


def hop_claims(subject: Mapping[str, Any], client: Mapping[str, Any], audience: str) -> dict[str, Any]:
    """A token for the next hop: same subject, other audience, one more actor, bound to the client's certificate."""
    actor: dict[str, Any] = {"sub": client["id"]}
    if isinstance(subject.get("act"), dict):
        actor["act"] = subject["act"]
    return {
        **{name: subject[name] for name in _CARRIED if name in subject},
        "aud": audience,
        "act": actor,
        "cnf": {"x5t#S256": client["certificate_sha256"]},
    }


def app(settings: Mapping[str, Any], clock: Clock | None = None) -> Starlette:
    """`settings`: `issuer` (URL), `key_file`, `edge_audience`, and `clients`: rows of `{id, secret_sha256,
    certificate_sha256, audience, reaches}`. A client exchanges tokens for its own `audience` into ones for `reaches`.
    """
    time = clock or SystemClock()
    mint = Mint(settings["issuer"], Path(settings["key_file"]).read_bytes(), time)
    clients = {client["id"]: client for client in settings["clients"]}

    async def discovery(_: Request) -> JSONResponse:
        base = mint.issuer
        return JSONResponse(
            {
                "issuer": base,
                "jwks_uri": f"{base}/jwks.json",
                "token_endpoint": f"{base}/token",
                "response_types_supported": ["token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "grant_types_supported": [SIGN_IN, EXCHANGE],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            }
        )

    async def jwks(_: Request) -> JSONResponse:
        return JSONResponse(mint.jwks())

    async def token(request: Request) -> JSONResponse:
        form = _form(await http.body(request))
        grant = form.get("grant_type", "")
        if grant == SIGN_IN:
            return _sign_in(mint, form, settings["edge_audience"])
        if grant == EXCHANGE:
            client = _client(request.headers.get("authorization", ""), clients)
            return _exchange(mint, form, client, time.now())
        raise HTTPException(400, "unsupported_grant_type")

    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", discovery),
            Route("/jwks.json", jwks),
            Route("/token", token, methods=["POST"]),
        ],
        exception_handlers={HTTPException: http.refused},
    )


def _form(content: bytes) -> dict[str, str]:
    """Each parameter once (RFC 6749 section 3.2). Raises HTTPException 400."""
    try:
        fields = parse_qs(content.decode("ascii"), strict_parsing=True, max_num_fields=16)
    except ValueError:
        raise HTTPException(400, "invalid_request") from None
    if any(len(values) > 1 for values in fields.values()):
        raise HTTPException(400, "invalid_request")
    return {name: values[0] for name, values in fields.items()}


def _sign_in(mint: Mint, form: Mapping[str, str], audience: str) -> JSONResponse:
    user = form.get("user", "")
    if user not in USERS:
        raise HTTPException(400, "invalid_grant")
    claims = user_claims(user, audience, form.get("purpose", "payment"))
    return _answer(mint.sign(claims), 300.0)


def _client(authorization: str, clients: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The workload that asks (RFC 6749 section 2.3.1). Raises HTTPException 401."""
    try:
        name, _, secret = b64decode(authorization.removeprefix("Basic "), validate=True).decode().partition(":")
    except (Base64Error, UnicodeDecodeError):
        raise HTTPException(401, "invalid_client") from None
    client = clients.get(unquote_plus(name))
    given = hashlib.sha256(secret.encode()).hexdigest()
    if client is None or not hmac.compare_digest(given, client["secret_sha256"]):
        raise HTTPException(401, "invalid_client")
    return client


def _exchange(mint: Mint, form: Mapping[str, str], client: Mapping[str, Any], now: float) -> JSONResponse:
    """Token exchange (RFC 8693 section 2).

    1. The subject token is one of ours, for the client that presents it.
    2. The audience is one that this client may reach.
    3. The chain of actors is bounded.
    4. The new token lives no longer than the old one.
    """
    if form.get("subject_token_type") != ACCESS_TOKEN or "subject_token" not in form:
        raise HTTPException(400, "invalid_request")
    # 1.
    try:
        subject = mint.verify(form["subject_token"], client["audience"])
    except ExtauthzError:
        raise HTTPException(400, "invalid_request") from None
    # 2.
    audience = form.get("audience", "")
    if audience not in client["reaches"]:
        raise HTTPException(400, "invalid_target")
    # 3.
    claims, depth = hop_claims(subject, client, audience), 0
    actor: Any = claims["act"]
    while isinstance(actor, dict):
        actor, depth = actor.get("act"), depth + 1
    if depth > MAX_HOPS:
        raise HTTPException(400, "invalid_request")
    # 4.
    lifetime = min(HOP_LIFETIME, subject["exp"] - now)
    return _answer(mint.sign(claims, lifetime=lifetime), lifetime)


def _answer(token: str, lifetime: float) -> JSONResponse:
    body = {
        "access_token": token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": int(lifetime),
    }
    return JSONResponse(body, headers={"cache-control": "no-store"})
