"""The supervisor's part of the audit trail: which configuration and which policy came into force, and what was refused.

A configuration is known by the SHA-256 of its file, a policy by its revision. A record here never holds up a reload: it
is written as soon as it can be.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.audit.trail import AuditTrail
from extauthz.errors import ExtauthzError
from extauthz.telemetry.redact import plain, redact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from extauthz.clock import Clock
    from extauthz.config import Config

log = logging.getLogger(__name__)

ROLE: Final = "supervisor"
_PROBLEMS: Final = 32
_PROBLEM: Final = 512


@dataclass(frozen=True, slots=True)
class InForce:
    """What serves. Both empty: nothing does yet."""

    config: str = ""
    revision: str = ""


class Changes:
    """Follows the audit settings of the configuration in force; without a directory nothing is recorded."""

    def __init__(self, file: Path, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._trail: AuditTrail | None = None
        self._before = InForce()

    async def serves(self, config: Config, revision: str) -> None:
        """This configuration and this policy serve from now on. Raises AuditError when records cannot be kept."""
        await self._follow(config)
        before, now = self._before, InForce(config.digest, revision)
        self._before = now
        if now.config != before.config:
            facts = {"file": self._file.name, "from": before.config, "to": now.config, "routes": len(config.routes)}
            self._note("config.changed", facts)
        if now.revision != before.revision:
            self._note("policy.changed", {"from": before.revision, "revision": now.revision})

    async def refused(self, problems: Sequence[str]) -> None:
        """What was offered does not serve. It is the policy's fault where the configuration is the one that serves."""
        found = await asyncio.to_thread(_digest, self._file)
        facts: dict[str, Any] = {
            "offered": found,
            "serving": self._before.config,
            "revision": self._before.revision,
            "problems": [redact(plain(problem, _PROBLEM)) for problem in problems[:_PROBLEMS]],
        }
        self._note("policy.refused" if found == self._before.config else "config.refused", facts)

    async def close(self) -> None:
        if self._trail is not None:
            await self._trail.close()
            self._trail = None

    async def _follow(self, config: Config) -> None:
        if self._trail is not None and self._trail.settings == config.audit:
            return
        former, self._trail = self._trail, None
        if config.audit.directory is not None:
            verify = await asyncio.to_thread(config.outbound.verify)
            self._trail = await AuditTrail.open(config.audit, ROLE, self._clock, verify=verify)
        if former is not None:
            await former.close()

    def _note(self, event: str, facts: dict[str, Any]) -> None:
        if self._trail is None:
            return
        try:
            self._trail.note(event, facts)
        except ExtauthzError as error:
            log.error("%s is not recorded: %s", event, error)  # noqa: TRY400 - expected


def _digest(file: Path) -> str:
    """Empty when it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
