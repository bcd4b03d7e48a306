"""SPIRE, as others wrote and built it: a server and an agent, as processes of their own, with everything in one folder.

`spire-server` and `spire-agent` are found on PATH, or in the folder that SPIRE_BIN names.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from extauthz.demo import processes
from extauthz.demo.processes import Part
from extauthz.errors import ExtauthzError, MissingPart
from tests.support.sds_envoy import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

TRUST_DOMAIN = "bank.example"
NODE = f"spiffe://{TRUST_DOMAIN}/node"
_SERVER = """
server {{
    bind_address = "127.0.0.1"
    bind_port = "{port}"
    socket_path = "{folder}/server.sock"
    trust_domain = "{trust_domain}"
    data_dir = "{folder}/server"
    log_level = "INFO"
}}
plugins {{
    DataStore "sql" {{
        plugin_data {{
            database_type = "sqlite3"
            connection_string = "{folder}/server/datastore.sqlite3"
        }}
    }}
    NodeAttestor "join_token" {{ plugin_data {{}} }}
    KeyManager "memory" {{ plugin_data {{}} }}
}}
"""
_AGENT = """
agent {{
    server_address = "127.0.0.1"
    server_port = "{port}"
    socket_path = "{folder}/agent.sock"
    trust_bundle_path = "{folder}/bootstrap.pem"
    trust_domain = "{trust_domain}"
    data_dir = "{folder}/agent"
    join_token = "{token}"
    log_level = "INFO"
}}
plugins {{
    NodeAttestor "join_token" {{ plugin_data {{}} }}
    KeyManager "memory" {{ plugin_data {{}} }}
    WorkloadAttestor "unix" {{ plugin_data {{ discover_workload_path = true }} }}
}}
"""


def find() -> tuple[str, str]:
    """Paths of the server's and of the agent's program. Raises MissingPart."""
    path = os.pathsep.join(filter(None, (os.environ.get("SPIRE_BIN"), os.environ.get("PATH"))))
    found = [shutil.which(name, path=path) for name in ("spire-server", "spire-agent")]
    if found[0] is None or found[1] is None:
        raise MissingPart(
            "SPIRE", "put spire-server and spire-agent of a SPIRE release on PATH, or name their folder: SPIRE_BIN"
        )
    return found[0], found[1]


@dataclass(frozen=True)
class Spire:
    folder: Path
    server: str
    agent: str

    @property
    def socket(self) -> Path:
        """The agent's: SPIFFE Workload API and SDS."""
        return self.folder / "agent.sock"

    async def fetch(self, folder: Path) -> tuple[Path, Path]:
        """Certificate and key that the agent gives to its own command line, as a workload like any other."""
        folder.mkdir()
        await _run(self.agent, "api", "fetch", "x509", "-socketPath", str(self.socket), "-write", str(folder))
        return folder / "svid.0.pem", folder / "svid.0.key"


@asynccontextmanager
async def running(folder: Path, workloads: Mapping[str, str]) -> AsyncIterator[Spire]:
    """`workloads`: path of a program → SPIFFE ID that SPIRE attests it as."""
    server, agent = find()
    values = {"folder": folder, "port": free_port(), "trust_domain": TRUST_DOMAIN}
    for name in ("server", "agent"):
        (folder / name).mkdir()
    (folder / "server.conf").write_text(_SERVER.format(**values))
    parts = [Part("spire-server", [server, "run", "-config", str(folder / "server.conf")], folder / "server.log")]
    admin = ("-socketPath", str(folder / "server.sock"))
    try:
        parts[0].start()
        await _until(parts[0], server, "healthcheck", *admin)
        (folder / "bootstrap.pem").write_text(await _run(server, "bundle", "show", *admin))
        token = (await _run(server, "token", "generate", *admin, "-spiffeID", NODE)).split()[1]
        for program, spiffe_id in workloads.items():
            entry = ("-parentID", NODE, "-spiffeID", spiffe_id, "-selector", f"unix:path:{program}")
            await _run(server, "entry", "create", *admin, *entry)
        (folder / "agent.conf").write_text(_AGENT.format(**values, token=token))
        parts.append(Part("spire-agent", [agent, "run", "-config", str(folder / "agent.conf")], folder / "agent.log"))
        parts[1].start()
        await _until(parts[1], agent, "healthcheck", "-socketPath", str(folder / "agent.sock"))
        yield Spire(folder, server, agent)
    finally:
        processes.stop(parts)


async def _until(part: Part, *command: str) -> None:
    """Wait until the command succeeds. Raises ExtauthzError when the part ends, or the test's time is over."""
    while True:
        try:
            await _run(*command)
        except ExtauthzError:
            if not part.running:
                raise part.failed() from None
            await asyncio.sleep(0.2)
        else:
            return


async def _run(*command: str) -> str:
    """What the command printed. Raises ExtauthzError when it fails."""
    ran = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await ran.communicate()
    if ran.returncode != 0:
        raise ExtauthzError(f"{command[0]} {command[1]}: {said.decode(errors='replace')}")
    return said.decode()
