"""The core of `make faults`: real parts fail under load, and each row's promise is held to.

All rows: `make faults`. What each asserts stands in `tests/faults/`; `docs/failure-modes.md` has what was measured.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.faults import catalogue, runner
from tests.support.parts import require_embedded, require_envoy, require_opa, require_redis

pytestmark = [pytest.mark.fault, pytest.mark.envoy, pytest.mark.opa, pytest.mark.timeout(400)]

CORE = [one.name for family in runner.chosen((), core=True) for one in family.scenarios]


@pytest.fixture(scope="module")
def rows():
    """All rows of the core, one after the other; the parts are started once for several of them."""
    for require in (require_envoy, require_opa, require_embedded, require_redis):
        require()
    return {row.name: row for row in asyncio.run(runner.run((), core=True, say=lambda _: None))}


@pytest.mark.parametrize("name", CORE)
def test_a_promise_is_kept(rows, name):
    row = rows[name]
    assert row.kept, row.broken
    assert (row.lost, row.wrong) == (0, 0)
    assert row.requests > 0


def test_every_row_has_a_name_of_its_own_and_a_promise():
    scenarios = [one for family in catalogue.FAMILIES for one in family.scenarios]
    assert len({one.name for one in scenarios}) == len(scenarios)
    assert all(one.fault and one.promise for one in scenarios)
