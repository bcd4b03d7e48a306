"""Who makes and keeps private keys. A provider for PKCS#11 or a cloud KMS is one more class with these four methods."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from extauthz.keys.algorithms import KINDS
from extauthz.keys.jws import JwsKey
from extauthz.keys.protector import MAX_PASSPHRASE, KeyProtector
from extauthz.keys.signer import KeyFault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from extauthz.keys.settings import KeysSettings
    from extauthz.keys.signer import KeyAlgorithm, SigningKey

_DOCUMENT: Final = "document"


class KeyProvider(Protocol):
    """Every method may block (scrypt, RSA generation, an HSM): call it in a thread. All raise KeyFault only."""

    def create(self, algorithm: KeyAlgorithm, purpose: str) -> tuple[SigningKey, bytes]:
        """A new key, and what to keep of it in the store: a sealed key, a reference, or nothing."""

    def open(self, kept: bytes, key_id: str, purpose: str) -> SigningKey | None:
        """The key again; None when this process cannot have it (it was only ever in another one's memory)."""

    def forget(self, key_id: str) -> None:
        """The key will not sign again. An unknown id is no error."""

    def seal(self, document: bytes, purpose: str) -> bytes:
        """Make a document of the store tamper-proof, where the provider has a secret to do it with."""

    def unseal(self, sealed: bytes, purpose: str) -> bytes: ...


class MemoryKeys:
    """Keys that end with the process. Nothing is sealed: there is no secret that a restart would still know."""

    def __init__(self) -> None:
        self._keys: dict[str, SigningKey] = {}

    def create(self, algorithm: KeyAlgorithm, purpose: str) -> tuple[SigningKey, bytes]:  # noqa: ARG002 - the Protocol's
        key = JwsKey(KINDS[algorithm].generate())
        self._keys[key.id] = key
        return key, b""

    def open(self, kept: bytes, key_id: str, purpose: str) -> SigningKey | None:  # noqa: ARG002 - the Protocol's
        return self._keys.get(key_id)

    def forget(self, key_id: str) -> None:
        self._keys.pop(key_id, None)

    def seal(self, document: bytes, purpose: str) -> bytes:  # noqa: ARG002 - the Protocol's
        return document

    def unseal(self, sealed: bytes, purpose: str) -> bytes:  # noqa: ARG002 - the Protocol's
        return sealed


class EncryptedKeys:
    """Keys in the store under a passphrase: they survive a restart, and replicas with the passphrase share them."""

    def __init__(self, protector: KeyProtector) -> None:
        self._protector = protector

    def create(self, algorithm: KeyAlgorithm, purpose: str) -> tuple[SigningKey, bytes]:
        key = JwsKey(KINDS[algorithm].generate())
        plain = key.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return key, self._protector.seal(plain, key_id=key.id, purpose=purpose)

    def open(self, kept: bytes, key_id: str, purpose: str) -> SigningKey | None:
        plain = self._protector.open(kept, key_id=key_id, purpose=purpose)
        try:
            key = JwsKey(load_der_private_key(plain, None))  # type: ignore[arg-type]  # JwsKey refuses other kinds
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyFault("a sealed key is not a private key") from None
        if key.id != key_id:
            raise KeyFault("a sealed key is another one than its id says")
        return key

    def forget(self, key_id: str) -> None:
        """Nothing is kept here: the sealed key goes with its entry in the store."""

    def seal(self, document: bytes, purpose: str) -> bytes:
        return self._protector.seal(document, key_id=_DOCUMENT, purpose=purpose)

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        return self._protector.open(sealed, key_id=_DOCUMENT, purpose=purpose)


def passphrase(settings: KeysSettings) -> bytes:
    """From the file or the environment. Raises KeyFault when it is not there."""
    if settings.passphrase_file is not None:
        return _file(settings.passphrase_file)
    value = os.environ.get(settings.passphrase_env or "")
    if value is None:
        raise KeyFault(f"environment variable {settings.passphrase_env} is not set")
    return value.encode()


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_PASSPHRASE + 2).removesuffix(b"\n").removesuffix(b"\r")
    except OSError as error:
        raise KeyFault(f"passphrase file {path} cannot be read: {error.strerror}") from None


PROVIDERS: Final[dict[str, Callable[[KeysSettings], KeyProvider]]] = {
    "memory": lambda _: MemoryKeys(),
    "encrypted": lambda settings: EncryptedKeys(KeyProtector(passphrase(settings))),
}


def load_provider(settings: KeysSettings) -> KeyProvider:
    """Raises KeyFault when there is no usable passphrase."""
    return PROVIDERS[settings.kind](settings)
