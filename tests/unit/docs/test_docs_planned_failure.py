"""docs/planned-failure.md: its configuration loads, its tables are the code's, its Rego does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.check.budget import ANSWER, WEIGHTS
from extauthz.check.failure_settings import FailurePlan, plan_of
from extauthz.endpoint import PATIENCE, BreakerSettings
from extauthz.policy.settings import PolicySettings
from tests.support.engines import embedded, question, write_policy

PAGE = (Path(__file__).parents[3] / "docs" / "planned-failure.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def rows(heading: str) -> dict[str, list[str]]:
    """The table below the row that begins with `heading`: first cell → the other cells."""
    table = PAGE[PAGE.index(f"| {heading}") :].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {first.strip("`"): rest for first, *rest in cells}


def test_the_configuration_is_one() -> None:
    (text,) = blocks("yaml")
    shown: dict[str, Any] = yaml.safe_load(text)
    assert PolicySettings.model_validate(shown["policy"]).sidecar.breaker == BreakerSettings()
    words = [route.get("on_failure") for route in shown["routes"]]
    assert FailurePlan.model_validate(words[0]).engine == "degrade"
    assert plan_of(words[1], effects=False).introspection == "open"
    assert words[2] is None


def test_the_tables_are_the_codes() -> None:
    assert set(rows("part (`cause`)")) == set(FailurePlan.model_fields)
    weights = {stage: int(cells[0]) for stage, cells in rows("stage").items()}
    assert weights == {**WEIGHTS, "answer": ANSWER}
    assert PATIENCE == 8
    assert "eight times its usual time" in PAGE


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("degraded", "expected"),
    [
        ({}, ["pass", False]),
        ({"degraded": ["attributes"]}, ["pass", True]),
        ({"degraded": ["engine"]}, [{"code": "attribute.degraded"}, False]),
    ],
)
async def test_the_rego_reads_what_is_missing(tmp_path: Path, degraded: dict[str, Any], expected: list[Any]) -> None:
    guard, tail = blocks("rego")
    policy = f"""package page

{guard}
{tail}

hidden := false if not blocked
else := true

code := outcome if is_string(outcome)
else := outcome.code

decision := {{"allow": true, "obligations": {{"metadata": {{"code": code, "blocked": hidden}}}}}}
"""
    files = write_policy(tmp_path / "policy", {"page.rego": policy})
    document = {"resource": {"properties": {"data_class": "restricted"}}, "context": degraded}
    async with embedded(files) as engine:
        decision = (await engine.evaluate(question("page/decision", document))).decision
    code = expected[0] if isinstance(expected[0], str) else expected[0]["code"]
    assert decision.obligations.metadata == {"code": code, "blocked": expected[1]}  # type: ignore[union-attr]
