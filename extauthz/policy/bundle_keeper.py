"""Which policy bundle may serve: the newest one of its source, or the last good one.

1. What a source offers is opened and judged once. Refused bytes refuse the reload that they came with; while they
   stay the same, later reloads (of the configuration) go on with the last good one. What fails for another reason
   than the bundle's own (no memory, a worker that is gone) is tried again, `ATTEMPTS` times in all.
2. It must follow the last good one: no older sequence, no revision that was something else (`PolicyBundle.follows`).
3. It becomes the last good one only by `accept`, which is called when every part of the server runs it; then it is
   written to disk (temporary file, fsync, rename), if a directory is configured.
4. At a start the last good one on disk is read with the same strictness and trust as any other; it serves when the
   source is down or offers what is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from typing import TYPE_CHECKING, Any, Final

from extauthz.errors import ConfigError, ConfigProblem, ExtauthzError
from extauthz.policy.archive import BundleRefused
from extauthz.policy.bundle import PolicyBundle, Trust, open_bundle, read_file, refused

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.policy.archive import Limits
    from extauthz.policy.bundle_sources import Source

log = logging.getLogger(__name__)

KEPT: Final = "policy-bundle.tar.gz"
ATTEMPTS: Final = 3
_MODE: Final = 0o600


class BundleKeeper:
    """`keep` is a directory of our own, or None: then nothing survives a restart. Blocking work runs in threads."""

    def __init__(self, source: Source, *, trust: Trust, limits: Limits, keep: Path | None) -> None:
        self.source = source
        self._trust = trust
        self._limits = limits
        self._keep = keep
        self._good: PolicyBundle | None = None
        self._started = False
        self._refused: tuple[bytes, str] | None = None
        self._offered_last = b""
        self._failed: tuple[bytes, int] = (b"", 0)
        self.refusals = 0
        """Bundles that were refused since the start."""

    @property
    def unsettled(self) -> bool:
        """Whether the source offers something that neither serves nor is refused."""
        settled = {_digest(self._good.packed)} if self._good is not None else set()
        if self._refused is not None:
            settled.add(self._refused[0])
        return bool(self._offered_last) and self._offered_last not in settled

    def trust(self, trust: Trust) -> None:
        """The keys as their files hold them now. With other keys, what was refused is judged again."""
        if trust != self._trust:
            self._trust, self._refused = trust, None

    def status(self) -> dict[str, Any]:
        """What operators are told; `refused` is why what the source offers now is not used."""
        good = self._good
        return {
            "source": self.source.name,
            "revision": good.policy.revision if good else "",
            "sequence": good.sequence if good else None,
            "signed_by": good.signed_by if good else "",
            "refused": self._refused[1] if self._refused else "",
        }

    async def choices(self) -> list[PolicyBundle]:
        """What may serve, the best first; a start has two chances. Raises ConfigError when there is none."""
        if not self._started:
            self._good = await asyncio.to_thread(self._kept)  # 4
        try:
            offered = await self._offered()
        except ConfigError as error:
            if self._good is None or self._started:
                raise  # a reload is refused as a whole: what serves goes on untouched
            log.error("%s; the last good policy bundle, revision %s, serves", error, self._good.policy.revision)  # noqa: TRY400 - expected
            return [self._good]
        if offered is None or (self._good is not None and offered.packed == self._good.packed):
            return [self._good] if self._good is not None else []
        return [offered] if self._good is None or self._started else [offered, self._good]

    async def _offered(self) -> PolicyBundle | None:
        """None: it was refused before, and a good one serves. Raises ConfigError."""
        packed = await self.source.newest()
        self._offered_last = _digest(packed)
        if self._refused is not None and self._refused[0] == _digest(packed):  # 1
            if self._good is not None:
                return None
            raise ConfigError((ConfigProblem(self.source.name, 0, "", self._refused[1], "build another"),))
        try:
            return await asyncio.to_thread(self._open, packed)
        except ConfigError as error:
            self._refuse(packed, error)
            raise

    def _open(self, packed: bytes) -> PolicyBundle:
        bundle = open_bundle(packed, self.source.name, trust=self._trust, limits=self._limits)
        try:
            bundle.follows(self._good)  # 2
        except BundleRefused as error:
            raise refused(self.source.name, error) from None
        return bundle

    def failed(self, bundle: PolicyBundle, error: ExtauthzError) -> None:
        """It was opened, but could not be made to serve."""
        if bundle is self._good:
            return
        digest = _digest(bundle.packed)
        attempts = self._failed[1] + 1 if self._failed[0] == digest else 1
        self._failed = (digest, attempts)
        if isinstance(error, ConfigError) or attempts >= ATTEMPTS:
            self._refuse(bundle.packed, error)

    def _refuse(self, packed: bytes, error: ExtauthzError) -> None:
        self._refused = (_digest(packed), str(error))
        self.refusals += 1

    async def accept(self, bundle: PolicyBundle) -> None:
        """It serves. A disk that cannot be written is told, and changes nothing."""
        self._started = True
        if bundle is self._good:
            return
        self._good, self._refused = bundle, None
        if self._keep is not None:
            try:
                await asyncio.to_thread(_write, self._keep, bundle.packed)
            except OSError as error:
                log.error("the last good policy bundle cannot be kept in %s: %s", self._keep, error.strerror)  # noqa: TRY400 - expected

    def _kept(self) -> PolicyBundle | None:
        if self._keep is None or not (file := self._keep / KEPT).is_file():
            return None
        try:
            return read_file(file, trust=self._trust, limits=self._limits)
        except ConfigError as error:
            log.error("the kept policy bundle is not used: %s", error)  # noqa: TRY400 - expected
            return None

    async def close(self) -> None:
        await self.source.close()


def _digest(packed: bytes) -> bytes:
    return hashlib.sha256(packed).digest()


def _write(directory: Path, packed: bytes) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = directory / f".{KEPT}-{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(packed)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.rename(directory / KEPT)
    finally:
        temporary.unlink(missing_ok=True)
