"""The container engine: found, or started with a helper; and `docker` as coroutines."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.errors import ExtauthzError, MissingPart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[2]
HELPER: Final = "DOCKER_ENGINE_HELPER"
"""Names a program that starts an engine (`up`, which prints exports to evaluate) and ends it (`down`)."""
_BESIDE: Final = ROOT.parent / "shared" / "tools" / "docker-engine"


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    error: str

    @property
    def ok(self) -> bool:
        return self.code == 0


class Engine:
    """A working engine with Compose. `helper` is what started it, when we did."""

    def __init__(self, environment: Mapping[str, str], helper: Path | None) -> None:
        self.environment = dict(environment)
        self.helper = helper

    async def run(self, *arguments: str, timeout: float = 120.0, stdin: bytes = b"") -> Said:
        """`docker ARGUMENTS`, given `stdin` to read. Raises ExtauthzError only when it takes too long."""
        process = await asyncio.create_subprocess_exec(
            "docker",
            *arguments,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout):
                out, error = await process.communicate(stdin or None)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise ExtauthzError(f"docker {shlex.join(arguments)} took more than {timeout:.0f} s") from None
        return Said(process.returncode or 0, out.decode(errors="replace"), error.decode(errors="replace"))

    async def must(self, *arguments: str, timeout: float = 120.0, stdin: bytes = b"") -> str:
        """Standard output of a command that must work. Raises ExtauthzError."""
        said = await self.run(*arguments, timeout=timeout, stdin=stdin)
        if not said.ok:
            tail = "\n".join((said.out + said.error).splitlines()[-30:])
            raise ExtauthzError(f"docker {shlex.join(arguments)} failed ({said.code})\n{tail}")
        return said.out

    def down(self) -> None:
        """Ends the engine when it was started here."""
        if self.helper is not None:
            subprocess.run([str(self.helper), "down"], env=self.environment, check=False)


def _works(environment: Mapping[str, str]) -> bool:
    if shutil.which("docker", path=environment.get("PATH")) is None:
        return False
    asked = (["docker", "info"], ["docker", "compose", "version"])
    return all(
        subprocess.run(command, env=dict(environment), capture_output=True, check=False).returncode == 0
        for command in asked
    )


def _helper() -> Path | None:
    named = os.environ.get(HELPER)
    candidates = [Path(named)] if named else [_BESIDE]
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def find(say: Callable[[str], None]) -> Engine:
    """The engine of this machine, else one that a helper starts. Raises MissingPart."""
    if _works(os.environ):
        return Engine(os.environ, None)
    helper = _helper()
    if helper is None:
        raise MissingPart("a container engine", f"install Docker with Compose v2, or name a helper in {HELPER}")
    say(f"no engine answers; starting one with {helper.name}")
    started = subprocess.run([str(helper), "up"], stdout=subprocess.PIPE, text=True, check=False)
    if started.returncode:
        raise MissingPart("a container engine", f"{helper} failed; see what it said above")
    environment = {**os.environ, **_exports(started.stdout.splitlines())}
    if not _works(environment):
        raise MissingPart("a container engine", f"{helper} started none that answers")
    return Engine(environment, helper)


def _exports(lines: Sequence[str]) -> dict[str, str]:
    """`export NAME=value …` lines as a shell reads them."""
    words = [word for line in lines if line.startswith("export ") for word in shlex.split(line)[1:]]
    return dict(word.split("=", 1) for word in words if "=" in word)
