"""`extauthz audit reconstruct` over trails that the real writer has written, and that verify."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from extauthz.audit.settings import AuditSettings
from extauthz.audit.trail import AuditTrail
from extauthz.authority.audit import ChainedAudit
from extauthz.cli import app
from extauthz.clock import ManualClock
from extauthz.demo.zones import EDGE, ORCHESTRATION
from extauthz.telemetry.trail import ExchangeFacts
from tests.support.audit_hops import NOW, STEP, alice, digest, exchanged, trail

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def reconstruct(*words: object) -> Result:
    return CliRunner().invoke(app, ["audit", "reconstruct", *map(str, words)])


@pytest.fixture
async def platform(tmp_path: Path) -> list[Path]:
    """Edge, orchestration and authority, each with a trail of its own; and public keys of all three."""
    clock = ManualClock(NOW + 2 * STEP)
    trails = {
        name: await AuditTrail.open(AuditSettings(directory=tmp_path / name), role, clock)
        for name, role in (("edge", "serve"), ("orchestration", "serve"), ("authority", "authority"))
    }
    going = trail(0.0, EDGE, "edge-out", alice("T0"))
    going.exchange = ExchangeFacts(ORCHESTRATION.audience, EDGE.id, "payment", digest("T1"), "jti-T1")
    going.exchange_cached = False
    told = exchanged("T0", "T1", ORCHESTRATION, (EDGE.id,), ("jti-T0",), 2 * STEP)
    del told["workload"]
    await ChainedAudit(trails["authority"]).write("token.exchanged", told)
    came = trail(3 * STEP, ORCHESTRATION, "orchestration-in", alice("T1", EDGE.id), EDGE.id)
    for name, check in (("edge", going), ("orchestration", came)):
        check.trace()
        trails[name].add(check)
    for opened in trails.values():
        await opened.close()
    (tmp_path / "decision").write_text(came.decision_id)
    keys = {"keys": []}
    for name in trails:
        done = CliRunner().invoke(app, ["audit", "key", str(tmp_path / name / "audit.key")])
        keys["keys"].append(json.loads(done.stdout))
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    return [tmp_path / name for name in trails]


def words(platform: list[Path]) -> list[object]:
    return [word for directory in platform for word in ("-d", directory)]


def test_a_chain_over_three_directories_is_told_and_verified(platform: list[Path]) -> None:
    root = platform[0].parent
    decision = (root / "decision").read_text()
    done = reconstruct(decision, *words(platform), "--verify", "--key", root / "keys.json")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    events = [line for line in lines if "decision.allowed" in line or "token.exchanged" in line]
    assert len(events) == 3
    assert "(+250 ms)" in events[1]
    assert "(+125 ms)" in events[2]
    assert "◀ asked for" in events[2]
    assert sum(line.startswith("verified: ") for line in lines) == 3


def test_the_same_for_machines(platform: list[Path]) -> None:
    root = platform[0].parent
    done = reconstruct(
        (root / "decision").read_text(), *words(platform), "--json", "--verify", "--key", root / "keys.json"
    )
    found = json.loads(done.stdout)
    assert found["whole"] is True
    assert [step["event"] for step in found["steps"]] == ["decision.allowed", "token.exchanged", "decision.allowed"]
    assert [one["sound"] for one in found["verified"]] == [True] * 3


def test_files_that_were_touched_are_exit_code_4(platform: list[Path]) -> None:
    root = platform[0].parent
    [file] = platform[0].glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"alice"', b'"alibi"', 1))
    done = reconstruct((root / "decision").read_text(), *words(platform), "--verify", "--key", root / "keys.json")
    assert done.exit_code == 4
    assert "NOT SOUND" in done.stdout
    assert "it was changed" in done.stdout


def test_a_chain_with_holes_is_exit_code_3(platform: list[Path]) -> None:
    root = platform[0].parent
    done = reconstruct((root / "decision").read_text(), *words(platform[1:]))
    assert done.exit_code == 3
    assert "Missing:" in done.stdout


def test_no_such_decision_is_exit_code_2_and_verify_needs_keys(platform: list[Path]) -> None:
    assert reconstruct("00000000-0000-4000-8000-000000000000", *words(platform)).exit_code == 2
    assert "--key" in reconstruct("x", *words(platform), "--verify").stderr
