"""Everything that the containers of docker-compose.yml start from, in the volumes that they share.

    python -m extauthz.demo.compose_files folders | prepare | scale

`prepare` stands in for whoever provisions a platform, and for its cluster: it writes every configuration before
anything else starts, and keeps a fresh service-account token beside each agent, as a kubelet does. It gives an identity
to nobody: that is what `extauthz authority` is for. `folders` is for the build of the image, `scale` tells each Envoy
of a second authorization server. The last two stay afterwards, so that whoever waits for every container finds them
well. `compose_layout` says where everything is.
"""

from __future__ import annotations

import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from extauthz.clock import Clock, SystemClock
from extauthz.demo import authority_files, config_files
from extauthz.demo.cluster import Cluster
from extauthz.demo.compose_envoy import envoy_settings, scale, suffix, write_endpoints
from extauthz.demo.compose_layout import AUTHORITY, CATALOGUE, PORT, ContainerLayout, folders, plan, token_of
from extauthz.demo.dev_ca import DevCa
from extauthz.demo.files import shared, write_private
from extauthz.demo.tokens import Mint
from extauthz.demo.zones import EDGE, STORAGE, TRUST_DOMAIN, ZONES, Zone
from extauthz.policy import loader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.demo.layout import Layout

POLICIES: Final = Path("/policies")
"""Where the policies of the source tree are mounted; else those of the package."""
READY: Final = Path("/tmp/ready")  # noqa: S108 - of a container of its own
"""What the health check looks for."""
HEALTH: Final = "127.0.0.1:9190"
"""Where an agent says that it is well, in its container alone."""
OPERATOR: Final = "unix:///tmp/authority.sock"
"""The operator's verbs, in the authority's container alone."""
LIFETIME: Final = 20 * 3600.0
"""Seconds that the catalogue's certificate lives; the workloads' are renewed by their agents."""
FRESH: Final = 5.0
"""Seconds between two projections of the agents' tokens: one serves once, and an agent may start at any time."""
_SPARE: Final = 6 * 3600.0
"""Seconds that the lab's certificate authority must still live for `prepare` to keep what is there."""


# ------------------------------------------------------------------ the lab: kept for a test that comes to be it


def keep_lab(folder: Path, made: config_files.Credentials, cluster: Cluster) -> None:
    write_private(folder / "ca.key", made.ca.private_key)
    write_private(folder / "issuer.key", made.mint.private_key)
    write_private(folder / "grants.key", made.grants.private_key)
    write_private(folder / "cluster.key", cluster.private_key)
    write_private(folder / "api-key", made.api_key.encode())
    write_private(folder / "ca.pem", made.ca.trust_bundle)  # last: it says that all is there


