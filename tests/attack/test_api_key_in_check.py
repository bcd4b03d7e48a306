"""API keys in a whole Check, on a policy that tells everything it is given: SECURITY-TESTS A 20."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from extauthz.authn.api_key import HEADER
from tests.support import parts
from tests.support.api_keys import KEY, SECRET, row, write
from tests.support.bank import Bank, open_bank

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.attack, pytest.mark.opa, pytest.mark.embedded]

TELLTALE = """package rates

import rego.v1

# METADATA
# entrypoint: true
decision := {"allow": true, "obligations": {"metadata": {"input": input}}}
"""


def rates(name: str = "rates", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "match": {"path": f"/v1/{name}", "methods": ["GET"]},
        "public": True,
        "credential": "api_key",
        "action": "rates.read",
        "resource": {"type": "rates"},
        "policy": "rates/decision",
        **changes,
    }


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    parts.require_opa()
    parts.require_embedded()
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "rates.rego").write_text(TELLTALE)
    write(tmp_path / "api-keys.yaml", row(rate={"requests": 5, "per": "1h"}))
    opened = await open_bank(
        tmp_path,
        api_keys={"file": "api-keys.yaml"},
        policy={"engine": "embedded", "path": "policy"},
        routes=[rates(), rates("other"), rates("open", credential="none")],
        attributes={},
    )
    yield opened
    await opened.close()


async def ask(bank: Bank, key: str = KEY, name: str = "rates", **headers: str) -> Any:
    sent = {HEADER: key, **headers} if key else headers
    return await bank.ask("", caller="", method="GET", path=f"/v1/{name}", route=name, body=b"", headers=sent)


async def test_the_key_opens_its_route_and_goes_nowhere(bank: Bank) -> None:
    answer = await ask(bank, authorization="Bearer x")
    assert answer.status == 200
    assert answer.headers["x-extauthz-subject"] == "rates-partner"
    assert answer.headers["x-extauthz-subject-type"] == "service"
    assert answer.headers["x-extauthz-tenant"] == "acme"
    assert HEADER in answer.removed
    told = json.dumps(answer.metadata, default=str)
    assert "rates-partner" in told
    for refused in (await ask(bank, name="other"), await ask(bank, KEY[:-1] + "t")):
        assert refused.status in {401, 403}
        told += refused.body + str(refused.headers)
    await bank.close()
    told += (bank.directory / "records.jsonl").read_text()
    assert "partner1" in told
    assert SECRET not in told
    assert KEY not in told


async def test_a_key_that_was_sent_to_another_route_stops_here_as_well(bank: Bank) -> None:
    answer = await ask(bank, name="open")
    assert (answer.status, HEADER in answer.removed) == (200, True)
    assert SECRET not in json.dumps(answer.metadata, default=str)


@pytest.mark.parametrize(
    ("key", "name", "status", "code"),
    [
        ("", "rates", 401, "token.missing"),
        (KEY, "other", 403, "token.api_key_route"),
        (f"xak_partner1_{'a' * 43}", "rates", 401, "token.api_key_unknown"),
        (f"{KEY},{KEY}", "rates", 400, "request.header_duplicated"),
    ],
)
async def test_refusals(bank: Bank, key: str, name: str, status: int, code: str) -> None:
    answer = await ask(bank, key, name)
    assert (answer.status, answer.code) == (status, code)
    assert "retry-after" not in answer.headers


async def test_a_bearer_token_is_no_key(bank: Bank) -> None:
    answer = await ask(bank, "", authorization=f"Bearer {bank.token()}")
    assert (answer.status, answer.code) == (401, "token.missing")


async def test_a_key_that_is_taken_away_meets_no_cached_allow(bank: Bank) -> None:
    assert (await ask(bank)).status == 200
    assert (await ask(bank)).status == 200
    write(bank.directory / "api-keys.yaml")
    active = bank.app._active
    assert active is not None
    assert active.api_keys.reload()
    answer = await ask(bank)
    assert (answer.status, answer.code) == (401, "token.api_key_unknown")


async def test_too_often(bank: Bank) -> None:
    answers = [await ask(bank) for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert answers[-1].code == "token.rate_limited"
    assert answers[-1].headers["retry-after"] == "720"
    (used,) = (await bank.app.status())["api_keys"]["used"]
    assert (used["id"], used["count"], used["limited"]) == ("partner1", 5, 1)


def test_a_source_cannot_read_the_header(tmp_path: Path) -> None:
    from extauthz.config import load_text  # noqa: PLC0415 - what the file says is refused, not what a test builds
    from extauthz.errors import ConfigError  # noqa: PLC0415

    source = {"kind": "request", "name": "key", "fields": {"key": {"from": f"header:{HEADER}"}}}
    text = yaml.safe_dump({"version": 1, "attributes": {"sources": [source]}})
    with pytest.raises(ConfigError, match="carries a credential"):
        load_text(text)
