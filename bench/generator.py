"""Our load generator: built once by the Go toolchain that `native/build.py` finds, and kept in its cache."""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.front import PATH
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from bench.variants import Variant

SOURCES: Final = Path(__file__).resolve().parent / "loadgen"
_BUILD: Final = SOURCES.parent.parent / "native" / "build.py"
BODY: Final = json.dumps(
    {"tenant": "acme", "region": "eu", "amount": 1200.5, "currency": "EUR", "transaction_type": "wire"}
)
_GRACE: Final = 20.0
"""Seconds beyond a measurement until it counts as hung."""


def _native() -> dict[str, Any]:
    return runpy.run_path(str(_BUILD), run_name="extauthz_native_build")


def go(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One `go` command on our sources, by the toolchain that also builds OPA. Raises ExtauthzError without one."""
    native = _native()
    try:
        program = native["toolchain"]()
    except native["BuildError"] as error:
        raise ExtauthzError(str(error)) from None
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    return subprocess.run(
        [program, *arguments], cwd=SOURCES, env=environment, capture_output=True, text=True, check=False
    )


def build() -> Path:
    """The program. Raises ExtauthzError when it cannot be built."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.glob("*")):
        if path.name == "go.mod" or (path.suffix == ".go" and not path.stem.endswith("_test")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    program: Path = _native()["cache"]() / "bench" / digest.hexdigest()[:24] / "loadgen"
    if program.is_file():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent.parent) as scratch:
        made = Path(scratch, "loadgen")
        done = go("build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", str(made), ".")
        if done.returncode:
            raise ExtauthzError(f"the load generator cannot be built:\n{done.stderr.strip()}")
        made.replace(program)
    return program


@dataclass(frozen=True, slots=True)
class Target:
    """Where the front Envoy listens, and what an mTLS client needs to be let in."""

    plain: int
    mtls: int
    ca: Path
    client: Path
    """The client's certificate; its key stands beside it as `.key`."""
    server_name: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. Times in microseconds; `cores` are CPU seconds a second, by process."""

    rps: float
    p50_us: float
    p99_us: float
    requests: int
    errors: int
    fault: str = ""
    exhausted: bool = False
    cores: dict[str, float] = field(default_factory=dict)


def command(
    program: Path,
    target: Target,
    variant: Variant,
    tokens: Path,
    *,
    conns: int,
    rate: float,
    warmup: float,
    seconds: float,
) -> list[str]:
    port = target.mtls if variant.mtls else target.plain
    options: dict[str, Any] = {
        "addr": f"127.0.0.1:{port}",
        "host": variant.host,
        "method": "POST",
        "path": PATH,
        "body": BODY,
        "tokens": tokens,
        "fresh": str(variant.fresh).lower(),
        "conns": conns,
        "rate": rate,
        "warmup": f"{warmup}s",
        "duration": f"{seconds}s",
    }
    if variant.mtls:
        key = target.client.with_suffix(".key")
        options |= {"tls-ca": target.ca, "tls-cert": target.client, "tls-key": key, "tls-name": target.server_name}
    return [str(program), *(f"-{name}={value}" for name, value in options.items())]


def run(line: list[str], seconds: float) -> tuple[Sample, dict[str, Any]]:
    """The measurement that `line` describes, and the generator's own words. Raises ExtauthzError."""
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=seconds + _GRACE)
    except subprocess.TimeoutExpired:
        raise ExtauthzError("the load generator hangs: a request was never answered") from None
    if done.returncode:
        raise ExtauthzError(done.stderr.strip() or f"the load generator ended with {done.returncode}")
    said: dict[str, Any] = json.loads(done.stdout)
    errors = said["errors"] + said["warmup_errors"]
    fault = said["fault"] or ("" if not errors else f"statuses {said['statuses']}")
    sample = Sample(
        rps=said["rps"],
        p50_us=said["p50_us"],
        p99_us=said["p99_us"],
        requests=said["requests"],
        errors=errors,
        fault=fault,
        exhausted=said["exhausted"],
        cores={"generator": said["generator_cores"]},
    )
    return sample, said
