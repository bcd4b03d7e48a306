"""Audit records: written before they are answered for, and never a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.audit.fault import AuditError
from extauthz.audit.settings import AuditSettings
from extauthz.audit.trail import AuditTrail
from extauthz.authority.audit import ChainedAudit
from extauthz.authority.metrics import MAX_CODES, AuthorityMetrics, CountedAudit
from extauthz.authority.trail import RotationTrail
from extauthz.ca.rotation import Change
from extauthz.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Mapping


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines() if line]


async def test_a_record_is_in_the_chain_when_write_returns(tmp_path: Path) -> None:
    audit = ChainedAudit(await AuditTrail.open(AuditSettings(directory=tmp_path), "authority", ManualClock()))
    await audit.write("identity.issued", {"spiffe_id": "spiffe://bank.example/a", "n": 1})
    record = lines(tmp_path / "authority-0-000001.jsonl")[-1]
    assert record["timestamp"] == "2027-01-15T08:00:00.000+00:00"
    assert (record["event"], record["n"]) == ("identity.issued", 1)
    assert record["workload"] == record["spiffe_id"] == "spiffe://bank.example/a"
    await audit.close()
    with pytest.raises(AuditError):
        await audit.write("identity.renewed", {})


@pytest.mark.parametrize("directory", ["/dev/null", "/proc/nowhere"])
@pytest.mark.fault
async def test_an_authority_without_a_place_for_records_does_not_start(directory: str) -> None:
    with pytest.raises(AuditError):
        await AuditTrail.open(AuditSettings(directory=Path(directory)), "authority", ManualClock())


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
    await audit.write("identity.issued", {"spiffe_id": "x"})
    for number in range(MAX_CODES + 10):
        await audit.write("identity.refused", {"code": f"role.n{number}"})
    page = metrics.render().decode()
    assert 'extauthz_authority_events_total{event="identity.issued"} 1.0' in page
    assert page.count("extauthz_authority_refusals_total{") <= MAX_CODES + 1
    assert 'code="other"} 10.0' in page
    with pytest.raises(AuditError):
        await CountedAudit(Broken(1), metrics).write("identity.issued", {})
    assert 'event="identity.issued"} 1.0' in metrics.render().decode()
