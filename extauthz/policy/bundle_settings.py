"""Settings of a policy bundle: where it comes from, who may have built it, and what is kept of it."""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic resolves the annotation when the class is made
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from extauthz.settings import Duration, Settings

_CLEAR: re.Pattern[str] = re.compile(r"http://(?!(127\.0\.0\.1|localhost|\[::1\])[:/])")


class BundleKeySettings(Settings):
    """A key that policy bundles may be signed with."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "default"
    """The key's name: the `kid` (or `keyid`) of a signature."""
    algorithm: Literal["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] = "ES256"
    """The one algorithm that is accepted with this key."""
    file: Path
    """PEM file with the public key."""


class BundleSettings(Settings):
    """A policy bundle in OPA's format, and how it is verified, kept and looked for."""

    file: Path | None = None
    """A policy bundle (`.tar.gz`) on this machine."""
    url: Annotated[str, Field(pattern=r"^(https?://[^\s]+)?$", max_length=2048)] = ""
    """A policy bundle on a bundle server: an http(s) URL that answers with the archive and an ETag."""
    keys: tuple[BundleKeySettings, ...] = ()
    """Keys of those who may build policy bundles. With keys, an unsigned bundle is refused."""
    scope: Annotated[str, Field(max_length=256)] = ""
    """The scope that the signature must name; empty: it must name none."""
    unsafe_unsigned: bool = False
    """Takes bundles from `url` without a signature: whoever controls the server or the network decides everything."""
    keep: Annotated[str, Field(max_length=4096)] = ""
    """A directory of our own for the last good bundle: it serves when the source is down at a start, and an older
    sequence is refused also after a restart. Required with `url`."""
    poll: Duration = Field(default="30s", ge=0.1, le=86400)  # type: ignore[assignment]  # parsed by the unit's validator
    """How often a server that does not take long polls is asked."""
    wait: Duration = Field(default="60s", ge=0, le=3600)  # type: ignore[assignment]  # the same
    """How long a server that takes long polls may keep a question open; 0 switches long polling off."""
    timeout: Duration = Field(default="10s", gt=0, le=600)  # type: ignore[assignment]  # the same
    """The longest that a download may take, a long poll's wait not counted."""
    token_file: Path | None = None
    """File with a bearer token for the bundle server; read again for every question."""
    canary_timeout: Duration = Field(default="1s", gt=0, le=60)  # type: ignore[assignment]  # the same
    """The longest that one decision case of the bundle may take before the bundle is activated."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (not self.url):
            raise ValueError("name either file or url")
        if self.url and not self.keys and not self.unsafe_unsigned:
            raise ValueError("a bundle from a URL must be signed: name its keys, or set unsafe_unsigned")
        if self.keys and self.unsafe_unsigned:
            raise ValueError("with keys every bundle must be signed: leave unsafe_unsigned out")
        if self.url and not self.keep:
            raise ValueError("name a directory to keep the last good bundle in")
        if self.token_file is not None and _CLEAR.match(self.url):
            raise ValueError("the token would travel in clear text: use https")
        if len({key.id for key in self.keys}) != len(self.keys):
            raise ValueError("two keys have the same id")
        return self
