"""Encryption of private keys at rest: AES-256-GCM under a key that scrypt makes of a passphrase.

A sealed blob is `version (1) | salt (16) | nonce (12) | ciphertext and tag`. What it is (its purpose) and whose (the
key's id) are associated data: a blob that is moved elsewhere in the store does not open there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from extauthz.keys.signer import KeyFault

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_PASSPHRASE: Final = 16
MAX_PASSPHRASE: Final = 4096
_VERSION: Final = b"\x01"
_SALT: Final = 16
_NONCE: Final = 12
_TAG: Final = 16
_HEAD: Final = len(_VERSION) + _SALT + _NONCE
_COST: Final = 2**15
_BLOCK: Final = 8
_PARALLEL: Final = 3
"""32 MiB for each derivation; one of the equivalent settings of OWASP's password storage sheet."""
_MAX_DERIVED: Final = 64
"""Derived keys that are kept: one for each process that has written a blob which is still there."""


class KeyProtector:
    """Seals and opens blobs. The first use, and each blob of another process, takes one scrypt derivation (blocking).

    `random` gives so many unpredictable bytes. Raises KeyFault for a passphrase shorter or longer than allowed.
    """

    def __init__(self, passphrase: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        if not MIN_PASSPHRASE <= len(passphrase) <= MAX_PASSPHRASE:
            raise KeyFault(f"a passphrase has {MIN_PASSPHRASE} to {MAX_PASSPHRASE} bytes")
        self._passphrase = passphrase
        self._random = random
        self._salt = random(_SALT)
        self._derived: dict[bytes, AESGCM] = {}

    def __repr__(self) -> str:
        return "KeyProtector()"

    def seal(self, secret: bytes, *, key_id: str, purpose: str) -> bytes:
        nonce = self._random(_NONCE)
        head = _VERSION + self._salt + nonce
        return head + self._cipher(self._salt).encrypt(nonce, secret, _context(head, key_id, purpose))

    def open(self, blob: bytes, *, key_id: str, purpose: str) -> bytes:
        """Raises KeyFault when the blob is not what `seal` made for this id and purpose, under this passphrase."""
        head, sealed = blob[:_HEAD], blob[_HEAD:]
        if len(sealed) < _TAG or not head.startswith(_VERSION):
            raise KeyFault("a sealed key is malformed")
        salt, nonce = head[1 : 1 + _SALT], head[1 + _SALT :]
        try:
            return self._cipher(salt).decrypt(nonce, sealed, _context(head, key_id, purpose))
        except InvalidTag:
            raise KeyFault("a sealed key does not open: wrong passphrase, or it was changed or moved") from None

    def _cipher(self, salt: bytes) -> AESGCM:
        cipher = self._derived.get(salt)
        if cipher is None:
            if len(self._derived) >= _MAX_DERIVED:
                self._derived.clear()
            scrypt = Scrypt(salt=salt, length=32, n=_COST, r=_BLOCK, p=_PARALLEL)
            cipher = self._derived[salt] = AESGCM(scrypt.derive(self._passphrase))
        return cipher


def _context(head: bytes, key_id: str, purpose: str) -> bytes:
    """Length-prefixed, so that no two pairs read the same."""
    return b"".join(len(part).to_bytes(4) + part for part in (head, key_id.encode(), purpose.encode()))
