"""API keys: where they are listed, and what stands in that list. docs/api-keys.md says what they are for."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path  # noqa: TC003 - pydantic reads the annotation
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from extauthz.settings import Duration, Settings

KEY_ID: Final = r"[a-z0-9]{8}"
_TEXT: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,256}$"
_WHEN: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})")


def _when(value: object) -> float:
    if isinstance(value, str) and _WHEN.fullmatch(value):
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            pass
    raise ValueError("a time with its zone is expected: 2027-06-30T00:00:00Z")


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("a value stands twice")
    return values


When = Annotated[float, BeforeValidator(_when), WithJsonSchema({"type": "string", "format": "date-time"})]
"""Seconds since the epoch, written as RFC 3339."""
Text = Annotated[str, Field(pattern=_TEXT)]
Texts = Annotated[tuple[Text, ...], Field(max_length=64), AfterValidator(_distinct)]
RouteName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$")]


class ApiKeySettings(Settings):
    """Which API keys are known. A route takes them only with `credential: api_key`."""

    file: Path | None = None
    """YAML file with the keys' rows (`extauthz api-key new` prints one); read again when it changes."""
    max_keys: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """More rows are refused."""


class Rate(Settings):
    """How often a key may be used, in each worker process of the server."""

    requests: Annotated[int, Field(ge=1, le=1_000_000)]
    """Requests that are let through in `per`, also all at once."""
    per: Duration = Field(gt=0, le=86400)
    """The time that they are spread over."""


class ApiKeyRow(Settings):
    """One API key. The key itself stands nowhere: only its SHA-256."""

    id: Annotated[str, Field(pattern=rf"^{KEY_ID}$")]
    """The key's public part; records and usage name it."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the whole key, lower-case hex."""
    subject: Text
    """Who the key speaks for: a service, never a person."""
    tenant: Annotated[str, Field(pattern=r"^([^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,128})?$")] = ""
    """Tenant of the subject."""
    roles: Texts = ()
    """Roles of the subject, for the policy."""
    scopes: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,256}$")], ...], AfterValidator(_distinct)
    ] = ()
    """Scopes of the key, for the policy."""
    routes: Annotated[tuple[RouteName, ...], Field(min_length=1, max_length=64), AfterValidator(_distinct)]
    """Routes that the key opens, each by name."""
    expires: When
    """When the key ends, at most a year away: `2027-06-30T00:00:00Z`."""
    rate: Rate
    """How often it may be used."""


class ApiKeyFile(Settings):
    """The whole file."""

    version: Literal[1]
    """Version of this file format."""
    keys: tuple[ApiKeyRow, ...] = ()
    """The keys. None: every key is refused."""
