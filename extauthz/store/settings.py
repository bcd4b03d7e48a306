"""Where state is kept that outlives a process or is shared by several."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads the annotation
from typing import Annotated, Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, model_validator

from extauthz.settings import Duration, Settings, Size

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})


class MemoryStoreSettings(Settings):
    """In this process alone, and gone with it: for tests and a first look."""

    kind: Literal["memory"]
    """Always `memory`."""


class SqliteStoreSettings(Settings):
    """One file on this machine, for any number of processes."""

    kind: Literal["sqlite"]
    """Always `sqlite`."""
    path: Path
    """The database; made with mode 0600 when it is not there. Its directory must be there."""
    timeout: Duration = Field(default="2s", gt=0, le=30)  # type: ignore[assignment]  # parsed by the unit
    """Longest time for one operation, waiting for another process included."""
    max_size: Size = Field(default="1GiB", ge=1024 * 1024)  # type: ignore[assignment]  # parsed by the unit
    """The file grows no further; what needs more room is refused."""


class RedisSettings(Settings):
    """One Redis (or Valkey) server, for any number of machines."""

    url: Annotated[str, Field(max_length=1024)]
    """`rediss://host[:port][/database]` (TLS), `unix:///path.sock`, or `redis://…` on the loopback."""
    username: Annotated[str, Field(max_length=256)] = ""
    """The user of Redis's access control list; empty: the default user."""
    password_file: Path | None = None
    """A file that holds the password."""
    password_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """An environment variable that holds it."""
    trust_bundle: Path | None = None
    """PEM file with the authorities that vouch for the server, instead of the public ones."""
    unsafe_plaintext: bool = False
    """Allow `redis://` to other hosts than the loopback. Whoever can change that traffic can change what is stored."""
    timeout: Duration = Field(default="1s", gt=0, le=30)  # type: ignore[assignment]  # parsed by the unit
    """Longest time for one operation, connecting included."""
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9:._-]{0,62}$")] = "extauthz:"
    """What every key and channel begins with."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        parts = self.parts
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError("the url has no credentials and no query: use username, password_file, password_env")
        if parts.scheme == "unix" and (parts.netloc or not parts.path.startswith("/")):
            raise ValueError("unix:///absolute/path.sock is expected")
        if parts.scheme != "unix" and not parts.hostname:
            raise ValueError("the url names no host")
        if parts.scheme != "unix" and parts.path.strip("/") and not parts.path.strip("/").isdecimal():
            raise ValueError("after the host only a database's number may stand")
        if parts.scheme == "redis" and parts.hostname not in _LOOPBACK and not self.unsafe_plaintext:
            raise ValueError("redis:// is not encrypted: use rediss://, or set unsafe_plaintext")
        if self.password_file is not None and self.password_env is not None:
            raise ValueError("password_file and password_env exclude each other")
        return self

    @property
    def parts(self) -> SplitResult:
        """The url taken apart. Raises ValueError."""
        parts = urlsplit(self.url)
        if parts.scheme not in _SCHEMES or (parts.port is not None and not parts.port):
            raise ValueError("a redis://, rediss:// or unix:// url is expected")
        return parts


class RedisStoreSettings(RedisSettings):
    """Shared by several replicas."""

    kind: Literal["redis"]
    """Always `redis`."""


StoreSettings = Annotated[MemoryStoreSettings | SqliteStoreSettings | RedisStoreSettings, Field(discriminator="kind")]
