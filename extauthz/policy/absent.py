"""The engine of a server that has no policy: it is never ready and decides nothing, so everything is denied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.errors import EngineFault

if TYPE_CHECKING:
    from extauthz.policy.engine import Evaluation, Query


class AbsentEngine:
    revision = ""

    async def evaluate(self, query: Query) -> Evaluation:
        raise EngineFault("engine.unavailable", f"no policy is configured for {query.entrypoint}")

    async def ready(self) -> bool:
        return False

    async def close(self) -> None:
        """Nothing is held."""
