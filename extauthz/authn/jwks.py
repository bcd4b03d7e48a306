"""An issuer's key set (RFC 7517), as an immutable value.

A set replaces another as a whole; `is` tells revisions apart, which is what the token cache compares on every hit.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.authn import jwk
from extauthz.authn.json_object import parse_object

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 64
MAX_VALUES: Final = 4096


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """Usable keys. An empty set is valid and means: trust no key of this issuer."""

    by_kid: dict[str, jwk.Key]
    keys: tuple[jwk.Key, ...]
    refused: frozenset[str]
    """Ids of keys that the issuer publishes and that we do not use: weak, ambiguous, private, of the wrong kind."""
    digest: bytes

    def find(self, kid: str | None, algorithm: str) -> jwk.Key | None:
        """The key for a token's header.

        Without `kid` only when exactly one key of the set verifies `algorithm`: trying several would let a token
        choose among keys.
        """
        if kid is not None:
            return self.by_kid.get(kid)
        able = [key for key in self.keys if algorithm in key.checks]
        return able[0] if len(able) == 1 else None


def parse(content: bytes, algorithms: Iterable[str], issuer: str) -> KeySet | str:
    """A JWKS document's usable keys, or why the document as a whole is refused. `issuer` (its name) is for the log.

    1. bounded; a strict JSON object whose `keys` is an array of at most MAX_KEYS objects
    2. each key is judged alone: one bad key (logged by a digest of its kid) does not take the others away
    3. one kid for two different keys names neither
    """
    if len(content) > MAX_BYTES:  # 1
        return f"more than {MAX_BYTES} bytes"
    document = parse_object(content, max_depth=6, max_values=MAX_VALUES)
    listed = None if document is None else document.get("keys")
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):  # 1
        return "not a strict JSON object with an array of keys"
    if len(listed) > MAX_KEYS:  # 1
        return f"more than {MAX_KEYS} keys"
    wanted = frozenset(algorithms)
    usable: list[jwk.Key] = []
    refused: set[str] = set()
    for entry in listed:  # 2
        key = jwk.parse(entry, wanted)
        if isinstance(key, jwk.Key):
            usable.append(key)
            continue
        kid = entry.get("kid")
        log.info("issuer %s: key %s is not used: %s", issuer, kid_digest(kid), key)
        if isinstance(kid, str):
            refused.add(kid)
    refused |= _ambiguous(usable, issuer)  # 3
    kept = tuple(key for key in usable if key.kid not in refused)
    by_kid = {key.kid: key for key in kept if key.kid is not None}
    return KeySet(by_kid, kept, frozenset(refused), hashlib.sha256(content).digest())


def _ambiguous(keys: Iterable[jwk.Key], issuer: str) -> set[str]:
    seen: dict[str, tuple[Any, ...]] = {}
    twice: set[str] = set()
    for key in keys:
        if key.kid is not None and seen.setdefault(key.kid, key.material) != key.material:
            twice.add(key.kid)
            log.warning("issuer %s: key %s stands for two keys, neither is used", issuer, kid_digest(key.kid))
    return twice


def kid_digest(kid: object) -> str:
    """What a log may say of a key id, which a stranger may have written."""
    return hashlib.sha256(repr(kid).encode("utf-8", "backslashreplace")).hexdigest()[:16]
