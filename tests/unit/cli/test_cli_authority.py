"""`extauthz authority`: the operator's verbs against a real authority, and what is refused before any."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from extauthz.cli import app
from extauthz.errors import ConfigError
from tests.support.authority import RunningAuthority, audit_text, csr, new_key, running, write_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def authority(tmp_path: Path) -> AsyncIterator[RunningAuthority]:
    async with running(tmp_path) as found:
        yield found


async def command(authority: RunningAuthority, *words: str, stdin: str = "") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "extauthz", "authority", *words, "--config", str(authority.config)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def test_an_operators_day(authority: RunningAuthority) -> None:
    code, token, _ = await command(authority, "join-token", "gateway", "--ttl", "60")
    assert (code, token.count("\n")) == (0, 1)
    async with authority.client() as http:
        asked = {"attestor": "join_token", "evidence": token.strip(), "csr": csr(new_key())}
        assert (await http.post("/v1/attest", json=asked)).status_code == 200
    code, status, _ = await command(authority, "status")
    assert code == 0
    assert [slot["phase"] for slot in json.loads(status)["keys"]["signing"]] == ["active"]
    assert "kept" not in status
    code, entries, _ = await command(authority, "entries")
    assert [one["name"] for one in json.loads(entries)["entries"]][:2] == ["agent", "gateway"]
    code, rotated, _ = await command(authority, "rotate", "signing", "--compromised")
    assert len(json.loads(rotated)["revoked"]) == 1
    code, revoked, _ = await command(authority, "revoke", "token", "--reason", "lost", stdin="secret-token\n")
    (entry,) = json.loads(revoked)["revoked"]
    assert (entry["kind"], len(entry["value"]), entry["reason"]) == ("token", 64, "lost")
    assert "secret-token" not in audit_text(authority.directory) + revoked


async def test_refusals_are_told_in_a_line(authority: RunningAuthority) -> None:
    code, out, err = await command(authority, "join-token", "nobody")
    assert (code, out) == (1, "")
    assert "authority.unknown_entry" in err
    code, _, err = await command(authority, "revoke", "token", "eyJ-on-the-command-line")
    assert code == 2
    assert "use stdin" in err


async def test_nobody_there_is_told(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    nobody = RunningAuthority("", tmp_path, tmp_path, config)
    code, _, err = await command(nobody, "status")
    assert code == 1
    assert "no authority answers on unix:///" in err


@pytest.mark.parametrize("verb", [["serve"], ["status", "-c"]])
def test_a_file_without_an_authority_is_refused(tmp_path: Path, verb: list[str]) -> None:
    (tmp_path / "extauthz.yaml").write_text("version: 1\n")
    result = CliRunner().invoke(app, ["authority", *verb, str(tmp_path / "extauthz.yaml")])
    assert isinstance(result.exception, ConfigError)
    assert "authority: is missing" in str(result.exception)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"audit": {"directory": "/dev/null"}}, "the audit directory /dev/null cannot be used"),
        ({"admin": "unix:///nowhere/admin.sock"}, "the directory does not exist"),
        ({"listen": "203.0.113.1:8443"}, "cannot listen on 203.0.113.1:8443"),
        ({"policy": "package extauthz.other\n\ndecision := true\n"}, "no rule at extauthz/exchange/decision"),
        (
            {"keys": {"kind": "encrypted", "passphrase_file": "none"}, "store": {"kind": "sqlite", "path": "s.db"}},
            "passphrase file",
        ),
    ],
)
async def test_a_start_that_fails_says_why_and_leaves_nothing(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    config = write_config(tmp_path, **settings)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "extauthz", "authority", "serve", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode in {1, 4}, err
    assert words in err.decode()
    assert "Traceback" not in err.decode()
