"""A configuration or policy file that is broken when it is read again: the old one serves, the error says where."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from tests.faults.issuers import served
from tests.faults.lab import Plan, now
from tests.faults.rows import Family, Scenario, course
from tests.faults.setup import POLICY
from tests.faults.trails import recorded, with_trail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.lab import Lab
    from tests.faults.rows import Row

REFUSED: Final = re.compile(r"reload refused: (?P<where>\S+?:\d+): (?P<what>[^\"]*?)\"")
METRIC: Final = "extauthz_reloads_total"

CONFIGS: Final[dict[str, Callable[[str], str]]] = {
    "not YAML": lambda text: text.replace("server:", "server: ]", 1),
    "a key that does not exist": lambda text: text.replace("public: true", "publik: true", 1),
    "a value of another type": lambda text: text.replace("max_deadline: 700ms", "max_deadline: soon", 1),
    "an issuer that does not exist": lambda text: text.replace("    - main\n", "    - nobody\n", 1),
    "cut in the middle of a line": lambda text: text[: text.rindex("policy:") + 4],
    "empty": lambda _: "\x00",
}
POLICIES: Final[dict[str, Callable[[str], str]]] = {
    "not Rego": lambda text: text + "\nallow if {\n",
    "a rule that needs itself": lambda text: text + "\nteller if decision.allow\n",
    "a variable that nobody binds": lambda text: text + "\nteller if unheard.of\n",
    "a function that does not exist": lambda text: text + '\nx := no.such("a")\n',
    "another package": lambda text: text.replace("package faults", "package other", 1),
}


async def broken(lab: Lab, row: Row, file: Path, ways: dict[str, Callable[[str], str]], event: str) -> None:
    right, noted = file.read_text(), recorded(lab, event)
    told: list[str] = []
    counted = await lab.server.metric(METRIC, outcome="refused")

    async def fault() -> None:
        for name, spoil in ways.items():
            before = len(lab.server.log())
            file.write_text(spoil(right))
            line = await _refusal(lab, before)
            row.hold(line, f"nothing tells that the file is broken: {name}")
            row.hold(not line or "fix:" in line, f"the error names no fix: {line}")
            if line:
                told.append(line)

    async def repair() -> None:
        file.write_text(right)

    async def sign() -> str:
        return f"log: reload refused: {told[0]}" if told else ""

    seen = await course(lab, row, fault=fault, repair=repair, sign=sign, during=0.2)
    served(row, seen, "pay", "read")
    row.hold(recorded(lab, event) >= noted + len(told), f"the audit trail lacks {event}")
    row.facts["refused"] = f"{len(told)} of {len(ways)}, each with file, line and fix"
    row.hold(await lab.server.metric(METRIC, outcome="refused") > counted, f"{METRIC}{{outcome=refused}} did not grow")


async def _refusal(lab: Lab, before: int) -> str:
    """The first refusal in the log behind `before`, if it names a place: file name, line, what, fix; no path of this machine."""
    end = now() + 15
    while now() < end:
        if found := REFUSED.search(lab.server.log(), before):
            return f"{found['where'].rpartition('/')[2]}: {found['what'].replace(str(lab.folder), '…')}"
        await asyncio.sleep(0.1)
    return ""


async def config(lab: Lab, row: Row) -> None:
    await broken(lab, row, lab.server.file, CONFIGS, "config.refused")


async def policy(lab: Lab, row: Row) -> None:
    await broken(lab, row, lab.folder / "policy" / "faults.rego", POLICIES, "policy.refused")
    row.hold((lab.folder / "policy" / "faults.rego").read_text() == POLICY, "the policy was not put back")


PROMISE: Final = "the old one serves on; the error names file, line and fix"
FAMILIES: Final = (
    Family(
        "reload",
        Plan(("pay", "read"), adjust=with_trail),
        (
            Scenario("config-broken", "configuration file broken at reload", PROMISE, config),
            Scenario("policy-broken", "policy file broken at reload", PROMISE, policy),
        ),
    ),
)
