"""Keys at rest: sealed under a passphrase, or in memory alone; and a provider whose keys are elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from extauthz.keys.protector import KeyProtector
from extauthz.keys.provider import PROVIDERS, EncryptedKeys, MemoryKeys, load_provider
from extauthz.keys.settings import KeysSettings
from extauthz.keys.signer import KeyFault
from tests.support.ca import RemoteKeys

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE = b"correct horse battery staple"
PROTECTOR = KeyProtector(PASSPHRASE)
SECRET = b"the private key"
BLOB = PROTECTOR.seal(SECRET, key_id="k1", purpose="jwt")


def test_what_is_sealed_opens_again() -> None:
    assert PROTECTOR.open(BLOB, key_id="k1", purpose="jwt") == SECRET
    assert SECRET not in BLOB
    assert PROTECTOR.seal(SECRET, key_id="k1", purpose="jwt") != BLOB


def test_another_process_with_the_passphrase_opens_it() -> None:
    assert KeyProtector(PASSPHRASE).open(BLOB, key_id="k1", purpose="jwt") == SECRET


def test_another_passphrase_does_not() -> None:
    with pytest.raises(KeyFault, match="does not open") as caught:
        KeyProtector(PASSPHRASE + b"!").open(BLOB, key_id="k1", purpose="jwt")
    assert "horse" not in str(caught.value)


@pytest.mark.parametrize(("key_id", "purpose"), [("k2", "jwt"), ("k1", "x509"), ("k1j", "wt"), ("", "k1jwt")])
def test_a_blob_that_was_moved_does_not_open(key_id: str, purpose: str) -> None:
    with pytest.raises(KeyFault, match="moved"):
        PROTECTOR.open(BLOB, key_id=key_id, purpose=purpose)


@given(at=st.integers(17, len(BLOB) - 1), bit=st.integers(0, 7))
def test_a_changed_blob_does_not_open(at: int, bit: int) -> None:
    changed = bytearray(BLOB)
    changed[at] ^= 1 << bit
    with pytest.raises(KeyFault):
        PROTECTOR.open(bytes(changed), key_id="k1", purpose="jwt")


def test_a_changed_salt_or_version_does_not_open() -> None:
    for at in (0, 1):
        with pytest.raises(KeyFault):
            PROTECTOR.open(BLOB[:at] + bytes((BLOB[at] ^ 1,)) + BLOB[at + 1 :], key_id="k1", purpose="jwt")


@given(st.binary(max_size=44))
def test_what_is_too_short_is_refused_before_any_work(blob: bytes) -> None:
    with pytest.raises(KeyFault, match="malformed"):
        PROTECTOR.open(blob, key_id="k1", purpose="jwt")


@pytest.mark.parametrize("passphrase", [b"", b"x" * 15, b"x" * 4097])
def test_a_short_passphrase_is_refused(passphrase: bytes) -> None:
    with pytest.raises(KeyFault, match="16 to 4096"):
        KeyProtector(passphrase)


def test_derived_keys_are_kept_within_a_bound() -> None:
    protector = KeyProtector(PASSPHRASE)
    protector._derived = {bytes((n,)): protector._cipher(protector._salt) for n in range(64)}
    assert protector.open(BLOB, key_id="k1", purpose="jwt") == SECRET
    assert len(protector._derived) == 1
    assert repr(protector) == "KeyProtector()"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA", "RS256"])
def test_a_sealed_key_is_the_same_key_for_another_process(algorithm: str) -> None:
    key, kept = EncryptedKeys(PROTECTOR).create(algorithm, "jwt")  # type: ignore[arg-type]
    opened = EncryptedKeys(PROTECTOR).open(kept, key.id, "jwt")
    assert opened is not None
    assert opened.jwk() == key.jwk()
    plain = key.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert plain not in kept


def test_a_sealed_key_under_another_id_is_refused() -> None:
    keys = EncryptedKeys(PROTECTOR)
    key, _ = keys.create("ES256", "jwt")
    plain = key.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KeyFault, match="another one"):
        keys.open(PROTECTOR.seal(plain, key_id="other", purpose="jwt"), "other", "jwt")
    with pytest.raises(KeyFault, match="not a private key"):
        keys.open(PROTECTOR.seal(b"\x30\x00", key_id="other", purpose="jwt"), "other", "jwt")
    keys.forget(key.id)


def test_a_sealed_document_is_neither_read_nor_changed() -> None:
    keys = EncryptedKeys(PROTECTOR)
    sealed = keys.seal(b"whom we trust", "state")
    assert keys.unseal(sealed, "state") == b"whom we trust"
    for broken, purpose in [(sealed, "other"), (sealed[:-1], "state"), (b"whom we trust", "state")]:
        with pytest.raises(KeyFault):
            keys.unseal(broken, purpose)


def test_memory_keys_end_with_their_process() -> None:
    keys = MemoryKeys()
    key, kept = keys.create("ES256", "jwt")
    assert kept == b""
    assert keys.open(kept, key.id, "jwt") is key
    assert MemoryKeys().open(kept, key.id, "jwt") is None
    keys.forget(key.id)
    keys.forget(key.id)
    assert keys.open(kept, key.id, "jwt") is None


def test_a_key_that_signs_elsewhere_signs_tokens() -> None:
    keys = RemoteKeys()
    created, kept = keys.create("ES256", "jwt")
    key = keys.open(kept, created.id, "jwt")
    assert key is not None
    assert key.sign({"a": 1}, typ="JWT").count(".") == 2
    assert key.private_key.signatures == 1  # type: ignore[union-attr]


# settings


def test_the_passphrase_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(PASSPHRASE + b"\n")
    from_file = load_provider(KeysSettings(kind="encrypted", passphrase_file=file))
    monkeypatch.setenv("CA_PASSPHRASE", PASSPHRASE.decode())
    from_environment = load_provider(KeysSettings(kind="encrypted", passphrase_env="CA_PASSPHRASE"))
    assert from_environment.unseal(from_file.seal(b"x", "p"), "p") == b"x"
    assert isinstance(load_provider(KeysSettings()), MemoryKeys)
    assert PROVIDERS.keys() == {"memory", "encrypted"}


def test_a_passphrase_that_is_not_there_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CA_PASSPHRASE", raising=False)
    with pytest.raises(KeyFault, match="CA_PASSPHRASE"):
        load_provider(KeysSettings(kind="encrypted", passphrase_env="CA_PASSPHRASE"))
    with pytest.raises(KeyFault, match="cannot be read"):
        load_provider(KeysSettings(kind="encrypted", passphrase_file=tmp_path / "none"))
    (tmp_path / "long").write_bytes(b"x" * 5000)
    with pytest.raises(KeyFault, match="16 to 4096"):
        load_provider(KeysSettings(kind="encrypted", passphrase_file=tmp_path / "long"))


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "encrypted"},
        {"kind": "memory", "passphrase_env": "A"},
        {"kind": "encrypted", "passphrase_env": "A", "passphrase_file": "/a"},
        {"kind": "encrypted", "passphrase_env": "A=B"},
        {"kind": "hsm"},
    ],
)
def test_settings_that_leave_open_where_the_passphrase_is_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        KeysSettings.model_validate(settings)
