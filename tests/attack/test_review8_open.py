"""What a plan lets through unverified is still not what is in quarantine."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.judgement.quarantine import OPERATOR, Key, Quarantine
from extauthz.model import away
from tests.support import parts
from tests.support.bank import open_bank, route

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.attack, pytest.mark.opa, pytest.mark.embedded]


async def test_a_token_in_quarantine_stays_there_while_its_issuer_is_away(tmp_path: Path) -> None:
    parts.require_opa()
    parts.require_embedded()
    bank = await open_bank(
        tmp_path,
        judgement={"queue": {"kind": "sqlite", "path": "./judgement.sqlite"}},
        routes=[route("create-transfer", on_failure={"introspection": "open"})],
    )
    try:
        active = bank.app._active
        assert active is not None
        assert active.office is not None

        async def nobody(*_: Any, **__: Any) -> Any:
            return away("engine.introspection_unavailable")

        active.pipeline._credentials.verify = nobody  # type: ignore[method-assign]
        token, other = bank.token(), bank.token(sub="mallory")
        key = Key("token", hashlib.sha256(token.encode()).hexdigest()[:16])
        now = bank.clock.now()
        active.office.confined.add(Quarantine(key, now, now + 60, OPERATOR))
        assert (await bank.ask(token)).code == "token.quarantined"
        assert (await bank.ask(other)).headers["x-extauthz-mode"] == "open"
    finally:
        await bank.close()
