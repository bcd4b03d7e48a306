"""What the supervisor records: which configuration and which policy serve, and what was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jsonschema
import pytest

from extauthz.audit.fault import AuditError
from extauthz.audit.records import schema
from extauthz.clock import ManualClock
from extauthz.config import load
from extauthz.supervisor.changes import Changes
from tests.support.audit import events, records, verified

if TYPE_CHECKING:
    from pathlib import Path

WRITER = "supervisor-0"


def written(directory: Path, text: str = "") -> Path:
    file = directory / "extauthz.yaml"
    file.write_text(f"audit: {{directory: audit}}\n{text}")
    return file


async def test_changes_and_refusals(tmp_path: Path) -> None:
    file = written(tmp_path)
    changes = Changes(file, ManualClock())
    await changes.serves(load(file), "r1")
    await changes.serves(load(file), "r1")  # a reload that changes nothing
    await changes.serves(load(file), "r2")
    first = load(file).digest
    await changes.refused(["policy: role.rego:3: eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "more"])
    written(tmp_path, "environment: prod\n")
    await changes.refused(["routes: is wrong"] * 100)
    await changes.serves(load(file), "r2")
    file.unlink()
    await changes.refused(["extauthz.yaml cannot be read"])
    await changes.close()
    found = [each for each in records(tmp_path / "audit", WRITER) if not each["event"].startswith("chain.")]
    assert [each["event"] for each in found] == [
        *("config.changed", "policy.changed", "policy.changed", "policy.refused"),
        *("config.refused", "config.changed", "config.refused"),
    ]
    assert (found[0]["from"], found[0]["to"]) == ("", first)
    assert (found[2]["from"], found[2]["revision"]) == ("r1", "r2")
    assert found[3]["problems"] == ["policy: role.rego:3: [redacted jwt]", "more"]
    assert len(found[4]["problems"]) == 32
    assert (found[5]["from"], found[6]["offered"]) == (first, "")
    for each in found:
        jsonschema.validate(each, schema())
    assert verified(tmp_path / "audit").sound


async def test_without_a_directory_nothing_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "extauthz.yaml"
    file.write_text("version: 1\n")
    changes = Changes(file, ManualClock())
    await changes.serves(load(file), "r1")
    await changes.refused(["x"])
    await changes.serves(load(written(tmp_path)), "r1")  # from now on there is one
    await changes.close()
    assert events(tmp_path / "audit", WRITER) == ["chain.opened", "config.changed", "chain.closed"]


async def test_a_server_that_cannot_record_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file")
    changes = Changes(written(tmp_path), ManualClock())
    with pytest.raises(AuditError):
        await changes.serves(load(tmp_path / "extauthz.yaml"), "r1")
    await changes.close()
