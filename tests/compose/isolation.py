"""What only separate containers and networks can show: who reaches whom, and what a container may do."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from extauthz.demo.zones import EDGE, MODEL, ORCHESTRATION, RETRAINER, STORAGE, ZONES, spiffe_id

if TYPE_CHECKING:
    from extauthz.demo.lab import Answer, Lab
    from tests.compose.platform import ComposePlatform
    from tests.compose.table import Table

_CALLERS: Final = {
    "gateway": ("orchestrator", "fraud-scorer", "feature-store", "model-envoy", "storage-envoy", "storage-extauthz"),
    "orchestrator": ("gateway", "fraud-scorer", "feature-store", "storage-envoy", "edge-extauthz"),
    "fraud-scorer": ("gateway", "orchestrator", "feature-store", "edge-envoy", "storage-extauthz"),
    "feature-store": ("gateway", "orchestrator", "fraud-scorer", "model-envoy"),
    "edge-extauthz": ("storage-envoy", "feature-store", "catalogue"),
    "edge-agent": ("storage-agent", "model-envoy", "storage-extauthz", "catalogue"),
    "model-extauthz": ("edge-agent", "storage-agent", "edge-envoy", "storage-envoy"),
}
"""A container → those of other zones that it must not reach."""
_PORTS: Final = (80, 443, 8000, 8080, 8181, 8443, 9190, 9901)
_REACH: Final = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
names, addresses, ports = json.loads(sys.argv[1])

def known(name):
    try:
        socket.getaddrinfo(name, 1)
    except OSError:
        return ""
    return name

def opens(where):
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return f"{where[0]}:{where[1]}" if probe.connect_ex(where) == 0 else ""

with ThreadPoolExecutor(64) as pool:
    found = [*pool.map(known, names), *pool.map(opens, [(a, p) for a in addresses for p in ports])]
print(json.dumps([one for one in found if one]))
"""
_LISTENS: Final = """
import json
from pathlib import Path
found = []
for file in ("tcp", "tcp6", "udp", "udp6"):
    for line in Path("/proc/net", file).read_text().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        if (state == "0A" or file.startswith("udp")) and not local.startswith("0B00007F"):  # 127.0.0.11 is Docker's DNS
            found.append(f"{file} {local}")
print(json.dumps(found))
"""
_STATUS: Final = """
import json, os
from pathlib import Path
status = dict(line.split(":", 1) for line in Path("/proc/1/status").read_text().splitlines() if ":" in line)
try:
    Path("/opt/extauthz/new").write_text("x")
    written = True
except OSError:
    written = False
print(json.dumps({"uid": os.getuid(), "caps": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
                  "no_new": status["NoNewPrivs"].strip(), "written": written}))
"""


async def run(platform: ComposePlatform, lab: Lab, table: Table) -> None:
    containers = {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in await platform.containers()}
    around = (_around(platform, table, caller, targets, containers) for caller, targets in _CALLERS.items())
    await asyncio.gather(*around)
    await _control(platform, table, containers)
    await _no_listeners(platform, table)
    await _storage(lab, table)
    await _inside(platform, table)
    _hardened(table, containers)
    _alone(table, containers)
    await _no_way_out(platform, table, containers)
    await _keys_apart(platform, table)


async def _python(platform: ComposePlatform, service: str, code: str, *arguments: str) -> Any:
    status, said = await platform.execute(service, "python", "-IS", "-c", code, *arguments)
    return json.loads(said.splitlines()[-1]) if status == 0 else f"failed: {said[-200:]}"


