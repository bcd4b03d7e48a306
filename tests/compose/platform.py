"""The platform of docker-compose.yml, started for a test: the second `Stage` that the scenarios run on."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from extauthz.clock import SystemClock
from extauthz.demo.admin import active_of
from extauthz.demo.authority import Authority
from extauthz.demo.compose_files import read_lab
from extauthz.demo.config_files import SERVICES, Credentials
from extauthz.demo.layout import Layout, ZoneLayout
from extauthz.demo.zones import EDGE, ZONES, Zone
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from extauthz.demo.cluster import Cluster
    from tests.compose.engine import Engine

WAY_IN: Final = {9001: "orchestration", 9002: "model", 9003: "storage", 9004: "storage-staging"}
"""Port of the container `way-in` → the zone whose Envoy it leads to; see access.yml."""
_UP: Final = 300.0
_READY: Final = 120.0
"""Seconds, on a machine that is busy with others."""
_POLL: Final = 0.2
_TRACEBACK: Final = "Traceback (most recent call last)"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class ContainerAdmin:
    """`extauthz authority …` in the authority's container: an `Admin`. Secrets go in by standard input."""

    def __init__(self, platform: ComposePlatform) -> None:
        self._platform = platform

    async def ready(self) -> bool:
        try:
            await self._ask("status")
        except ExtauthzError:
            return False
        return True

    async def trust(self) -> str:
        return await self._ask("trust")

    async def join_token(self, entry: str, instance: str = "") -> str:
        return (await self._ask("join-token", entry, *(("--instance", instance) if instance else ()))).strip()

    async def revoke(self, kind: str, value: str) -> None:
        await self._ask("revoke", kind, "-", stdin=value.encode())

    async def rotate(self, what: str, *, compromised: bool = False) -> None:
        await self._ask("rotate", what, *(("--compromised",) if compromised else ()))

    async def active(self) -> dict[str, str]:
        return active_of(json.loads(await self._ask("status")))

    async def _ask(self, verb: str, *arguments: str, stdin: bytes = b"") -> str:
        container = await self._platform.id_of("authority")
        command = ("extauthz", "authority", verb, *arguments, "-c", "/platform/authority/extauthz.yaml")
        return await self._platform.engine.must("exec", "-i", container, *command, stdin=stdin)


