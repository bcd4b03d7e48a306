"""What a client asks for, read from its form. Beside RFC 8693: `purpose`, and `lifetime` (seconds, at most)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from extauthz import strict_json
from extauthz.sts.answers import ACCESS_TOKEN, JWT, TRANSACTION_TOKEN, Refused
from extauthz.sts.form import one

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.sts.form import Form

MAX_TEXT: Final = 512
MAX_SCOPES: Final = 64
MAX_CONTEXT: Final = 2048
MAX_CONTEXT_DEPTH: Final = 4
_SUBJECT_TYPES: Final = frozenset({ACCESS_TOKEN, JWT, TRANSACTION_TOKEN})
_REQUESTED: Final = frozenset({"", ACCESS_TOKEN, JWT, TRANSACTION_TOKEN})
_SCOPE: Final = re.compile(r"[!#-\[\]-~]{1,256}")
_PURPOSE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SECONDS: Final = re.compile(r"[1-9][0-9]{0,5}")
_VISIBLE: Final = re.compile(rf"[!-~]{{1,{MAX_TEXT}}}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What every grant may say. `scopes` None: not said. `lifetime` 0: as long as is allowed."""

    audience: str
    scopes: frozenset[str] | None = None
    purpose: str = ""
    lifetime: int = 0


@dataclass(frozen=True, slots=True)
class ExchangeRequest:
    wanted: Wanted
    subject_token: str = field(repr=False)
    subject_token_type: str
    actor_token: str = field(repr=False)
    requested_type: str
    context: Mapping[str, Any] = field(default_factory=dict)
    """`rctx` and `tctx` of a transaction token, as the client states them."""

    @property
    def transaction(self) -> bool:
        return self.requested_type == TRANSACTION_TOKEN


def wanted(form: Form) -> Wanted | Refused:
    """What every grant may say. One target: a token for two services could be carried from the one to the other."""
    targets = {*form.get("audience", ()), *form.get("resource", ())}
    if len(targets) != 1:
        return Refused("invalid_target", "exactly one audience or resource is needed", "exchange.target")
    (audience,) = targets
    if not _VISIBLE.fullmatch(audience):
        return Refused("invalid_target", "the audience is not a plain name", "exchange.target")
    scopes = None
    if "scope" in form:
        names = one(form, "scope").split(" ")
        if len(names) > MAX_SCOPES or not all(map(_SCOPE.fullmatch, names)):
            return Refused("invalid_scope", "the scope is malformed", "exchange.scope")
        scopes = frozenset(names)
    purpose, lifetime = one(form, "purpose"), one(form, "lifetime")
    if purpose and not _PURPOSE.fullmatch(purpose):
        return Refused("invalid_request", "the purpose is malformed", "exchange.purpose")
    if lifetime and not _SECONDS.fullmatch(lifetime):
        return Refused("invalid_request", "lifetime is not a whole number of seconds", "exchange.lifetime")
    return Wanted(audience, scopes, purpose, int(lifetime or 0))


def exchange_request(  # noqa: PLR0911 - one return a refusal, numbered
    form: Form,
) -> ExchangeRequest | Refused:
    """Parameters of RFC 8693 section 2.1, and of a transaction token request.

    1. one target, scope, purpose and lifetime well formed
    2. a subject token, of a type that we exchange
    3. `actor_token_type` if and only if `actor_token`
    4. a type that we issue; transaction tokens only become transaction tokens
    5. `request_context` and `request_details` are small JSON objects, and only for a new transaction
    """
    asked = wanted(form)  # 1
    if isinstance(asked, Refused):
        return asked
    subject_token, subject_type = one(form, "subject_token"), one(form, "subject_token_type")
    if not subject_token or subject_type not in _SUBJECT_TYPES:  # 2
        return _refused("a subject_token of type access_token, jwt or txn_token is needed")
    actor_token, actor_type = one(form, "actor_token"), one(form, "actor_token_type")
    if bool(actor_token) != bool(actor_type) or actor_type not in {"", JWT}:  # 3
        return _refused("actor_token and actor_token_type (jwt) come together or not at all")
    requested = one(form, "requested_token_type")
    if requested not in _REQUESTED:  # 4
        return _refused("only access_token, jwt and txn_token are issued")
    if subject_type == TRANSACTION_TOKEN != requested:  # 4
        return _refused("a transaction token is exchanged for a transaction token only")
    context = _context(form)  # 5
    if context is None or (context and (requested != TRANSACTION_TOKEN or subject_type == TRANSACTION_TOKEN)):
        return _refused("request_context and request_details are small JSON objects of a new transaction")
    return ExchangeRequest(asked, subject_token, subject_type, actor_token, requested, context)


def _context(form: Form) -> dict[str, Any] | None:
    """`rctx` and `tctx`; None when one of them is refused."""
    found = {}
    for parameter, claim in (("request_context", "rctx"), ("request_details", "tctx")):
        if parameter not in form:
            continue
        try:
            text = one(form, parameter).encode()
            value = strict_json.parse(text, max_bytes=MAX_CONTEXT, max_depth=MAX_CONTEXT_DEPTH).root
        except strict_json.NotStrict:
            return None
        if not isinstance(value, dict):
            return None
        found[claim] = value
    return found


def _refused(description: str) -> Refused:
    return Refused("invalid_request", description, "exchange.request")
