"""`extauthz quarantine` on the queue of a running worker: it follows within a second, and the audit trail knows."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from extauthz.cli import app
from extauthz.errors import ConfigError
from tests.support import parts
from tests.support.bank import GATEWAY, TRANSFER, Bank, open_bank, route
from tests.support.engines import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from click.testing import Result

pytestmark = [pytest.mark.opa, pytest.mark.embedded]
RULE = {"by": "tenant", "strikes": 1}


@pytest.fixture
async def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bank]:
    parts.require_opa()
    parts.require_embedded()
    asynchronous = route("create-hint", match={"path": "/v1/hints"}, evaluation="async", judgement={"quarantine": RULE})
    opened = await open_bank(
        tmp_path,
        judgement={"queue": {"kind": "sqlite", "path": "./judgement.sqlite"}},
        audit={"directory": "./audit", "key": "./audit.key"},
        routes=[route("create-transfer"), asynchronous],
    )
    module = sys.modules["extauthz.cli.quarantine"]  # its name in the package is the command
    monkeypatch.setattr(module, "SystemClock", lambda: opened.clock)
    yield opened
    await opened.close()


async def command(bank: Bank, *words: str) -> Result:
    arguments = ["quarantine", *words, "--config", str(bank.directory / "extauthz.yaml")]
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


async def code(bank: Bank) -> str:
    return (await bank.ask()).code


async def is_refused(bank: Bank, expected: str) -> bool:
    return await code(bank) == expected


def audited(bank: Bank) -> list[dict[str, object]]:
    lines = [line for file in (bank.directory / "audit").glob("*.jsonl") for line in file.read_text().splitlines()]
    records = [json.loads(line) for line in lines]
    return [record for record in records if str(record["event"]).startswith("quarantine.")]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("workload", GATEWAY, "workload.quarantined"),
        ("tenant", "acme", "attribute.tenant_quarantined"),
    ],
)
async def test_an_operator_confines_and_releases(bank: Bank, kind: str, value: str, expected: str) -> None:
    assert await code(bank) == ""
    added = await command(bank, "add", kind, value, "--for", "7d", "--reason", "incident 7")
    assert added.exit_code == 0, added.output
    await eventually(lambda: is_refused(bank, expected))
    listed = json.loads((await command(bank, "list", "--json")).output)
    assert [(made["kind"], made["value"], made["route"], made["by"]) for made in listed] == [
        (kind, value, "", "operator")
    ]
    assert value in (await command(bank, "list")).output
    released = await command(bank, "release", listed[0]["id"])
    assert (released.exit_code, released.output) == (0, f"{listed[0]['id']}: released\n")
    await eventually(lambda: is_refused(bank, ""))
    assert (await command(bank, "release", listed[0]["id"])).exit_code == 1
    assert [record["event"] for record in audited(bank)] == ["quarantine.started", "quarantine.released"]
    assert audited(bank)[0]["reason"] == "incident 7"


async def test_what_a_violation_began_is_listed_and_released(bank: Bank) -> None:
    other = {**TRANSFER, "tenant": "globex"}
    assert (await bank.ask(body=other, route="create-hint", path="/v1/hints")).status == 200

    async def refused() -> bool:
        return (await bank.ask(route="create-hint", path="/v1/hints")).code == "attribute.tenant_quarantined"

    await eventually(refused)
    assert await code(bank) == ""  # another route
    (made,) = json.loads((await command(bank, "list", "--json")).output)
    assert (made["by"], made["route"], made["issuer"]) == ("strikes", "create-hint", "https://issuer.example")
    assert (await command(bank, "release", made["id"])).exit_code == 0

    async def free() -> bool:
        return not await refused()

    await eventually(free)
    records = audited(bank)
    assert {record["event"] for record in records} == {"quarantine.started", "quarantine.released"}
    assert made["decision_id"] in {record.get("decision_id") for record in records}


@pytest.mark.parametrize(
    "words",
    [
        ("subject", "alice", "--for", "1m"),
        ("workload", "not-a-spiffe-id", "--for", "1m"),
        ("token", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln", "--for", "1m"),
        ("tenant", "acme", "--for", "8d"),
        ("tenant", "acme", "--for", "soon"),
        ("tenant", "acme", "--for", "1m", "--route", "nobody"),
        ("workload", GATEWAY, "--for", "1m", "--issuer", "main"),
    ],
)
async def test_what_is_refused_on_the_command_line(bank: Bank, words: tuple[str, ...]) -> None:
    result = await command(bank, "add", *words)
    assert result.exit_code == 2
    assert "eyJ" not in result.output
    assert json.loads((await command(bank, "list", "--json")).output) == []


async def test_without_a_record_nothing_begins_and_nothing_ends(bank: Bank) -> None:
    assert (await command(bank, "add", "tenant", "acme", "--for", "1h")).exit_code == 0
    (made,) = json.loads((await command(bank, "list", "--json")).output)
    key = bank.directory / "audit.key"
    key.rename(bank.directory / "moved.key")
    (bank.directory / "audit.key").mkdir()
    assert (await command(bank, "add", "tenant", "globex", "--for", "1h")).exit_code == 1
    assert (await command(bank, "release", made["id"])).exit_code == 1
    assert [found["value"] for found in json.loads((await command(bank, "list", "--json")).output)] == ["acme"]


def test_a_configuration_without_a_queue_is_refused(tmp_path: Path) -> None:
    (tmp_path / "extauthz.yaml").write_text("version: 1\n")
    result = CliRunner().invoke(app, ["quarantine", "list", "--config", str(tmp_path / "extauthz.yaml")])
    assert isinstance(result.exception, ConfigError)
    assert "judgement: names no queue" in str(result.exception)
