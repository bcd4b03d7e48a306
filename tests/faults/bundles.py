"""A policy bundle that must not be taken: the one before serves on, and the next good one is taken."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final

from tests.faults.issuers import served
from tests.faults.lab import Plan, now
from tests.faults.rows import Family, Scenario, course
from tests.faults.setup import POLICY, TENANT
from tests.faults.trails import recorded, with_trail
from tests.faults.web import Asked, Said, Service
from tests.support.bundles import Signer, packed

if TYPE_CHECKING:
    from tests.faults.lab import Lab
    from tests.faults.rows import Row

CASES: Final = f"""version: 1
entrypoint: faults/decision
cases:
  a_teller_may:
    input:
      subject: {{properties: {{roles: [teller], tenant: {TENANT}}}}}
      resource: {{properties: {{tenant: {TENANT}}}}}
    expect: allow
  nobody_else_may:
    input: {{subject: {{properties: {{roles: []}}}}}}
    expect: role.denied
"""
OPEN: Final = 'package faults\n\n# METADATA\n# entrypoint: true\ndecision := {"allow": true}\n'
"""A policy that allows everything: whoever takes it is found out by the load."""
REFUSED: Final = "extauthz_policy_bundles_refused_total"


class Source:
    """A bundle server that offers whatever it is given."""

    def __init__(self) -> None:
        self.signer = Signer()
        self.service = Service(self._answer)
        self.sequence = 10
        self.offered = self.good()

    def good(self) -> bytes:
        self.sequence += 1
        return self.pack(self.signer, revision=f"good-{self.sequence}", sequence=self.sequence)

    def pack(self, signer: Signer | None, **changes: Any) -> bytes:
        extra = {"demo/policy.rego": None, "demo/data.json": None, "demo/cases.yaml": None}
        extra |= {"faults/faults.rego": changes.pop("policy", POLICY).encode(), "faults/cases.yaml": CASES.encode()}
        return packed(signer, roots=("faults",), extra=extra, **changes)

    def bad(self) -> dict[str, bytes]:
        """By name; each would allow everything."""
        coming = {"revision": "bad", "sequence": self.sequence + 1, "policy": OPEN}
        signed = self.pack(self.signer, **coming)
        return {
            "corrupt": signed[:40] + bytes(255 - byte for byte in signed[40:80]) + signed[80:],
            "half-written": signed[: len(signed) // 2],
            "empty": b"",
            "unsigned": self.pack(None, **coming),
            "signed by a stranger": self.pack(Signer(), **coming),
            "rolled back": self.pack(self.signer, **{**coming, "sequence": 3}),
            "fails its own cases": signed,
            "no policy at all": self.pack(self.signer, **{**coming, "policy": "package faults\n\ndecision :="}),
        }

    def _answer(self, asked: Asked) -> Said:
        etag = f'"{hashlib.sha256(self.offered).hexdigest()[:16]}"'
        if asked.headers.get("if-none-match") == etag:
            return Said(304, b"")
        return Said(body=self.offered, headers={"etag": etag, "content-type": "application/gzip"})


SOURCE: Final = Source()


async def refused(lab: Lab, row: Row) -> None:
    told: dict[str, float] = {}

    async def fault() -> None:
        for name, content in SOURCE.bad().items():
            before, begun = await lab.server.metric(REFUSED), now()
            SOURCE.offered = content
            for _ in range(100):
                await asyncio.sleep(0.1)
                if await lab.server.metric(REFUSED) > before:
                    told[name] = now() - begun
                    break
            row.hold(name in told, f"nothing tells that a bundle was refused: {name}")
        SOURCE.service.down()
        await asyncio.sleep(1)

    async def repair() -> None:
        await SOURCE.service.up()
        SOURCE.offered = SOURCE.good()

    async def sign() -> str:
        return f"{REFUSED}, and /readyz?verbose policy_bundle.refused" if told else ""

    seen = await course(lab, row, fault=fault, repair=repair, sign=sign, during=0.2)
    served(row, seen, "pay", "read")
    row.facts["refused"] = ", ".join(told)
    noted = recorded(lab, "policy.refused")
    row.facts["audit_records_of_it"] = noted
    row.hold(noted >= len(told), f"the audit trail has {noted} records of {len(told)} refused bundles")
    row.facts["new_bundle_taken_s"] = round(await _taken(lab, row), 1)


async def _taken(lab: Lab, row: Row) -> float:
    begun, wanted = now(), f"good-{SOURCE.sequence}"
    while now() < begun + 20:
        if await lab.server.metric("extauthz_policy_info", revision=wanted):
            return now() - begun
        await asyncio.sleep(0.1)
    row.hold(False, "the next good bundle was not taken")
    return 0.0


def _bundle(lab: Lab, tree: dict[str, Any]) -> None:
    with_trail(lab, tree)
    (lab.folder / "bundle-key.pem").write_bytes(SOURCE.signer.public_pem)
    tree["policy"] = {
        "bundle": {
            "url": f"{SOURCE.service.url}/policy.tar.gz",
            "keys": [{"file": str(lab.folder / "bundle-key.pem")}],
            "keep": str(lab.folder / "kept"),
            "poll": "200ms",
            "wait": "0s",
            "timeout": "2s",
        }
    }


FAMILIES: Final = (
    Family(
        "policy bundle",
        Plan(("pay", "read"), adjust=_bundle, services=(SOURCE.service,)),
        (
            Scenario(
                "bundle-refused",
                "policy bundle corrupt, half, unsigned, rolled back, failing, its server down",
                "refused, the one before serves on; a metric, the log and the audit trail say so; the next good one is taken",
                refused,
                core=True,
            ),
        ),
    ),
)