class ComposePlatform:
    """An async context manager. `layout` has this host's ports; `credentials` and `cluster` are those of the lab."""

    def __init__(self, engine: Engine, say: Callable[[str], None]) -> None:
        self.engine = engine
        self.project = f"extauthz-test-{secrets.token_hex(3)}"
        self._say = say
        self._ports = {name: _free_port() for name in ("EDGE_PORT", "AUTHORITY_PORT", "PROMETHEUS_PORT")}
        engine.environment |= {name: str(port) for name, port in self._ports.items()}
        self._root = Path(tempfile.mkdtemp(prefix="xa-compose-"))
        self._logs: list[asyncio.subprocess.Process] = []
        self.layout: Layout
        self.credentials: Credentials
        self.cluster: Cluster
        self.authority: Authority

    async def __aenter__(self) -> Self:
        try:
            await self.up("core")
            await self._look_in()
            await self._follow_logs()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        for process in self._logs:
            if process.returncode is None:
                process.kill()
            await process.wait()
        self._logs.clear()
        await self.down()
        shutil.rmtree(self._root, ignore_errors=True)

    # compose

    def _command(self, *arguments: str) -> list[str]:
        files = ["-f", "docker-compose.yml", "-f", "tests/compose/access.yml"]
        return ["compose", "-p", self.project, *files, *arguments]

    async def compose(self, *arguments: str, timeout: float = 120.0) -> str:
        """Raises ExtauthzError."""
        return await self.engine.must(*self._command(*arguments), timeout=timeout)

    async def up(self, profile: str) -> None:
        """Start what the profile adds; returns when every health check is content. Raises ExtauthzError."""
        try:
            await self.compose("--profile", profile, "up", "--detach", "--no-build", timeout=_UP)
            await self.healthy(profile)
        except ExtauthzError as error:
            raise ExtauthzError(f"{error}\n{await self._unwell()}") from None

    async def down(self) -> str:
        """End and remove everything, volumes as well."""
        command = self._command("--profile", "*", "down", "--volumes", "--timeout", "10")
        said = await self.engine.run(*command, timeout=_UP)
        return "" if said.ok else said.error

    async def config(self, profile: str = "*") -> dict[str, Any]:
        """The compose file as the engine understands it."""
        said = await self.compose("--profile", profile, "config", "--format", "json")
        parsed: dict[str, Any] = json.loads(said)
        return parsed

    async def containers(self) -> list[dict[str, Any]]:
        """`docker inspect` of every container, the ended ones as well."""
        said = await self.engine.must("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project}")
        if not (ids := said.split()):
            return []
        found: list[dict[str, Any]] = json.loads(await self.engine.must("inspect", *ids))
        return found

    async def leftovers(self) -> list[str]:
        """Containers, networks and volumes of the project that still exist."""
        own = f"label=com.docker.compose.project={self.project}"
        found = []
        for kind, command in (
            ("container", ("ps", "-a")),
            ("network", ("network", "ls")),
            ("volume", ("volume", "ls")),
        ):
            said = await self.engine.must(*command, "--quiet", "--filter", own)
            found += [f"{kind} {name}" for name in said.split()]
        return found

    async def id_of(self, service: str) -> str:
        return (await self.compose("ps", "-aq", service)).strip()

    async def execute(self, service: str, *command: str, user: str = "") -> tuple[int, str]:
        """Exit code and output of a command in a running container."""
        options = ["-T", *(["--user", user] if user else [])]
        said = await self.engine.run(*self._command("exec", *options, service, *command), timeout=60.0)
        return said.code, (said.out + said.error).strip()

    async def docker(self, verb: str, *services: str) -> None:
        """`docker VERB` on services' containers. Raises ExtauthzError."""
        await self.engine.must(verb, *[await self.id_of(service) for service in services])

    async def pause(self, *services: str) -> None:
        """`docker pause`, again when the kernel could not freeze a busy container at once. Raises ExtauthzError."""
        for service in services:
            container, deadline = await self.id_of(service), time.monotonic() + _READY
            while not (said := await self.engine.run("pause", container)).ok:
                if "freeze" not in said.error or time.monotonic() > deadline:
                    raise ExtauthzError(f"{service} cannot be paused: {said.error}")
                await asyncio.sleep(_POLL)

    async def well(self, service: str, seconds: float = _READY) -> None:
        """Wait until a container's own health check is content, asked now and not in its interval. Raises ExtauthzError."""
        container = await self.id_of(service)
        inspected = json.loads(await self.engine.must("inspect", container))[0]
        _, *command = inspected["Config"]["Healthcheck"]["Test"]
        deadline = time.monotonic() + seconds
        while not (asked := await self.engine.run("exec", container, *command)).ok:
            if time.monotonic() > deadline:
                words = await self.engine.run("logs", "--tail", "20", container)
                said = (asked.error, words.out[-2000:], words.error[-2000:])
                raise ExtauthzError("\n".join((f"{service} was not well after {seconds:.0f} s", *said)))
            await asyncio.sleep(_POLL)

    async def healthy(self, *profiles: str, services: Iterable[str] = (), seconds: float = _READY) -> None:
        """Wait until the containers are well; all of them unless `services` names some. Raises ExtauthzError."""
        del profiles
        wanted, deadline = set(services), time.monotonic() + seconds
        while True:
            unwell = []
            for container in await self.containers():
                name, state = container["Config"]["Labels"]["com.docker.compose.service"], container["State"]
                if wanted and name not in wanted:
                    continue
                well = state["Running"] and state.get("Health", {}).get("Status", "healthy") == "healthy"
                if not well:
                    unwell.append(name)
            if not unwell:
                return
            if time.monotonic() > deadline:
                raise ExtauthzError(f"not well after {seconds:.0f} s: {', '.join(sorted(unwell))}")
            await asyncio.sleep(_POLL)

    async def _unwell(self) -> str:
        """States and last words, for a message."""
        states = await self.engine.run(*self._command("--profile", "*", "ps", "-a"))
        words = await self.engine.run(*self._command("--profile", "*", "logs", "--no-color", "--tail", "8"))
        return states.out + words.out[-8000:]

    # Stage

    @staticmethod
    def service(name: str) -> str:
        """`storage.extauthz` → `storage-extauthz`, `edge.service` → `gateway`."""
        zone, _, part = name.partition(".")
        if part == "service":
            return next(one.service for one in SERVICES if one.name == zone)
        return f"{zone}-{part}" if part else zone

    async def kill(self, name: str) -> None:
        await self.docker("kill", self.service(name))

    async def restart(self, name: str) -> None:
        service = self.service(name)
        await self.docker("start", service)
        await self.well(service)

    async def kill_opa(self, zone: Zone) -> None:
        await self.docker("kill", f"{zone.name}-opa")

    async def revive_opa(self, zone: Zone) -> None:
        await self.docker("start", f"{zone.name}-opa")

    async def pause_opa(self, zone: Zone) -> None:
        await self.pause(f"{zone.name}-opa")

    async def resume_opa(self, zone: Zone) -> None:
        await self.docker("unpause", f"{zone.name}-opa")

    async def operate(self, part: str, *words: str) -> tuple[int, str]:
        zone, _, inside = part.partition(".")
        if part == "authority":
            places = {"config": "/platform/authority/extauthz.yaml", "audit": "/platform/authority-store/audit"}
        else:
            places = {"config": f"/platform/{zone}/{inside}/extauthz.yaml", "audit": f"/platform/{zone}/state/audit"}
        asked = [word.format_map({**places, "scratch": "/tmp"}) for word in words]
        return await self.execute(self.service(part), "extauthz", *asked)

    async def tracebacks(self) -> list[str]:
        """Lines of logs that begin a Python traceback."""
        said = await self.compose("--profile", "*", "logs", "--no-color", timeout=_READY)
        return [line for line in said.splitlines() if _TRACEBACK in line]

    # what the lab has

    async def _look_in(self) -> None:
        """The lab's keys, whom to trust, and the ports by which this host reaches the zones."""
        await self.engine.must("cp", f"{await self.id_of('prepare')}:/platform/lab", str(self._root))
        self.credentials, self.cluster = read_lab(self._root / "lab", SystemClock())
        ports = {EDGE.name: self._ports["EDGE_PORT"]}
        for inside, name in WAY_IN.items():
            said = await self.compose("port", "way-in", str(inside))
            ports[name] = int(said.rpartition(":")[2])
        zones = {zone.name: ZoneLayout(zone, self._root / zone.name, ports[zone.name]) for zone in ZONES}
        for place in zones.values():
            place.root.mkdir()
        self.layout = Layout(self._root, zones, self._ports["AUTHORITY_PORT"], 0)
        self.authority = Authority(self.layout.authority, self.layout.trust, ContainerAdmin(self))
        await self.authority.believe()

    async def _follow_logs(self) -> None:
        """The Envoys' access logs, as they are written, where the runner looks for them."""
        for place in self.layout.zones.values():
            container = await self.id_of(f"{place.zone.name}-envoy")
            with place.access_log.open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    *("docker", "logs", "--follow", container),
                    env=self.engine.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.DEVNULL,
                )
            self._logs.append(process)

    @property
    def prometheus(self) -> str:
        return f"http://127.0.0.1:{self._ports['PROMETHEUS_PORT']}"
