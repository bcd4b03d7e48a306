"""docs/credential-models.md says what each pattern of credential stops: every attack is tried again, and must end so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import pytest_asyncio

from bench import patterns
from bench.credentials import PATTERNS
from extauthz.demo.lab import Lab
from extauthz.demo.platform import Platform
from extauthz.demo.routes import routes
from extauthz.demo.runner import Runner
from tests.support.parts import require_envoy, require_opa

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.envoy,
    pytest.mark.opa,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
]

PAGE = Path(__file__).parents[2] / "docs" / "credential-models.md"
NAMES = [pattern.name for pattern in PATTERNS]
LONG = patterns.LASTING
"""Takes a minute: the page has it, this test has not."""
TIME = re.compile(r", \d+ ms$")


def table(first: str) -> list[list[str]]:
    """The rows of the page's table whose first heading is `first`, the heading too, as cells."""
    lines = PAGE.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tried():
    require_envoy()
    require_opa()
    async with Platform() as platform:
        lab, thief = Lab(platform), Lab(platform)
        await Runner(platform, lab).warm_up()
        made = patterns.made(lab, thief)
        for pattern in made:
            await pattern.prepare()
        yield dict(zip(NAMES, await patterns.attack(platform, made, lasting=False), strict=True))
        await lab.close()
        await thief.close()


async def test_the_page_has_every_pattern_on_its_route():
    shown = [(row[0], row[1], row[2].strip("`")) for row in table("pattern")[1:]]
    assert shown == [(pattern.name, pattern.zone.name, pattern.route) for pattern in PATTERNS]
    for pattern in PATTERNS:
        assert pattern.route in {route["name"] for route in routes(pattern.zone)}


async def test_the_page_has_every_attack():
    head, *rows = table("attack")
    assert head[1:] == NAMES
    assert [row[0] for row in rows] == [*patterns.ATTACKS, patterns.REVOKED, *patterns.OUTAGE, LONG]


async def test_the_page_says_what_has_been_measured():
    for row in table("pattern")[1:]:
        assert len(row) == 7
        assert all(re.fullmatch(r"[\d,]+|–", figure) for figure in row[3:])


@pytest.mark.parametrize("attack", [*patterns.ATTACKS, patterns.REVOKED, *patterns.OUTAGE])
async def test_each_attack_ends_as_the_page_says(tried, attack):
    row = next(row for row in table("attack") if row[0] == attack)
    rows = [patterns.Row(name, "", "", attacks=tried[name]) for name in NAMES]
    found = patterns.cells(rows, attack)
    cells = [[TIME.sub("", cell) for cell in each] for each in (found, row[1:])]
    if attack == patterns.REVOKED:  # the issuer or the feed may be the first to say it
        cells = [[cell.replace("token.inactive", "token.revoked") for cell in each] for each in cells]
    assert cells[0] == cells[1]
