"""Runs the rows: one platform a family, one row after the other, every process ended whatever happens."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from extauthz.errors import ExtauthzError, MissingPart
from tests.faults import catalogue
from tests.faults.lab import Lab, Plan, now
from tests.faults.rows import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from tests.faults.rows import Family, Scenario


def chosen(only: Collection[str], *, core: bool) -> list[Family]:
    """Families with the wanted rows; all of them without a wish."""
    found = []
    for family in catalogue.FAMILIES:
        wanted = [one for one in family.scenarios if (not only or one.name in only) and (not core or one.core)]
        if wanted:
            found.append(replace(family, scenarios=tuple(wanted)))
    return found


async def run(only: Collection[str], *, core: bool, say: Callable[[str], None]) -> list[Row]:
    """Raises MissingPart where a program is not there."""
    rows: list[Row] = []
    for family in chosen(only, core=core):
        rows += await _family(family, say)
    return rows


async def _family(family: Family, say: Callable[[str], None]) -> list[Row]:
    async with contextlib.AsyncExitStack() as stack:
        lab = Lab(family.plan or Plan())
        try:
            if family.plan is not None:
                say(f"{family.name}: starting")
                await stack.enter_async_context(lab)
        except (ExtauthzError, OSError) as error:
            if isinstance(error, MissingPart):
                raise
            broken = [f"the platform did not start: {error}"]
            return [Row(one.name, one.fault, one.promise, broken=broken) for one in family.scenarios]
        return [await _row(lab, scenario, say) for scenario in family.scenarios]


async def _row(lab: Lab, scenario: Scenario, say: Callable[[str], None]) -> Row:
    row = Row(scenario.name, scenario.fault, scenario.promise)
    begun = now()
    try:
        await scenario.run(lab, row)
    except Exception as error:  # noqa: BLE001 - a row that cannot be measured is a broken promise, not the end
        row.broken.append(f"the row ended with {type(error).__name__}: {error}")
    row.seconds = now() - begun
    for sentence in _sentences(row):
        say(sentence)
    return row


def _sentences(row: Row) -> Iterable[str]:
    yield f"{row.name}: {'kept' if row.kept else 'BROKEN'} in {row.seconds:.0f} s"
    yield from (f"  {sentence}" for sentence in row.broken)
