"""An allow whose record cannot be had: whatever the reason, a route that is closed without one stays closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support import parts
from tests.support.bank import open_bank, route

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.attack, pytest.mark.opa, pytest.mark.embedded]


async def test_a_defect_of_the_trail_lets_nobody_through(tmp_path: Path) -> None:
    parts.require_opa()
    parts.require_embedded()
    bank = await open_bank(
        tmp_path,
        audit={"directory": "./audit"},
        routes=[route("create-transfer", audit="written", effects=["money"])],
    )
    try:
        active = bank.app._active
        assert active is not None
        assert (await bank.ask(bank.token())).status == 200

        class Broken:
            healthy = True

            async def written(self, *_: Any) -> bool:
                raise RuntimeError("a defect")

        active.pipeline._audit = Broken()
        answer = await bank.ask(bank.token())
        assert (answer.status, answer.code) == (503, "engine.internal")
    finally:
        await bank.close()
    assert [record["result"]["allow"] for record in bank.records()] == [True, False]
