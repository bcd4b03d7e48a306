"""Where private keys live while nobody uses them."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads the annotation
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from extauthz.settings import Settings


class KeysSettings(Settings):
    """Where private keys are kept. Neither kind ever writes one in clear."""

    kind: Literal["memory", "encrypted"] = "memory"
    """"encrypted" keeps them in the store under a passphrase; "memory" makes new ones at each start (one replica)."""
    passphrase_file: Path | None = None
    """File with the passphrase (at least 16 bytes; a newline at its end does not count)."""
    passphrase_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable with the passphrase."""

    @model_validator(mode="after")
    def _one_passphrase(self) -> Self:
        given = [self.passphrase_file is not None, self.passphrase_env is not None].count(True)
        if given != (1 if self.kind == "encrypted" else 0):
            raise ValueError("encrypted needs one of passphrase_file and passphrase_env; memory takes neither")
        return self
