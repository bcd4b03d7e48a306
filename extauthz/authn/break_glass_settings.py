"""Settings of the `break_glass` block: whose signed grants override a refusal, and how far."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads the annotation
from typing import Annotated

from pydantic import Field

from extauthz.settings import Duration, Settings

Text = Annotated[str, Field(min_length=1, max_length=256)]


class BreakGlassSettings(Settings):
    """Grants that override a refusal on routes with `break_glass: true`."""

    keys: Path
    """JWKS file with the public keys of those who may issue grants (ES256, EdDSA), each with a `kid`. It is read again
    when it changes; a key that is removed ends its grants."""
    issuer: Text = "break-glass"
    """The `iss` of a grant, compared exactly."""
    audience: Text
    """The `aud` of a grant: this installation, so that no grant for another one opens this one."""
    max_duration: Duration = Field(default="1h", gt=0, le=86400)  # type: ignore[assignment]  # parsed by the unit's validator
    """The longest time from a grant's issue to its end. A grant that is to live longer is refused as a whole."""
    leeway: Duration = Field(default="5s", ge=0, le=60)  # type: ignore[assignment]  # the same
    """How far the clock of whoever issues may be ahead of ours. A grant's end has no leeway."""
