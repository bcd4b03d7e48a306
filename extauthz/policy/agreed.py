"""An engine that is ready only while it serves the policy that we know.

For an OPA of the operator's own that gets the same policy bundle as we do: the two fetch it at moments of their own,
and until both have the same revision the server says that it is not ready.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extauthz.policy.engine import Engine, Evaluation, Query

log = logging.getLogger(__name__)


class AgreedEngine:
    """Takes over `inner` and closes it. Answers go through: each is recorded under the revision that gave it."""

    def __init__(self, inner: Engine, revision: str) -> None:
        self._inner = inner
        self._wanted = revision
        self._told = ""

    @property
    def revision(self) -> str:
        return self._inner.revision

    async def evaluate(self, query: Query) -> Evaluation:
        return await self._inner.evaluate(query)

    async def ready(self) -> bool:
        if not await self._inner.ready():
            return False
        served = self._inner.revision
        if served not in {self._wanted, self._told}:
            log.warning("not ready: OPA serves revision %s, the policy bundle is %s", served or "none", self._wanted)
        self._told = served
        return served == self._wanted

    async def close(self) -> None:
        await self._inner.close()
