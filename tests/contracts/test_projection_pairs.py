"""Random policies × random inputs: what the engine is asked with never changes what it answers.

For every pair four answers must be one: of the whole input, of its projection, out of the decision cache (which knows
nothing but the projection), and, for a part of the pairs, of OPA's own command line with the whole input.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import subprocess
from typing import Any

import orjson
import pytest

from extauthz.clock import ManualClock
from extauthz.errors import ConfigError, EngineFault
from extauthz.policy.cached import CachedEngine
from extauthz.policy.embedded import LoadedPolicy
from extauthz.policy.engine import Evaluation, Query
from extauthz.policy.loader import PolicyFiles, revision_of
from extauthz.policy.projection import canonical, projector
from extauthz.policy.result import parse
from extauthz.policy.settings import CacheSettings
from tests.support.parts import require_embedded, require_opa
from tests.support.random_policies import DATA, Chance, documents, policy

pytestmark = [pytest.mark.opa, pytest.mark.embedded]

SEED = int(os.environ.get("EXTAUTHZ_PAIRS_SEED", "20261123"))
POLICIES = int(os.environ.get("EXTAUTHZ_PAIRS_POLICIES", "130"))
INPUTS = 400
BY_COMMAND = 20
ENTRYPOINT = "random/decision"


class Direct:
    """An engine on the library, without threads."""

    def __init__(self, loaded: LoadedPolicy) -> None:
        self.loaded = loaded
        self.revision = loaded.revision
        self.out = ctypes.create_string_buffer(1024 * 1024)
        self.asked = 0

    def answer(self, asked: bytes) -> Any:
        """A decision, or a fault's code."""
        try:
            return parse(orjson.loads(self.loaded.evaluate(ENTRYPOINT.encode(), asked, 10, self.out)))
        except EngineFault as fault:
            return fault.code

    async def evaluate(self, query: Query) -> Evaluation:
        self.asked += 1
        decision = parse(orjson.loads(self.loaded.evaluate(query.entrypoint.encode(), query.input, 10, self.out)))
        return Evaluation(decision, self.revision)

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        self.loaded.free()


def loaded(chance: Chance, root) -> LoadedPolicy | None:
    """None where the policy does not compile (a recursive rule, an unsafe variable): OPA says so, nobody asks it."""
    files = {"policy.rego": policy(chance).encode(), "data.json": json.dumps(DATA).encode()}
    try:
        return LoadedPolicy(require_embedded(), PolicyFiles(root, files, revision_of(files)))
    except ConfigError:
        return None


def by_command(files: PolicyFiles, inputs: list[dict[str, Any]], root) -> dict[int, Any]:
    """Index → decision of the whole input, by `opa eval`; what is undefined is not in it. Faults are not asked for."""
    for name, content in files.files.items():
        (root / name).write_bytes(content)
    (root / "questions.json").write_text(json.dumps({"questions": inputs}))
    query = "{i: d | some i, x in data.questions; d := data.random.decision with input as x}"
    done = subprocess.run(
        [require_opa(), "eval", "--data", root / "policy.rego", "--data", root / "data.json", "--data", root / "questions.json",
         "--format", "json", query],
        capture_output=True, check=True,
    )  # fmt: skip
    return {int(i): parse(d) for i, d in json.loads(done.stdout)["result"][0]["expressions"][0]["value"].items()}


async def test_projection_never_changes_a_decision(tmp_path, capsys):
    compared = hits = narrowed = commanded = allowed = tried = 0
    differences: list[str] = []
    used = 0
    seed = SEED
    while used < POLICIES:
        seed += 1
        chance = Chance(seed)
        tried += 1
        found = loaded(chance, tmp_path)
        if found is None:
            continue
        used += 1
        engine = Direct(found)
        analysis = found.describe([ENTRYPOINT]).analyses[ENTRYPOINT]
        project = projector(analysis)
        narrowed += analysis.paths != ((),)
        settings = CacheSettings(ttl="1h", deny_ttl="1h")
        cache = CachedEngine(engine, settings=settings, clock=ManualClock(), epoch=lambda: 0, cap=lambda _: math.inf)
        asked_with = documents(chance, INPUTS)
        answers = []
        for one in asked_with:
            whole = engine.answer(canonical(one))
            asked = project(one)
            projected = engine.answer(asked)
            try:
                evaluation = await cache.evaluate(Query(ENTRYPOINT, asked, 3600.0, 1e9))
                cached, hit = evaluation.decision, evaluation.cached
            except EngineFault as fault:
                cached, hit = fault.code, False
            answers.append(whole)
            compared += 1
            hits += hit
            allowed += type(whole).__name__ == "Allow"
            if not whole == projected == cached:
                differences.append(f"seed {seed}: {orjson.dumps(one)!r}: {whole} {projected} {cached}")
        sound = [(one, answer) for one, answer in zip(asked_with, answers, strict=True) if not _faulty(answer)][
            :BY_COMMAND
        ]
        told = by_command(found._policy, [one for one, _ in sound], tmp_path)
        for index, (one, answer) in enumerate(sound):
            commanded += 1
            if told.get(index, "engine.undefined") != answer:
                differences.append(f"seed {seed}, by the command line: {one}: {told.get(index)} {answer}")
        await cache.close()
    with capsys.disabled():
        print(  # noqa: T201 - the count is what the test is for
            f"\n{compared:,} pairs of {used} policies × {INPUTS} inputs: whole, projected and cached agree in all but"
            f" {len(differences)}; {commanded:,} also asked of the opa command; {hits:,} answered by the cache,"
            f" {allowed:,} allowed; {narrowed} policies have a projection narrower than the input ({tried - used} did not compile)"
        )
    assert differences == []
    assert compared >= min(50_000, POLICIES * INPUTS)
    assert hits > compared // 20
    assert narrowed > used // 3
    assert 0 < allowed < compared


def _faulty(answer: Any) -> bool:
    return isinstance(answer, str) and answer != "engine.undefined"
