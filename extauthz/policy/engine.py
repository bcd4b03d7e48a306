"""What a policy engine is: projected input in, decision out.

Implementations: `sidecar.SidecarEngine`, `embedded.EmbeddedEngine`, and `cached.CachedEngine`, which wraps either.
All pass one contract suite (`tests/contracts/test_engine.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from extauthz.model import Decision


@dataclass(slots=True, eq=False)
class Query:
    """One question to an engine.

    `entrypoint` is a rule's path below `data`, with slashes: `extauthz/main/decision`.
    `input` is canonical JSON (sorted keys) of the projected policy input.
    `ttl` bounds, in seconds, how long the answer may be reused (0: not at all); `deadline` is on the monotonic scale.
    """

    entrypoint: str
    input: bytes
    ttl: float
    deadline: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`revision` names the policy and data that decided; `cached` says that no engine ran."""

    decision: Decision
    revision: str
    cached: bool = False


class Engine(Protocol):
    """Raises `errors.EngineFault` (`engine.unavailable`, `engine.deadline`, `engine.undefined`,
    `engine.invalid_result`), never anything else."""

    @property
    def revision(self) -> str:
        """Digest of the active policy and data; changes exactly when they do."""

    async def evaluate(self, query: Query) -> Evaluation: ...

    async def ready(self) -> bool:
        """Whether a question would be answered now."""

    async def close(self) -> None: ...
