"""The demonstration with lives of seconds: what rotates within an hour in production rotates within a minute here.

Agents are attested as pods, and `Kubelet` gives each a new token every few seconds: so they can attest again by
themselves, with `once: true` as it is by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from extauthz.demo.config_files import write_yaml
from extauthz.demo.files import write_private
from extauthz.demo.zones import ZONES
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from extauthz.demo.layout import ZoneLayout
    from extauthz.demo.platform import Platform

_SHIPPED: Final = "max_connection_duration: 900s"
_TOKEN_EVERY: Final = 1.0


@dataclass(frozen=True)
class Lives:
    """Seconds. A connection must end in what is left of a certificate when it is renewed: at worst 45 % of its life."""

    svid: int = 30
    connection: int = 4
    exchanged: int = 20
    ca_published: int = 3
    signing_published: int = 5

    def adjust(self, platform: Platform) -> None:
        """Rewrites the files of a platform that is about to start."""
        layout = platform.layout
        _edit(layout.authority_root / "extauthz.yaml", self._authority)
        for place in layout.zones.values():
            envoy = place.root / "envoy.yaml"
            text = envoy.read_text()
            if _SHIPPED not in text:
                raise ValueError(f"{envoy} is not the configuration that this test knows")
            write_private(envoy, text.replace(_SHIPPED, f"max_connection_duration: {self.connection}s").encode())
            _edit(place.root / "agent.yaml", lambda tree, place=place: _agent(tree, place))
            _edit(place.root / "extauthz.yaml", _server)
        Kubelet(platform).write()

    def _authority(self, tree: dict[str, Any]) -> None:
        block = tree["authority"]
        block["ca"] |= {"publish_for": f"{self.ca_published}s", "acknowledge_within": "30s"}
        block["signing"] |= {"publish_for": f"{self.signing_published}s"}
        block["sts"] |= {"lifetime": f"{self.exchanged}s"}
        cluster = next(one for one in block["attestation"]["attestors"] if one["kind"] == "kubernetes")
        cluster["namespaces"] = sorted({*cluster["namespaces"], *(zone.name for zone in ZONES)})
        names = {zone.name: zone for zone in ZONES}
        entries = [entry for entry in block["entries"] if entry["name"] != "fraud-scorer-pod"]
        pods = [
            {
                **entry,
                "name": f"{entry['name']}-pod",
                "attestors": ["cluster"],
                "selectors": [f"k8s:ns:{entry['name']}", f"k8s:sa:{names[entry['name']].service}"],
            }
            for entry in entries
            if entry["name"] in names
        ]
        block["entries"] = [{**entry, "svid_ttl": f"{self.svid}s"} for entry in (*entries, *pods)]


class Kubelet:
    """Writes each zone's service-account token anew, as a kubelet does; the pods stay the same."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def write(self) -> None:
        for place in self._platform.layout.zones.values():
            uid = str(uuid.uuid5(uuid.NAMESPACE_DNS, place.zone.host + place.zone.name))
            token = self._platform.cluster.project(place.zone.name, place.zone.service, uid=uid)
            write_private(_token(place), token.encode())

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        tasks = Tasks()
        tasks.start(self._work(), "kubelet")
        try:
            yield
        finally:
            await tasks.close()

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(_TOKEN_EVERY)
            await asyncio.to_thread(self.write)


def _token(place: ZoneLayout) -> Path:
    return place.root / "pod-token"


def _agent(tree: dict[str, Any], place: ZoneLayout) -> None:
    tree["agent"]["attestation"] = {"kind": "kubernetes", "attestor": "cluster", "token_file": str(_token(place))}


def _server(tree: dict[str, Any]) -> None:
    if "sts" in tree:
        tree["sts"]["timeout"] = "800ms"  # this machine has other work to do


def _edit(path: Path, change: Any) -> None:
    tree = yaml.safe_load(path.read_text())
    change(tree)
    write_yaml(path, tree)
