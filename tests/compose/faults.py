"""Parts that die or stop answering while requests flow: what is answered meanwhile, and that it goes on afterwards."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from extauthz.demo.load import Load
from extauthz.demo.zones import EDGE, STORAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from extauthz.demo.lab import Lab
    from tests.compose.platform import ComposePlatform
    from tests.compose.table import Table

BEFORE, DURING = 1.0, 2.5
"""Seconds of load for one look before the fault, and while it lasts."""
_PATIENCE: Final = 45.0
"""Seconds in which honest requests must go through again."""
_ENOUGH: Final = 5
_QUIET: Final = 2
UNNOTICED: Final = "no request was refused"
"""Promised where what was issued serves on."""
SILENT: Final = "a server that does not answer"
_CRASH: Final = "import os, signal, sys; os.kill(int(sys.argv[1]), signal.SIGKILL)"
_CHANGE: Final = """
from pathlib import Path
from extauthz.demo.files import shared, write_private
from extauthz.policy.loader import PolicyFiles, load, revision_of
files = {**load(shared("policies")).files, "extauthz/another.rego": b"package extauthz.another\\n\\nset := true\\n"}
bundle = PolicyFiles(Path("."), files, revision_of(files)).bundle()
write_private(Path("/platform/policy/policy.tar.gz"), bundle)
"""
_REVISION: Final = """
import json, urllib.request
with urllib.request.urlopen("http://127.0.0.1:9190/readyz?verbose", timeout=5) as answer:
    print(json.load(answer)["workers"][0]["engine"]["revision"])