def read_lab(folder: Path, clock: Clock) -> tuple[config_files.Credentials, Cluster]:
    """Raises OSError when there is none."""
    ca = DevCa(TRUST_DOMAIN, clock, kept=((folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes()))
    mint = Mint(config_files.LAB_ISSUER, (folder / "issuer.key").read_bytes(), clock)
    grants = Mint(config_files.GRANTS, (folder / "grants.key").read_bytes(), clock, "duty-1")
    made = config_files.Credentials(ca, mint, (folder / "api-key").read_text(), grants)
    for zone in ZONES:
        made.svids[zone.name] = ca.svid(zone.id, lifetime=LIFETIME)
    return made, Cluster(clock, private_key=(folder / "cluster.key").read_bytes())


def project(layout: ContainerLayout, cluster: Cluster) -> None:
    """A new service-account token for each agent: its pod is in the namespace of the zone's name."""
    for zone in ZONES:
        write_private(token_of(layout, zone), cluster.project(zone.name, zone.service).encode())


# ------------------------------------------------------------------ what is written


def prepare(layout: ContainerLayout, clock: Clock | None = None) -> Cluster:
    """Write everything; what is there and still lives is kept, but for the policy. The cluster that projects tokens."""
    clock = clock or SystemClock()
    folders(layout)
    bundle = loader.load(POLICIES if POLICIES.is_dir() else shared("policies")).bundle()
    write_private(layout.root / "policy" / "policy.tar.gz", bundle)
    if (layout.lab / "ca.pem").exists():
        made, cluster = read_lab(layout.lab, clock)
        if made.ca.ends - clock.now() > _SPARE:
            project(layout, cluster)
            return cluster
    made, cluster = config_files.issue(clock, LIFETIME), Cluster(clock)
    config_files.write_public(layout, made)
    config_files.write_json(layout.public / "cluster.jwks.json", cluster.jwks())
    _write_authority(layout)
    for zone in ZONES:
        _write_zone(layout, zone, made)
    _write_catalogue(layout, made)
    project(layout, cluster)
    keep_lab(layout.lab, made, cluster)
    return cluster


def _write_authority(layout: ContainerLayout) -> None:
    passphrase = layout.root / "authority-key" / "passphrase"
    if not passphrase.exists():  # the database of an earlier start is sealed with it
        write_private(passphrase, secrets.token_urlsafe(32).encode())
    config_files.write_yaml(layout.authority_root / "extauthz.yaml", authority_settings(layout))


def _write_zone(layout: ContainerLayout, zone: Zone, made: config_files.Credentials) -> None:
    place = layout.zone(zone)
    config_files.write_yaml(place.root / "envoy" / "envoy.yaml", envoy_settings(layout, place))
    write_endpoints(place, 1)
    config_files.write_yaml(place.root / "agent" / "extauthz.yaml", agent_settings(layout, zone))
    for number in (1, 2):
        settings = extauthz_settings(layout, zone, number)
        config_files.write_yaml(place.root / "extauthz" / f"extauthz{suffix(number)}.yaml", settings)
    if zone is EDGE:
        config_files.write_yaml(place.root / "extauthz" / "api-keys.yaml", config_files.api_keys(made))
    if zone in config_files.SERVICES:
        settings = config_files.service_settings(layout, zone)
        if zone is STORAGE:
            settings["database"] = "/tmp/features.sqlite"  # noqa: S108 - of a container of its own
        config_files.write_json(place.root / "service" / "service.json", settings)


def authority_settings(layout: ContainerLayout) -> dict[str, Any]:
    """The authority's extauthz.yaml as `extauthz demo` has it, for other containers; every agent is a pod."""
    settings = authority_files.authority_settings(layout, pods=True)
    root = layout.root
    settings["store"]["path"] = str(root / "authority-store" / "store.sqlite")
    settings["policy"] = _sidecar(root / "authority-run" / "opa.sock")
    settings["authority"] |= {
        "listen": f"0.0.0.0:{PORT}",
        "admin": OPERATOR,
        "dns_names": [AUTHORITY, "localhost"],
        "publish": str(layout.trust),
        "keys": {"kind": "encrypted", "passphrase_file": str(root / "authority-key" / "passphrase")},
    }
    settings["audit"] = {"directory": str(root / "authority-store" / "audit"), "sinks": [{"kind": "stdout"}]}
    settings["authority"]["sts"]["development"]["from_anywhere"] = True
    return settings


def agent_settings(layout: ContainerLayout, zone: Zone) -> dict[str, Any]:
    settings = config_files.agent_settings(layout, zone)
    token = str(token_of(layout, zone))
    settings["agent"]["attestation"] = {"kind": "kubernetes", "attestor": "cluster", "token_file": token}
    settings["agent"]["http"] = HEALTH
    return settings


def extauthz_settings(layout: Layout, zone: Zone, number: int = 1) -> dict[str, Any]:
    """The zone's extauthz.yaml as `extauthz demo` has it, with an OPA of its own beside it, and metrics for others."""
    place, settings = layout.zone(zone), config_files.extauthz_settings(layout, zone)
    settings["server"] |= {
        "listen": f"unix://{place.socket('check' + suffix(number))}",
        "http": "0.0.0.0:9190",
        "drain": "5s",
    }
    settings["outbound"] = {"trust_bundle": str(layout.public / "lab.pem")}  # the catalogue's
    settings["policy"] = _sidecar(place.socket("opa" + suffix(number)))
    settings["telemetry"]["records"]["output"] = "stdout"
    settings["audit"] = {"directory": str(place.root / "state" / "audit"), "sinks": [{"kind": "stdout"}]}
    if "api_keys" in settings:
        settings["api_keys"]["file"] = str(place.root / "extauthz" / "api-keys.yaml")
    if "judgement" in settings:
        settings["judgement"]["queue"]["path"] = str(place.root / "state" / "judgements.sqlite")
        settings["policy"]["path"] = str(shared("policies"))  # what decides while OPA is away
    return settings


def _sidecar(socket: Path) -> dict[str, Any]:
    return {"engine": "sidecar", "sidecar": {"supervise": False, "address": f"unix://{socket}"}}


def _write_catalogue(layout: Layout, made: config_files.Credentials) -> None:
    """It is reached over https by name, and is no workload of the trust domain."""
    folder = layout.root / "catalogue"
    made.ca.server(CATALOGUE, lifetime=LIFETIME).write(folder, "server")
    where = {"certificate": str(folder / "server.pem"), "private_key": str(folder / "server.key")}
    config_files.write_json(folder / "catalogue.json", {"listen": f"0.0.0.0:{PORT}", **where})


# ------------------------------------------------------------------ the commands


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in {"folders", "prepare", "scale"}:
        sys.exit(__doc__)
    (step,) = arguments
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # taken by `sigtimedwait`, not before
    layout, cluster = plan(), None
    if step == "folders":
        folders(layout)
        return
    if step == "scale":
        scale(layout)
    else:
        cluster = prepare(layout)
    READY.touch()
    while signal.sigtimedwait(ends, FRESH) is None:
        if cluster is not None:
            project(layout, cluster)


if __name__ == "__main__":
    main(sys.argv[1:])