async def _around(
    platform: ComposePlatform, table: Table, caller: str, targets: tuple[str, ...], containers: dict[str, Any]
) -> None:
    """By name, and by every address that the target has, in case the name were known otherwise."""
    addresses = [
        network["IPAddress"]
        for target in targets
        if target in containers
        for network in containers[target]["NetworkSettings"]["Networks"].values()
        if network["IPAddress"]
    ]
    shared = set(containers[caller]["NetworkSettings"]["Networks"])
    # An address on a network of the caller's own is no way around: Prometheus' network joins authorization servers.
    own = {
        network["IPAddress"]
        for target in targets
        if target in containers
        for name, network in containers[target]["NetworkSettings"]["Networks"].items()
        if name in shared
    }
    question = json.dumps([targets, [one for one in addresses if one not in own], _PORTS])
    reached = await _python(platform, caller, _REACH, question)
    known = [target for target in targets if target in containers]
    what = f"{caller} calls {', '.join(known)} around their Envoys"
    table.add(f"around-from-{caller}", what, "unreachable", "unreachable" if reached == [] else str(reached))


async def _control(platform: ComposePlatform, table: Table, containers: dict[str, Any]) -> None:
    """The same question finds what is there to be found: the authority, by name and by its address in the zone."""
    edge = next(
        net for name, net in containers["authority"]["NetworkSettings"]["Networks"].items() if name.endswith("_edge")
    )
    question = json.dumps([["authority"], [edge["IPAddress"]], _PORTS])
    expected = f"authority, {edge['IPAddress']}:8443"
    for caller in ("edge-agent", "edge-extauthz"):
        reached = await _python(platform, caller, _REACH, question)
        what = f"{caller} asks the same of the authority, which it may reach"
        table.add(f"control-from-{caller}", what, expected, ", ".join(reached))


async def _no_listeners(platform: ComposePlatform, table: Table) -> None:
    for service in ("gateway", "orchestrator", "fraud-scorer", "feature-store"):
        ports = await _python(platform, service, _LISTENS)
        seen = "no port is open" if ports == [] else str(ports)
        table.add(f"ports-of-{service}", "open ports inside its own network", "no port is open", seen)


async def _storage(lab: Lab, table: Table) -> None:
    """Rows of storage for everyone who has a certificate of the trust domain, and a token to go with it."""
    ca = lab.platform.credentials.ca
    ids = {
        "edge": EDGE.id,
        "orchestration": ORCHESTRATION.id,
        "storage-itself": STORAGE.id,
        "model-of-staging": spiffe_id(MODEL.kind, MODEL.service, "staging"),
        "other-model-service": spiffe_id("model", "explainer"),
        "batch": RETRAINER,
        "nobody": spiffe_id("marketing", "newsletter"),
    }
    for name, identity in ids.items():
        svid = ca.svid(identity)
        answer = await lab.features(svid, lab.hop(MODEL, STORAGE, svid))
        seen = _short(answer)
        refused = answer.status == 403 and answer.layer == "workload"
        table.add(f"storage-from-{name}", "asks the storage zone for rows", "403 workload.…", seen, ok=refused)
    answer = await lab.features(lab.svid(MODEL), lab.hop(MODEL, STORAGE))
    table.add("storage-from-model", "the model tier asks for rows", "200 allowed", _short(answer))


def _short(answer: Answer) -> str:
    return f"{answer.status} {answer.code or 'allowed'}"


async def _inside(platform: ComposePlatform, table: Table) -> None:
    """What a program finds that runs in one of our containers."""
    for service in ("edge-extauthz", "model-extauthz", "gateway", "feature-store", "edge-agent", "authority", "way-in"):
        found = await _python(platform, service, _STATUS)
        if isinstance(found, str):
            table.add(f"inside-{service}", "rights of process 1", "none", found)
            continue
        bad = [
            *(["root"] if found["uid"] == 0 else []),
            *(["capabilities"] if found["caps"] else []),
            *(["may gain privileges"] if found["no_new"] != "1" else []),
            *(["writes to its file system"] if found["written"] else []),
        ]
        table.add(f"inside-{service}", "user, capabilities, privileges, file system", "none", ", ".join(bad) or "none")