"""


async def run(platform: ComposePlatform, lab: Lab, table: Table) -> None:
    async def nothing() -> None:
        """Nobody does anything: it comes back by itself."""

    def paused(*services: str) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
        return (lambda: platform.pause(*services)), (lambda: platform.docker("unpause", *services))

    def killed(*services: str) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
        return (lambda: platform.docker("kill", *services)), (lambda: platform.docker("start", *services))

    edge, storage = EDGE.name, STORAGE.name
    denied = "engine.unavailable"
    cases = {
        "opa-crashes": (f"{edge}-opa", (lambda: crash(platform, f"{edge}-opa"), nothing), ""),
        "opa-stops-answering": (f"{storage}-opa", paused(f"{storage}-opa"), "engine."),
        "check-server-crashes": (
            f"{storage}-extauthz",
            (lambda: crash(platform, f"{storage}-extauthz"), nothing),
            denied,
        ),
        "check-server-stops-answering": (f"{edge}-extauthz", paused(f"{edge}-extauthz"), denied),
        "authority-killed": ("authority", killed("authority"), UNNOTICED),
        "authority-stops-answering": ("authority", paused("authority"), UNNOTICED),
        "authority-opa-killed": ("authority-opa", killed("authority-opa"), UNNOTICED),
        "agent-crashes": (f"{storage}-agent", (lambda: crash(platform, f"{storage}-agent"), nothing), UNNOTICED),
        "agent-stops-answering": (f"{edge}-agent", paused(f"{edge}-agent"), UNNOTICED),
        "catalogue-killed": ("catalogue", killed("catalogue"), "engine.attributes_unavailable"),
        "catalogue-stops-answering": ("catalogue", paused("catalogue"), "engine.attributes_unavailable"),
        "envoy-killed": ("model-envoy", killed("model-envoy"), "50"),
        "service-killed": ("fraud-scorer", killed("fraud-scorer"), "50"),
    }
    for name, (service, (fault, repair), promised) in cases.items():
        await _case(platform, lab, table, name, service, fault, repair, promised)
    await policy_change(platform, table)


async def crash(platform: ComposePlatform, service: str) -> None:
    """Ends process 1's child as the kernel would (SIGKILL): the engine's own restart policy has to bring it back.

    `docker kill` would not do: the engine takes it for an operator's wish. So a container in the host's process
    namespace, ours alone, sends the signal.
    """
    said = await platform.engine.must("inspect", "--format", "{{.State.Pid}}", await platform.id_of(service))
    image = "extauthz-development:0.1.0"
    options = ("--rm", "--pid", "host", "--network", "none", "--user", "0:0", "--entrypoint", "python")
    await platform.engine.must("run", *options, image, "-IS", "-c", _CRASH, said.strip())


async def _case(
    platform: ComposePlatform,
    lab: Lab,
    table: Table,
    name: str,
    service: str,
    fault: Callable[[], Awaitable[object]],
    repair: Callable[[], Awaitable[object]],
    promised: str,
) -> None:
    load = Load(lab)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        await _settled(load)
        before = _refused(load)
        await fault()
        await asyncio.sleep(DURING)
        await repair()
        seconds = await _recovered(load)
        load.stop.set()
    await platform.healthy(services=[service])
    answers = _refused(load) - before
    unknown = [code for code in answers if not code.startswith(("engine.", "50"))]
    sound = load.sound and not unknown and _kept(promised, answers) and seconds < _PATIENCE
    seen = ", ".join(f"{code} x{count}" for code, count in sorted(answers.items())) or UNNOTICED
    wrong = f"; wrongly allowed {len(load.wrong)}, hanging {load.hung}" if not load.sound else ""
    expected = f"{promised or 'engine.'}{'' if promised == UNNOTICED else '…'}, no wrong allow, no hang, and it goes on"
    table.add(name, f"{service}, under load", expected, f"{seen}{wrong}; goes on after {seconds:.1f} s", ok=sound)


def _refused(load: Load) -> Counter[str]:
    """What honest callers got so far that was not what they asked for."""
    codes = Counter({code: count for code, count in load.denied.items() if code != "attribute.tenant_mismatch"})
    return codes + load.failed


async def _settled(load: Load) -> None:
    """Until callers have been served for some seconds, and none was refused: a machine that is busy with others refuses
    by itself, and what is not cached yet cannot serve on."""
    deadline, quiet = time.monotonic() + _PATIENCE, 0
    while quiet < _QUIET and time.monotonic() < deadline:
        refused, allowed = _refused(load), load.allowed
        await asyncio.sleep(BEFORE)
        good = load.allowed >= allowed + _ENOUGH and refused == _refused(load)
        quiet = quiet + 1 if good else 0


def _kept(promised: str, answers: Iterable[str]) -> bool:
    if promised == UNNOTICED:
        return not list(answers)
    return not promised or any(code.startswith(promised) for code in answers)


async def _recovered(load: Load) -> float:
    """Seconds until honest requests went through again."""
    before, started = load.allowed, time.monotonic()
    while load.allowed < before + _ENOUGH:
        if time.monotonic() - started > _PATIENCE:
            break
        await asyncio.sleep(0.05)
    return time.monotonic() - started


async def rolling(platform: ComposePlatform, lab: Lab, table: Table) -> None:
    """Every authorization server of every zone, one after the other, each with its OPA, while transfers flow.

    1. The server drains and ends; its Envoy asks the other one. 2. Its OPA is restarted. 3. It starts again.
    """
    load = Load(lab)
    rolled = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        await asyncio.sleep(BEFORE)
        for suffix in ("", "-2"):
            for zone in lab.platform.layout.zones:
                await _roll(platform, f"{zone}-extauthz{suffix}", f"{zone}-opa{suffix}")
                rolled += 2
        await asyncio.sleep(BEFORE)
        load.stop.set()
    lost = load.failed.total() + load.hung + sum(n for code, n in load.denied.items() if code.startswith("engine."))
    seen = f"{load.total} requests, {lost} lost"
    if lost:
        seen += f": {dict(load.failed)} {dict(load.denied)}"
    what = f"{rolled} containers restarted under load, one pair after the other"
    table.add("rolling-restart", what, "0 lost", seen, ok=not lost and load.sound and load.allowed > 0)


async def _roll(platform: ComposePlatform, server: str, opa: str) -> None:
    await platform.engine.must("stop", "--time", "15", await platform.id_of(server))  # 1
    await platform.engine.must("restart", "--time", "5", await platform.id_of(opa))  # 2
    await platform.well(opa)
    await platform.docker("start", server)  # 3
    await platform.well(server)


async def policy_change(platform: ComposePlatform, table: Table) -> None:
    """Another policy in the volume: every OPA takes it without a restart. Then `prepare`, run again, undoes it."""
    opas, before = await _started(platform), await _revisions(platform)
    volume = f"{platform.project}_policy:/platform/policy"
    options = ("--rm", "--network", "none", "--volume", volume, "--entrypoint", "python")
    await platform.engine.must("run", *options, "extauthz-development:0.1.0", "-c", _CHANGE)
    changed = await _another(platform, before)
    await platform.docker("restart", "prepare")
    await platform.well("prepare")
    restored = await _another(platform, changed)
    kept = "no OPA restarted" if opas == await _started(platform) else "an OPA restarted"
    good = len(before) == len(changed) == 1 and before == restored != changed
    seen = f"{len(before | changed | restored)} revisions, {kept}"
    expected = "2 revisions, no OPA restarted"
    table.add("policy-change", "another policy bundle, and back", expected, seen, ok=good and seen == expected)


async def _another(platform: ComposePlatform, before: set[str]) -> set[str]:
    """The revisions by which all authorization servers decide, once none is of `before`."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        found = await _revisions(platform)
        if not found & (before | {SILENT}) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.5)


async def _revisions(platform: ComposePlatform) -> set[str]:
    servers = [f"{zone}-extauthz" for zone in platform.layout.zones]
    said = await asyncio.gather(*(platform.execute(server, "python", "-IS", "-c", _REVISION) for server in servers))
    return {text if code == 0 else SILENT for code, text in said}


async def _started(platform: ComposePlatform) -> dict[str, str]:
    containers = await platform.containers()
    return {one["Name"]: one["State"]["StartedAt"] for one in containers if one["Name"].endswith("-opa-1")}
