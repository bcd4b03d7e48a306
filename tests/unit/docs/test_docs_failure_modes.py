"""docs/failure-modes.md: the table is whole, the Envoy snippets are what `make faults` runs, every command works.

The commands are run on a small platform that has just had a fault: OPA stood still for a moment, under load.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import yaml

from tests.faults import catalogue, front, page
from tests.faults.engine import queue
from tests.faults.lab import Lab, Plan, send
from tests.support import pages, parts
from tests.support.authority import process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[3]
BLOCKS = pages.blocks(ROOT / "docs" / "failure-modes.md")
TEXT = (ROOT / "docs" / "failure-modes.md").read_text()
ALERTS = sorted(set(re.findall(r"alert: Extauthz(\w+)", (ROOT / "deploy" / "prometheus" / "rules.yml").read_text())))
PLACE = "/run/extauthz"
RUNS = [
    (block.text, following.text if following.kind == "says" else "")
    for block, following in zip(BLOCKS, [*BLOCKS[1:], BLOCKS[0]], strict=True)
    if block.kind == "run"
]


def block(kind: str, what: str = "") -> str:
    (found,) = [one.text for one in BLOCKS if (one.kind, one.what) == (kind, what)]
    return found


def test_the_table_has_every_row_once_and_nothing_was_lost_or_wrongly_allowed() -> None:
    table = TEXT.partition(page.BEGIN)[2].partition(page.END)[0]
    scenarios = [one for family in catalogue.FAMILIES for one in family.scenarios]
    shown = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")][2:]
    assert shown == [one.fault for one in scenarios]
    assert re.search(rf"^{len(scenarios)} rows, [\d,]+ requests: 0 lost, 0 wrongly allowed\.$", table, re.MULTILINE)


def test_the_page_shows_what_the_front_envoy_has(tmp_path: Path) -> None:
    made = front.bootstrap(tmp_path, ["pay"], [tmp_path / "a", tmp_path / "b"], 1)["static_resources"]
    manager = made["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    ext_authz = manager["http_filters"][0]["typed_config"]
    assert ext_authz["grpc_service"] == yaml.safe_load(block("yaml", "retry"))["grpc_service"]
    cluster: dict[str, Any] = made["clusters"][0]
    assert yaml.safe_load(block("yaml", "cluster")).items() <= cluster.items()


def test_every_alert_has_a_section_with_a_command() -> None:
    sections = TEXT.partition("## At night")[2].split("\n### ")[1:]
    words = {one.partition("\n")[0].removeprefix("Extauthz ").lower().replace(" ", "") for one in sections}
    assert words == {alert.lower() for alert in ALERTS}
    for one in sections:
        assert "<!-- test: run -->" in one, one.partition("\n")[0]
        assert all(word in one.lower() for word in ("**symptom**", "**meaning**", "**action**")), one
    for target in re.findall(r"\]\(([a-z0-9-]+\.md)\)", TEXT):
        assert (ROOT / "docs" / target).is_file(), target
    for anchor in re.findall(r"\]\(#([a-z-]+)\)", TEXT):
        assert f"\n### {anchor}\n" in TEXT.lower().replace(" ", "-").replace("###-", "### "), anchor


@dataclass(frozen=True)
class Night:
    """The place that the page calls /run/extauthz, and how a shell finds its way there."""

    folder: Path
    environment: dict[str, str]

    async def run(self, script: str) -> tuple[int, str]:
        text = f"{block('shell')}\n{script}".replace(PLACE, str(self.folder))
        ran = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", text),
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await ran.communicate()
        return ran.returncode or 0, out.decode()


def _settings(lab: Lab, tree: dict[str, Any]) -> None:
    queue(lab, tree)
    place = lab.folder / f"s{len(lab.servers)}"
    tree["revocation"] = {"redis": {"url": f"unix://{lab.proxies['redis'].listen}"}}
    tree["audit"] = {"directory": str(place / "audit")}
    tree["api"] = {"rollout": {"local": True}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def night() -> AsyncIterator[Night]:
    for require in (parts.require_envoy, parts.require_opa, parts.require_embedded, parts.require_redis):
        require()
    parts.require_curl()
    async with Lab(Plan(("pay", "report", "ping", "hint"), redis=True, adjust=_settings)) as lab:
        folder = lab.server.place
        (folder / "authority").mkdir()
        (folder / "envoy.sock").symlink_to(lab.folder / "admin.sock")
        tools = folder / "bin"
        tools.mkdir()
        (tools / "extauthz").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m extauthz "$@"\n')
        (tools / "extauthz").chmod(0o755)
        async with process(folder / "authority"), lab.load() as load:
            assert await load.good()
            pids = lab.server.opa()
            send(pids, signal.SIGSTOP)
            await asyncio.sleep(2)
            send(pids, signal.SIGCONT)
            assert await load.good()
            path = f"{tools}{os.pathsep}{os.environ['PATH']}"
            yield Night(folder, {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)})


@pytest.mark.envoy
@pytest.mark.opa
@pytest.mark.fault
@pytest.mark.timeout(240)
@pytest.mark.asyncio(loop_scope="module")
async def test_every_command_works(night: Night) -> None:
    places = asyncio.Semaphore(3)

    async def works(script: str, said: str) -> None:
        async with places:
            code, output = await night.run(script)
        assert code == 0, f"{script}\n{output}"
        flat = re.sub(r" +", " ", output)
        for line in said.splitlines():
            pattern = ".*".join(re.escape(part) for part in re.sub(r" +", " ", line).split("…"))
            assert re.search(pattern, flat), f"{script}\n{line}\nis not in\n{output}"

    async with asyncio.TaskGroup() as group:
        for script, said in RUNS:
            group.create_task(works(script, said))
