"""The audit trail: its disk is full, whoever gets copies is slow, its writer is killed."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from tests.faults.engine import queue
from tests.faults.issuers import served
from tests.faults.lab import Plan, now
from tests.faults.rows import Family, Scenario, course
from tests.faults.web import Said, Service

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.faults.lab import Lab
    from tests.faults.oracle import Answer
    from tests.faults.rows import Course, Row

UNAVAILABLE: Final = "engine.audit_unavailable"
HEALTHY: Final = "extauthz_audit_healthy"
NOT_SENT: Final = "extauthz_audit_sink_dropped"
DROPPED: Final = "extauthz_audit_dropped_total"
JUDGED_WITHIN: Final = 60.0
"""Seconds in which everything that waited must have been judged after a restart."""


async def full(lab: Lab, row: Row) -> None:
    """No byte more fits into the files: `RLIMIT_FSIZE` of the worker, which every write meets in the middle of a line."""
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    async def fault() -> None:
        size = max(file.stat().st_size for file in trail(lab).glob("*.jsonl"))
        for pid in lab.server.workers():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + 700, resource.RLIM_INFINITY))

    async def repair() -> None:
        for pid in lab.server.workers():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, infinite)

    row.hold(await lab.server.metric(HEALTHY), f"{HEALTHY} is not 1 before the fault")

    async def sign() -> str:
        return "" if await lab.server.metric(HEALTHY) else f"{HEALTHY} 0"

    seen = await course(lab, row, fault=fault, repair=repair, sign=sign, during=6.0)
    found = {code for code in seen.codes("pay") if not code.startswith("200")}
    row.hold(found == {UNAVAILABLE}, f"pay was refused with {', '.join(sorted(found)) or 'nothing'}")
    served(row, seen, "read")
    row.hold(await lab.server.metric(DROPPED), "what did not fit into the buffer was not counted")
    row.facts["dropped_and_counted"] = f"{await lab.server.metric(DROPPED):.0f}"
    await settled(lab, row, seen)


async def slow(lab: Lab, row: Row) -> None:
    """The receiver of copies answers nothing at all: nobody notices, and nothing is missing in the files."""

    async def fault() -> None:
        RECEIVER.delay = 60.0

    async def repair() -> None:
        RECEIVER.delay = 0.0
        RECEIVER.down()
        await RECEIVER.up()

    counted = await lab.server.metric(DROPPED)

    async def sign() -> str:
        return NOT_SENT if await lab.server.metric(NOT_SENT, sink="http") else ""

    seen = await course(lab, row, fault=fault, repair=repair, sign=sign, during=4.0)
    row.facts["copies_dropped_and_counted"] = round(await lab.server.metric(NOT_SENT, sink="http"))
    served(row, seen, "pay", "read")
    row.hold(await lab.server.metric(DROPPED) == counted, "records were lost, not only copies")
    await settled(lab, row, seen)


async def killed(lab: Lab, row: Row) -> None:
    """SIGKILL to all processes of the server in the middle of the load, twice."""

    async def fault() -> None:
        await asyncio.to_thread(lab.server.part.kill)
        await lab.server.start()
        await asyncio.sleep(1.5)
        await asyncio.to_thread(lab.server.part.kill)

    async def sign() -> str:
        return "/healthz of the server" if await lab.server.get("/healthz") is None else ""

    seen = await course(lab, row, fault=fault, repair=lab.server.start, sign=sign, during=0.2)
    await settled(lab, row, seen)
    await judged(lab, row, [*seen.before, *seen.during, *seen.after])


async def settled(lab: Lab, row: Row, seen: Course) -> None:
    """`audit verify` finds nothing, and every payment that was allowed is in the trail."""
    await asyncio.sleep(1.5)
    public = await _run("audit", "key", str(trail(lab) / "audit.key"))
    (lab.folder / "audit.jwk").write_text(public[1])
    code, told = await _run("audit", "verify", str(trail(lab)), "--key", str(lab.folder / "audit.jwk"))
    row.hold(code == 0, f"audit verify: exit {code}: {told.strip()[-300:]}")
    recorded = {one.get("decision_id") for one in records(trail(lab)) if one["event"] == "decision.allowed"}
    paid = allowed([*seen.before, *seen.during, *seen.after], "pay")
    row.facts["verify"] = "intact" if code == 0 else f"exit {code}"
    row.facts["allowed_payments_recorded"] = f"{len(paid & recorded)} of {len(paid)}"
    row.hold(paid <= recorded, f"{len(paid - recorded)} allowed payments are not in the trail")


async def judged(lab: Lab, row: Row, answers: Iterable[Answer]) -> None:
    """Everything that was let through to be judged later was judged, once."""
    accepted = allowed(answers, "hint")
    end = now() + JUDGED_WITHIN
    while True:
        times: dict[str, int] = defaultdict(int)
        for one in records(trail(lab)):
            if one["event"] == "decision.judged":
                times[one["decision_id"]] += 1
        if accepted <= times.keys() or now() > end:
            break
        await asyncio.sleep(0.5)
    row.facts["async_judged"] = f"{len(accepted & times.keys())} of {len(accepted)}"
    row.hold(accepted <= times.keys(), f"{len(accepted - times.keys())} accepted requests were never judged")
    twice = [name for name in accepted if times[name] > 1]
    row.facts["judged_twice"] = len(twice)


def allowed(answers: Iterable[Answer], route: str) -> set[str]:
    return {one.decision_id for one in answers if one.kind.route == route and one.of == "allowed"}


def records(directory: Path) -> Iterable[dict[str, Any]]:
    for file in sorted(directory.glob("*.jsonl*")):
        content = file.read_bytes()
        for line in (gzip.decompress(content) if file.suffix == ".gz" else content).splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)


def recorded(lab: Lab, event: str) -> int:
    """How many records of this event the trail has."""
    return sum(1 for one in records(trail(lab)) if one["event"] == event)


async def _run(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "extauthz", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def trail(lab: Lab) -> Path:
    return lab.server.place / "audit"


def with_trail(lab: Lab, tree: dict[str, Any]) -> None:
    tree["audit"] = {"directory": str(lab.folder / f"s{len(lab.servers)}" / "audit"), "buffer": 64}


def _trail(lab: Lab, tree: dict[str, Any]) -> None:
    queue(lab, tree)
    with_trail(lab, tree)
    tree["telemetry"]["records"]["output"] = "/dev/null"
    for route in tree["routes"]:
        if route["name"] == "pay":
            route["audit"] = "written"


RECEIVER: Final = Service(lambda _: Said(204, b""))
"""Takes copies in OPA's decision-log format."""


def _copied(lab: Lab, tree: dict[str, Any]) -> None:
    _trail(lab, tree)
    tree["server"]["transport"] = "grpcio"  # a plain Python process, which the limit does not end
    tree["audit"]["sinks"] = [{"kind": "http", "url": RECEIVER.url, "buffer": 64, "timeout": "1s"}]


FAMILIES: Final = (
    Family(
        "audit trail",
        Plan(("pay", "read"), adjust=_copied, services=(RECEIVER,)),
        (
            Scenario(
                "audit-slow",
                "the receiver of audit copies never answers",
                "no route notices; the files are complete; copies are dropped and counted",
                slow,
            ),
            Scenario(
                "audit-full",
                "the audit trail's disk is full",
                "critical → 503 engine.audit_unavailable; others buffer, then drop and count; verify holds",
                full,
                core=True,
            ),
        ),
    ),
    Family(
        "audit trail, killed",
        Plan(("pay", "hint"), adjust=_trail),
        (
            Scenario(
                "sigkill-audit",
                "SIGKILL under load, with an audit trail and asynchronous routes",
                "the chain verifies after restart; allowed payments are recorded; accepted = judged",
                killed,
                core=True,
            ),
        ),
    ),
)
