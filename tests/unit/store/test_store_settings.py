from __future__ import annotations

import os

import pytest
from pydantic import TypeAdapter, ValidationError

from extauthz.clock import ManualClock
from extauthz.errors import ConfigError
from extauthz.store.memory import MemoryStore
from extauthz.store.opening import open_store
from extauthz.store.redis import RedisStore
from extauthz.store.settings import RedisSettings, RedisStoreSettings, StoreSettings
from extauthz.store.sqlite import SqliteStore

SETTINGS = TypeAdapter(StoreSettings)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"kind": "memory"}, MemoryStore),
        ({"kind": "sqlite", "path": "state.db"}, SqliteStore),
        ({"kind": "redis", "url": "unix:///run/redis.sock"}, RedisStore),
        ({"kind": "redis", "url": "rediss://redis.bank.example:6380/2", "username": "authority"}, RedisStore),
    ],
)
async def test_a_store_is_opened_without_being_asked_anything(settings, kind) -> None:
    store = open_store(SETTINGS.validate_python(settings), ManualClock())
    assert isinstance(store, kind)
    await store.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "other"},
        {"kind": "sqlite"},
        {"kind": "memory", "path": "state.db"},
        {"kind": "sqlite", "path": "state.db", "max_size": "1KiB"},
    ],
)
def test_settings_that_say_nothing_whole(settings) -> None:
    with pytest.raises(ValidationError):
        SETTINGS.validate_python(settings)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://localhost", "redis://, rediss:// or unix://"),
        ("redis://localhost:0", "redis://, rediss:// or unix://"),
        ("redis://localhost:x", "Port could not be cast"),
        ("redis://user:secret@localhost", "no credentials"),
        ("rediss://localhost?ssl_cert_reqs=none", "no query"),
        ("unix://run/redis.sock", "absolute"),
        ("unix://", "absolute"),
        ("rediss://", "names no host"),
        ("redis://localhost/name", "database's number"),
        ("redis://redis.bank.example", "not encrypted"),
    ],
)
def test_a_url_that_is_refused(url: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RedisSettings(url=url)


def test_plain_traffic_must_be_asked_for() -> None:
    assert RedisSettings(url="redis://redis.bank.example", unsafe_plaintext=True)
    assert RedisSettings(url="redis://127.0.0.1")


def test_a_password_stands_in_one_place() -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        RedisSettings(url="unix:///s", password_file="p", password_env="P")


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff", b"x" * 5000])
def test_a_password_that_cannot_be_read(content: bytes | None, tmp_path) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="holds no password"):
        open_store(RedisStoreSettings(kind="redis", url="unix:///s", password_file=path), ManualClock())


def test_a_password_of_the_environment_that_is_not_set(monkeypatch) -> None:
    monkeypatch.delenv("REDIS_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="REDIS_PASSWORD"):
        open_store(RedisStoreSettings(kind="redis", url="unix:///s", password_env="REDIS_PASSWORD"), ManualClock())
    assert "REDIS_PASSWORD" not in os.environ
