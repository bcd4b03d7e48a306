"""The sidecar and the embedded engine decide alike, on the whole input and on its projection, for every shipped
entrypoint."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from extauthz.errors import EngineFault
from extauthz.model import Allow
from extauthz.policy.loader import load
from extauthz.policy.projection import analyse, canonical, projector
from tests.support.engines import embedded, question, sidecar
from tests.support.parts import require_embedded, require_opa
from tests.support.policy_inputs import POLICIES, Inputs

if TYPE_CHECKING:
    from extauthz.policy.engine import Engine

pytestmark = [pytest.mark.opa, pytest.mark.embedded]

INPUTS = 400
AT_ONCE = 8
VARIETY = {"extauthz/egress/decision": 4}
"""Different answers that are seen at least, where an entrypoint has fewer than five in all."""


async def outcome(engine: Engine, entrypoint: str, document: bytes) -> object:
    query = question(entrypoint)
    query.input = document
    try:
        return (await engine.evaluate(query)).decision
    except EngineFault as fault:
        return fault.code


async def compare(engines: list[Engine], entrypoint: str, whole: bytes, projected: bytes) -> object:
    outcomes = [await outcome(engine, entrypoint, one) for engine in engines for one in (whole, projected)]
    assert all(one == outcomes[0] for one in outcomes), (entrypoint, whole.decode(), outcomes)
    return outcomes[0]


@pytest.mark.timeout(300)
async def test_engines_and_projections_agree_on_every_shipped_entrypoint():
    require_embedded()
    report = analyse(require_opa(), load(POLICIES))
    assert len(report.declared) >= 5
    async with sidecar(POLICIES) as (beside, _), embedded(POLICIES, threads=2) as inside:
        for entrypoint in report.declared:
            analysis = report.analyses[entrypoint]
            assert () not in analysis.paths, f"{entrypoint} reads the whole input: nothing can be shared in the cache"
            assert analysis.cacheable
            cut = projector(analysis)
            make = Inputs(random.Random(f"1:{entrypoint}"), entrypoint).make  # noqa: S311 - repeatable, not secret
            documents = [make() for _ in range(INPUTS)]
            seen: Counter[str] = Counter()
            for start in range(0, INPUTS, AT_ONCE):
                batch = documents[start : start + AT_ONCE]
                decided = await asyncio.gather(
                    *(compare([beside, inside], entrypoint, canonical(one), cut(one)) for one in batch)
                )
                seen.update("allow" if isinstance(one, Allow) else getattr(one, "code", str(one)) for one in decided)
            assert seen["allow"] >= 5, (entrypoint, seen)
            assert len(seen) >= VARIETY.get(entrypoint, 5), (entrypoint, seen)
