"""What only separate containers and networks can show: who reaches whom, and what a container may do."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from extauthz.demo.zones import EDGE, MODEL, ORCHESTRATION, RETRAINER, STORAGE, spiffe_id

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
    _engines_alone(table, containers)
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
    """The same question finds what is there to be found: the issuer, by name and by its address in the zone."""
    edge = next(
        net for name, net in containers["issuer"]["NetworkSettings"]["Networks"].items() if name.endswith("_edge")
    )
    reached = await _python(platform, "gateway", _REACH, json.dumps([["issuer"], [edge["IPAddress"]], _PORTS]))
    expected = f"issuer, {edge['IPAddress']}:8443"
    table.add("around-control", "gateway asks the same of the issuer, which it may reach", expected, ", ".join(reached))


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
    for service in ("edge-extauthz", "model-extauthz", "gateway", "feature-store", "issuer", "way-in"):
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


def _engines_alone(table: Table, containers: dict[str, Any]) -> None:
    engines = {name: each for name, each in containers.items() if name.endswith("-opa") or name == "authority"}
    reach = [name for name, each in engines.items() if each["HostConfig"]["NetworkMode"] != "none"]
    table.add("engines-alone", "OPAs and the development CA have no network", "none", ", ".join(reach) or "none")


async def _no_way_out(platform: ComposePlatform, table: Table, containers: dict[str, Any]) -> None:
    """Networks that lead out of the engine, and who is in them."""
    said = await platform.engine.must(
        "network", "ls", "-q", "--filter", f"label=com.docker.compose.project={platform.project}"
    )
    networks = json.loads(await platform.engine.must("network", "inspect", *said.split()))
    outside = {network["Name"] for network in networks if not network["Internal"]}
    members = {name for name, each in containers.items() if outside & set(each["NetworkSettings"]["Networks"])}
    seen = ", ".join(sorted(members - {"way-in"}))
    table.add("ways-out", "containers with a network that leads out", "edge-envoy, issuer", seen)


async def _keys_apart(platform: ComposePlatform, table: Table) -> None:
    """A container sees its own zone's files, and of those only its own."""
    for service, foreign in {
        "gateway": ("/platform/edge/envoy", "/platform/edge/run", "/platform/orchestration", "/platform/authority"),
        "edge-extauthz": ("/platform/edge/envoy", "/platform/edge/service", "/platform/model", "/platform/authority"),
        "feature-store": ("/platform/storage/envoy", "/platform/storage/run", "/platform/model", "/platform/issuer"),
    }.items():
        # The image has the folders, empty: what counts is whether anything is in them.
        code = "import json, os, sys; print(json.dumps([p for p in sys.argv[1:] for _, _, f in os.walk(p) if f]))"
        seen = await _python(platform, service, code, *foreign)
        table.add(f"keys-apart-{service}", "files of others that it sees", "none", ", ".join(seen) or "none")
