"""From settings to a store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from extauthz.errors import ConfigError, ConfigProblem
from extauthz.store.memory import MemoryStore
from extauthz.store.settings import MemoryStoreSettings, RedisSettings, SqliteStoreSettings
from extauthz.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from extauthz.clock import Clock
    from extauthz.store.settings import StoreSettings
    from extauthz.store.store import Store

_MAX_PASSWORD: Final = 4096


def open_store(settings: StoreSettings, clock: Clock) -> Store:
    """Connects to nothing yet: the first operation does. Raises ConfigError when a password cannot be read. Blocks."""
    if isinstance(settings, MemoryStoreSettings):
        return MemoryStore(clock)
    if isinstance(settings, SqliteStoreSettings):
        return SqliteStore(settings, clock)
    return open_redis(settings, clock)


def open_redis(settings: RedisSettings, clock: Clock) -> Store:
    """As `open_store`."""
    from extauthz.store.redis import RedisStore  # noqa: PLC0415 - a large library that most processes do without

    return RedisStore(settings, clock, password(settings))


def password(settings: RedisSettings) -> str:
    """Empty where the settings name none. Raises ConfigError. Blocks."""
    if settings.password_env is not None:
        found = os.environ.get(settings.password_env, "")
        place, remedy = f"${settings.password_env}", "set it, or remove password_env"
    elif settings.password_file is not None:
        place, remedy = str(settings.password_file), "write the password into it, with nothing else"
        try:
            with settings.password_file.open("rb") as file:
                found = file.read(_MAX_PASSWORD + 1).decode().strip("\r\n")
        except (OSError, ValueError):
            found = ""
    else:
        return ""
    if not found or len(found) > _MAX_PASSWORD:
        raise ConfigError((ConfigProblem(place, 0, "redis", "holds no password that can be used", remedy),))
    return found
