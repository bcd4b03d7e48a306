"""Making an API key: the only place where one is ever whole."""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass
from secrets import choice, token_urlsafe
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_ID: Final = string.ascii_lowercase + string.digits
_ID_LENGTH: Final = 8
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True, repr=False)
class NewKey:
    """`key` is for its holder alone; `id` and `sha256` go into the file."""

    id: str
    key: str
    sha256: str


def new_key(random: Callable[[int], str] = token_urlsafe, pick: Callable[[str], str] = choice) -> NewKey:
    """`random`: so many random bytes as unpadded base64url; `pick`: one character of many."""
    name = "".join(pick(_ID) for _ in range(_ID_LENGTH))
    key = f"xak_{name}_{random(_SECRET_BYTES)}"
    return NewKey(name, key, hashlib.sha256(key.encode()).hexdigest())
