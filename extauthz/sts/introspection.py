"""Introspection of our own access tokens (RFC 7662): for a service that a token is meant for, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from extauthz.model import Deny
from extauthz.sts.answers import Refused
from extauthz.sts.form import one

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.clock import Clock
    from extauthz.sts.form import Form
    from extauthz.sts.interfaces import Client
    from extauthz.sts.subject import Tokens

INACTIVE: Final[Mapping[str, Any]] = {"active": False}


class Introspection:
    def __init__(self, tokens: Tokens, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock

    async def answer(self, client: Client, form: Form) -> Mapping[str, Any] | Refused:
        """The token's claims, or `{"active": false}` and not a word more. Raises StoreError.

        1. one token
        2. it is an access token of ours, valid now (without leeway), not revoked, and for the client
        3. the answer is what the token says
        """
        token = one(form, "token")
        if not token:  # 1
            return Refused("invalid_request", "token is missing", "introspection.request")
        held = await self._tokens.hold(token, client.names, own=True)  # 2
        if isinstance(held, Deny) or self._clock.now() >= held.subject.expires_at:
            return INACTIVE
        return {**held.claims, "active": True, "token_type": "Bearer"}  # 3
