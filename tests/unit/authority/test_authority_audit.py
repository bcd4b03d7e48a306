"""Audit records: written before they are answered for, and never a secret."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.authority import audit as module
from extauthz.authority.audit import AuditError, LineAudit
from extauthz.authority.metrics import MAX_CODES, AuthorityMetrics, CountedAudit
from extauthz.authority.trail import RotationTrail
from extauthz.ca.rotation import Change
from extauthz.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines() if line]


async def test_a_record_is_a_line_that_is_there_when_write_returns(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    audit = LineAudit(str(file), ManualClock())
    await audit.write("svid.attested", {"spiffe_id": "spiffe://bank.example/a", "n": 1})
    assert lines(file) == [
        {
            "time": "2027-01-15T08:00:00.000+00:00",
            "event": "svid.attested",
            "spiffe_id": "spiffe://bank.example/a",
            "n": 1,
        }
    ]
    assert file.stat().st_mode & 0o777 == 0o640
    file.rename(tmp_path / "old.jsonl")  # log rotation
    await audit.write("svid.renewed", {})
    assert [line["event"] for line in lines(file)] == ["svid.renewed"]
    await audit.close()
    with pytest.raises(AuditError):
        await audit.write("svid.renewed", {})


async def test_a_token_that_slips_in_is_taken_out(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    audit = LineAudit(str(file), ManualClock())
    await audit.write("x.y", {"detail": "got eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"})
    assert lines(file)[0]["detail"] == "got [redacted jwt]"
    await audit.close()


@pytest.mark.parametrize("fields", [{"x": object()}, {"x": "a" * module.LINE_MAX}, {"x": "\ud800"}, {1: 2}])
async def test_what_is_no_record_is_refused(tmp_path: Path, fields: Mapping[str, Any]) -> None:
    audit = LineAudit(str(tmp_path / "audit.jsonl"), ManualClock())
    with pytest.raises(AuditError):
        await audit.write("x.y", fields)
    await audit.close()


@pytest.mark.parametrize("target", ["/dev/full", "/nowhere/audit.jsonl", "/"])
@pytest.mark.fault
async def test_a_record_that_cannot_be_written_is_an_error(target: str) -> None:
    audit = LineAudit(target, ManualClock())
    with pytest.raises(AuditError):
        await audit.write("x.y", {})
    await audit.close()


@pytest.mark.fault
async def test_a_pipe_that_nobody_reads_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    unread = LineAudit(str(pipe), ManualClock())
    with pytest.raises(AuditError):
        await unread.write("x.y", {})
    await unread.close()
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    audit = LineAudit(str(pipe), ManualClock())

    async def fill() -> None:
        for _ in range(100):
            await audit.write("x.y", {"text": "a" * 8000})

    with pytest.raises(AuditError):
        await fill()
    while True:  # the reader is back
        try:
            os.read(reader, 1 << 20)
        except BlockingIOError:
            break
    await asyncio.sleep(0.2)
    await audit.write("after.all", {})
    content = os.read(reader, 1 << 20).decode()
    assert json.loads(content.splitlines()[-1])["event"] == "after.all"  # on a line of its own
    await audit.close()
    os.close(reader)


@pytest.mark.fault
async def test_lines_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 3)
    audit = LineAudit(str(tmp_path / "audit.jsonl"), ManualClock())
    answers = await asyncio.gather(*(audit.write("x.y", {"n": n}) for n in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None)] * 3 + [AuditError] * 2
    await audit.close()


class Broken:
    """Fails as often as it is told to."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.written: list[tuple[str, dict[str, Any]]] = []

    async def write(self, event: str, fields: Mapping[str, Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise AuditError("no")
        self.written.append((event, dict(fields)))

    async def close(self) -> None:
        """Nothing is held."""


async def test_changes_of_keys_are_recorded_in_order_as_soon_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Broken(1)
    trail = RotationTrail(broken)
    for phase in ("prepared", "published", "active"):
        trail.report(Change("x509", "kid", phase, 1.0, 2))
    await trail.write()
    assert broken.written == []
    await trail.write()
    assert [fields["phase"] for _, fields in broken.written] == ["prepared", "published", "active"]
    assert {event for event, _ in broken.written} == {"rotation.changed"}


async def test_what_is_recorded_is_counted_and_codes_are_bounded() -> None:
    metrics = AuthorityMetrics()
    audit = CountedAudit(Broken(0), metrics)
    await audit.write("svid.attested", {"spiffe_id": "x"})
    for number in range(MAX_CODES + 10):
        await audit.write("svid.refused", {"code": f"role.n{number}"})
    page = metrics.render().decode()
    assert 'extauthz_authority_events_total{event="svid.attested"} 1.0' in page
    assert page.count("extauthz_authority_refusals_total{") <= MAX_CODES + 1
    assert 'code="other"} 10.0' in page
    with pytest.raises(AuditError):
        await CountedAudit(Broken(1), metrics).write("svid.attested", {})
    assert 'event="svid.attested"} 1.0' in metrics.render().decode()
