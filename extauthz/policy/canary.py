"""The questions that a policy bundle must answer on a real OPA before it may serve.

1. OPA says that it serves the revision which the bundle has.
2. Every entrypoint that a route names answers an empty input within the time: what it answers is its own business, but
   a policy that hangs must not be found out by a customer.
3. Every decision case of the bundle gets its answer within the time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from extauthz.errors import ConfigError, ConfigProblem, EngineFault
from extauthz.policy.cases import run_cases_later
from extauthz.policy.engine import Query
from extauthz.policy.settings import SidecarSettings
from extauthz.policy.sidecar import SidecarEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from extauthz.clock import Clock
    from extauthz.model import Decision
    from extauthz.policy.cases import Case
    from extauthz.policy.loader import PolicyFiles

log = logging.getLogger(__name__)

MAX_TOLD: Final = 10
_HARMLESS: Final = frozenset({"engine.undefined", "engine.invalid_result"})


async def prove(
    address: str,
    policy: PolicyFiles,
    *,
    entrypoints: Iterable[str],
    cases: Sequence[Case],
    seconds: float,
    read: Callable[[Any], Decision],
    clock: Clock,
) -> None:
    """`address` is an OPA that serves `policy`. Raises ConfigError with every case that fails."""
    name = str(policy.root)
    settings = SidecarSettings(supervise=False, address=address, pool=2, timeout="30s")
    engine = SidecarEngine(address, settings=settings, clock=clock, read=read)

    async def ask(entrypoint: str, document: bytes) -> Decision:
        evaluation = await engine.evaluate(Query(entrypoint, document, 0.0, clock.monotonic() + seconds))
        if evaluation.revision != policy.revision:  # 1
            raise EngineFault("engine.unavailable", "OPA serves another revision")
        return evaluation.decision

    try:
        for entrypoint in sorted(entrypoints):  # 2
            try:
                await ask(entrypoint, b"{}")
            except EngineFault as fault:
                if fault.code not in _HARMLESS:
                    raise _refused(
                        name, [f"{entrypoint} does not answer an empty input within {seconds:g} s: {fault}"]
                    ) from None
        asked = [case for case in cases if not case.data]
        results = await run_cases_later(ask, asked)  # 3
    finally:
        await engine.close()
    failed = [str(result) for result in results if not result.passed]
    if failed:
        raise _refused(name, failed)
    if len(asked) < len(cases):
        log.info("policy bundle: %d decision cases bring data of their own; not asked here", len(cases) - len(asked))
    log.info("policy bundle: revision %s answers %d decision cases as it must", policy.revision, len(asked))


def _refused(name: str, problems: list[str]) -> ConfigError:
    told = problems[:MAX_TOLD] + [f"and {len(problems) - MAX_TOLD} more"] * (len(problems) > MAX_TOLD)
    remedy = "correct the policy or its decision cases"
    message = "the policy bundle is refused: it fails its own decision cases: "
    return ConfigError(tuple(ConfigProblem(name, 0, "", message + problem, remedy) for problem in told))
