"""The trust domain's certificate authorities, kept in a file: for agents that start (`agent.trust_bundle`).

The file is replaced whole, so that a reader sees the old one or the new one. It holds nothing that is secret.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.ca.certificate_authority import CertificateAuthority

log = logging.getLogger(__name__)
LOOK: Final = 30.0
"""The most seconds that one wait for a change lasts."""
AGAIN: Final = 1.0
MODE: Final = 0o644


class Publication:
    """`write` at the start, then `follow` until it is cancelled. `pem` says what the file must hold now."""

    def __init__(self, path: Path, pem: Callable[[], str], ca: CertificateAuthority) -> None:
        self._path = path
        self._pem = pem
        self._ca = ca
        self._sequence = -1

    async def write(self) -> None:
        """Raises ExtauthzError when the file cannot be written."""
        sequence = self._ca.trust().sequence
        try:
            await asyncio.to_thread(_replace, self._path, self._pem().encode())
        except OSError as error:
            raise ExtauthzError(f"{self._path} cannot be written: {error.strerror}") from None
        self._sequence = sequence

    async def follow(self) -> None:
        while True:
            try:
                if (await self._ca.wait(self._sequence, LOOK)).sequence != self._sequence:
                    await self.write()
            except ExtauthzError as error:
                log.error("what is published of whom to trust is old: %s", error)  # noqa: TRY400 - the text says all
                await asyncio.sleep(AGAIN)


def _replace(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as beside:
        name = Path(beside.name)
        try:
            beside.write(content)
            beside.flush()
            name.chmod(MODE)
            name.replace(path)
        except BaseException:
            name.unlink(missing_ok=True)
            raise
