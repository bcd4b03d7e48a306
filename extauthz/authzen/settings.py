"""Settings of the AuthZEN endpoints."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from extauthz.authn.access import AccessSettings
from extauthz.check.routes import Entrypoint  # noqa: TC001 - pydantic reads it at run time
from extauthz.settings import Duration, Size  # noqa: TC001 - pydantic reads them at run time

_URL: Final = re.compile(r"https://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._~/-]*)?")


def _base(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError("an https URL without query and fragment is expected: https://pdp.bank.example")
    return value.rstrip("/")


class AuthzenSettings(AccessSettings):
    """The AuthZEN endpoints: `/access/v1/evaluation`, `/access/v1/evaluations` and their metadata."""

    url: Annotated[str, AfterValidator(_base)]
    """The base URL under which callers reach this server, through whatever terminates TLS before it."""
    policy: Entrypoint | None = None
    """The policy entrypoint of questions that no route policy covers. Without it they are denied."""
    detail: Literal["none", "code", "message"] = "code"
    """What a caller learns of such a denial beside its decision id; questions of a route go by the route's `detail`."""
    cache_ttl: Duration = Field(default="5s", ge=0, le=3600)  # type: ignore[assignment]  # parsed by the unit's validator
    """How long decisions on such questions may be reused, at most."""
    max_body: Size = Field(default="64KiB", ge=1024, le=512 * 1024)  # type: ignore[assignment]  # the same
    """The largest request body that is read."""
    max_evaluations: int = Field(default=50, ge=1, le=1000)
    """The most questions in one request; they are evaluated one after another."""
    timeout: Duration = Field(default="1s", gt=0, le=10)  # type: ignore[assignment]  # the same
    """The longest time for one request, all its questions together."""
