"""Opaque access tokens: 256 random bits that say nothing; what they stand for is kept under their hash.

Whoever reads the store finds no token that could be presented, and no token leaves a trace here after it has expired.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.store.store import StoreError
from extauthz.sts.signed import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extauthz.store.store import Store

TABLE: Final = "opaque-tokens"
PREFIX: Final = "xat_"
_FORM: Final = re.compile(r"xat_[A-Za-z0-9_-]{43}")
_BYTES: Final = 32


class OpaqueTokens:
    """Every method raises StoreError when the store cannot be asked or holds something else than we wrote."""

    def __init__(self, store: Store, random: Callable[[int], bytes]) -> None:
        self._store = store
        self._random = random

    def make(self) -> str:
        """A token that stands for nothing yet."""
        return PREFIX + base64.urlsafe_b64encode(self._random(_BYTES)).rstrip(b"=").decode()

    async def put(self, token: str, claims: Mapping[str, Any]) -> None:
        """`claims` as an access token would carry them; kept until their `exp`."""
        content = orjson.dumps(dict(claims))
        if not await self._store.add(TABLE, digest(token), content, expires=float(claims["exp"])):
            raise StoreError("a random token is there already")

    async def find(self, token: str) -> dict[str, Any] | None:
        """The claims; None for what is no live token of ours. Text of another form is not looked up."""
        if not _FORM.fullmatch(token):
            return None
        content = await self._store.get(TABLE, digest(token))
        if content is None:
            return None
        try:
            claims = orjson.loads(content)
        except orjson.JSONDecodeError:
            claims = None
        if not isinstance(claims, dict):
            raise StoreError("an opaque token's record cannot be read")
        return claims

    async def forget(self, token: str) -> None:
        await self._store.delete(TABLE, digest(token))


def is_opaque(token: str) -> bool:
    """Whether a text can only be one of ours."""
    return token.startswith(PREFIX)