def _hardened(table: Table, containers: dict[str, Any]) -> None:
    """What the engine was told, for every container, the upstream images' as well."""
    bad = []
    for name, each in sorted(containers.items()):
        host = each["HostConfig"]
        good = (
            each["Config"]["User"] not in {"", "0", "root", "0:0"},
            host["ReadonlyRootfs"],
            host["CapDrop"] == ["ALL"] and not host["CapAdd"],
            "no-new-privileges:true" in (host["SecurityOpt"] or []),
            not host["Privileged"],
            name == "way-in" or (host["Memory"] > 0 and host["NanoCpus"] > 0 and host["PidsLimit"]),
        )
        if not all(good):
            bad.append(name)
    what = f"{len(containers)} containers: user, root file system, capabilities, limits"
    table.add("hardened", what, "all", ", ".join(bad) or "all")


def _alone(table: Table, containers: dict[str, Any]) -> None:
    alone = {name for name in containers if name.endswith("-opa")} | {"prepare", *(one.service for one in ZONES)}
    reach = sorted(name for name in alone if containers[name]["HostConfig"]["NetworkMode"] != "none")
    what = f"{len(alone)} containers without a network: OPAs, services, prepare"
    table.add("no-network", what, "none has one", ", ".join(reach) or "none has one")


async def _no_way_out(platform: ComposePlatform, table: Table, containers: dict[str, Any]) -> None:
    """Networks that lead out of the engine, and who is in them."""
    said = await platform.engine.must(
        "network", "ls", "-q", "--filter", f"label=com.docker.compose.project={platform.project}"
    )
    networks = json.loads(await platform.engine.must("network", "inspect", *said.split()))
    outside = {network["Name"] for network in networks if not network["Internal"]}
    members = {name for name, each in containers.items() if outside & set(each["NetworkSettings"]["Networks"])}
    seen = ", ".join(sorted(members - {"way-in"}))
    table.add("ways-out", "containers with a network that leads out", "authority, edge-envoy", seen)


_FILES: Final = """
import json, os, sys
# The image has the folders, empty: what counts is whether anything is in them.
print(json.dumps([folder for folder in sys.argv[1:] for _, _, found in os.walk(folder) if found]))
"""
_KEYS: Final = """
import json, os
found = set()
for folder, _, names in os.walk("/platform"):
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                content = file.read()
            if b"PRIVATE KEY" in content:
                found.add(folder.removeprefix("/platform/"))
print(json.dumps(sorted(found)))
"""


async def _keys_apart(platform: ComposePlatform, table: Table) -> None:
    """A container sees its own zone's files, and of those only its own. Keys are where they are used, in memory."""
    edge, authority = "/platform/edge", "/platform/authority"
    for service, foreign in {
        "gateway": (f"{edge}/envoy", f"{edge}/run", f"{edge}/identity", "/platform/orchestration", authority),
        "edge-extauthz": (f"{edge}/envoy", f"{edge}/agent", f"{edge}/service", "/platform/model", authority),
        "edge-agent": (f"{edge}/envoy", f"{edge}/extauthz", f"{edge}/run", "/platform/model", f"{authority}-key"),
        "authority": (edge, "/platform/model", "/platform/storage", "/platform/catalogue", "/platform/lab"),
        "feature-store": ("/platform/storage/envoy", "/platform/storage/identity", "/platform/model", authority),
    }.items():
        seen = await _python(platform, service, _FILES, *foreign)
        table.add(f"files-apart-{service}", "files of others that it sees", "none", ", ".join(seen) or "none")
    # `prepare` has every volume: the catalogue is no workload, the lab is the attacker. What signs an audit trail opens
    # no door, and lies with the trail.
    seen = await _python(platform, "prepare", _KEYS)
    what = "volumes with a private key that can be read, of all there are"
    trails = ["authority-store/audit", *(f"{zone.name}/state/audit" for zone in ZONES)]
    table.add("keys-in-volumes", what, ", ".join(sorted(["catalogue", "lab", *trails])), ", ".join(seen))
