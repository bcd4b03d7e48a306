"""Everything that the containers of docker-compose.yml start from, in the volumes that they share.

    python -m extauthz.demo.compose_files folders | prepare | scale

It stands in for the production authority: it signs what the platform needs, once, before anything else starts.
`folders` is for the build of the image, `scale` tells each Envoy of a second authorization server. The last two stay
afterwards and do nothing, so that whoever waits for every container to be well need not know that these had ended.

A zone's folder has one volume for each party, so that none sees what is another's:

| below `/platform/<zone>/` | who mounts it | what is in it |
| --- | --- | --- |
| `envoy` | the zone's Envoy | its configuration, SVID and trust bundle |
| `extauthz` | the zone's authorization servers | their configuration, trust bundles |
| `service` | the zone's service | its settings, its secret at the token issuer |
| `run` | Envoy, authorization servers, OPAs | the sockets between them |
| `sockets` | Envoy and service | the sockets between them |
"""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from extauthz.clock import Clock, SystemClock
from extauthz.demo import config_files
from extauthz.demo.dev_ca import DevCa
from extauthz.demo.files import render, shared, write_private
from extauthz.demo.layout import Layout, ZoneLayout
from extauthz.demo.zones import STORAGE, TRUST_DOMAIN, ZONES, Zone
from extauthz.policy import loader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT: Final = Path("/platform")
POLICIES: Final = Path("/policies")
"""Where the policies of the source tree are mounted; else those of the package."""
PORT: Final = 8443
"""Where each Envoy, the issuer and the catalogue listen, each in its own container."""
READY: Final = Path("/tmp/ready")  # noqa: S108 - of a container of its own
"""What the health check looks for."""
ADMIN_PORT: Final = 9901
"""Envoy's admin interface, on the loopback of its container alone."""
ISSUER: Final = f"issuer.{TRUST_DOMAIN}"
CATALOGUE: Final = f"catalogue.{TRUST_DOMAIN}"
LIFETIME: Final = 20 * 3600.0
"""Seconds that the SVIDs of one `docker compose up` live. The authority of production renews them every hour."""
_SPARE: Final = 6 * 3600.0
"""Seconds that they must still live for `prepare` to keep what is there."""
_TYPE: Final = "type.googleapis.com/envoy."
_FOLDERS: Final = ("envoy/secrets", "extauthz", "service", "run", "sockets")
_COMMON: Final = ("authority", "issuer", "catalogue", "policy")


@dataclass(frozen=True, slots=True)
class ContainerZone(ZoneLayout):
    """A zone's paths, the same in every container that has them."""

    @property
    def secrets(self) -> Path:
        return self.root / "envoy" / "secrets"

    @property
    def access_log(self) -> Path:
        return Path("/dev/stdout")

    @property
    def endpoints(self) -> Path:
        """Where Envoy reads which authorization servers the zone has."""
        return self.root / "envoy" / "extauthz.yaml"

    def socket(self, name: str) -> Path:
        folder = "sockets" if name in {"service", "egress"} else "run"
        return self.root / folder / f"{name}.sock"


@dataclass(frozen=True, slots=True)
class ContainerLayout(Layout):
    @property
    def issuer(self) -> str:
        return f"https://{ISSUER}:{self.issuer_port}"

    @property
    def catalogue(self) -> str:
        return f"https://{CATALOGUE}:{self.catalogue_port}"


def plan(root: Path = ROOT) -> ContainerLayout:
    zones: dict[str, ZoneLayout] = {zone.name: ContainerZone(zone, root / zone.name, PORT) for zone in ZONES}
    return ContainerLayout(root, zones, PORT, PORT)


def folders(layout: Layout) -> None:
    """Make the folders, for nobody but their owner."""
    names = [f"{zone}/{folder}" for zone in layout.zones for folder in _FOLDERS]
    for name in (*names, *_COMMON):
        (layout.root / name).mkdir(mode=0o700, parents=True, exist_ok=True)


def prepare(layout: Layout, clock: Clock | None = None) -> bool:
    """Write everything; what is there and still lives is kept, but for the policy. Whether anything was signed."""
    clock = clock or SystemClock()
    folders(layout)
    bundle = loader.load(POLICIES if POLICIES.is_dir() else shared("policies")).bundle()
    write_private(layout.root / "policy" / "policy.tar.gz", bundle)
    kept = layout.root / "authority"
    if (kept / "ca.pem").exists():
        ca = DevCa(TRUST_DOMAIN, clock, kept=((kept / "ca.pem").read_bytes(), (kept / "ca.key").read_bytes()))
        if ca.ends - clock.now() > _SPARE:
            return False
    ca = DevCa(TRUST_DOMAIN, clock)
    made = config_files.issue(layout, clock, ca, LIFETIME)
    for zone in ZONES:
        _write_zone(layout, zone, made)
    _write_server(layout, "issuer", ISSUER, made, config_files.issuer_settings(layout, made))
    write_private(layout.root / "issuer" / "issuer.key", made.mint.private_key)
    _write_server(layout, "catalogue", CATALOGUE, made, {})
    write_private(kept / "ca.key", ca.private_key)
    write_private(kept / "ca.pem", ca.trust_bundle)  # last: it says that all is there
    return True


def scale(layout: Layout, replicas: int = 2) -> None:
    """Each zone's Envoy shares its questions among this many authorization servers from now on."""
    for place in layout.zones.values():
        _write_endpoints(place, replicas)


def _write_zone(layout: Layout, zone: Zone, made: config_files.Credentials) -> None:
    place = layout.zone(zone)
    config_files.write_secrets(place, made)
    config_files.write_yaml(place.root / "envoy" / "envoy.yaml", envoy_settings(layout, place))
    _write_endpoints(place, 1)
    authority = place.root / "extauthz" / "ca.pem"
    write_private(authority, made.ca.trust_bundle)
    for number in (1, 2):
        settings = extauthz_settings(layout, zone, number)
        config_files.write_yaml(place.root / "extauthz" / f"extauthz{_suffix(number)}.yaml", settings)
    if zone in config_files.SERVICES:
        settings = config_files.service_settings(layout, zone, made)
        settings["issuer_ca"] = str(place.root / "service" / "ca.pem")
        if zone is STORAGE:
            settings["database"] = "/tmp/features.sqlite"  # noqa: S108 - of a container of its own
        config_files.write_json(place.root / "service" / "service.json", settings)
        write_private(place.root / "service" / "ca.pem", made.ca.trust_bundle)


def _suffix(number: int) -> str:
    return "" if number == 1 else f"-{number}"


def envoy_settings(layout: Layout, place: ZoneLayout) -> dict[str, Any]:
    """The zone's shipped configuration, with three differences: it listens for other containers; its admin interface
    is on the container's loopback, where the health check asks; its authorization servers are named in a file."""
    zone = place.zone
    values = config_files.envoy_values(layout, place) | {"LISTEN_ADDRESS": "0.0.0.0"}  # noqa: S104 - in a container
    if zone.next:
        values["NEXT_ADDRESS"] = layout.zones[zone.next].zone.host
    tree: dict[str, Any] = yaml.safe_load(render((shared("envoy") / f"{zone.kind}.yaml").read_text(), values))
    tree["node"]["id"] = zone.name
    tree["admin"]["address"] = {"socket_address": {"address": "127.0.0.1", "port_value": ADMIN_PORT}}
    cluster = next(one for one in tree["static_resources"]["clusters"] if one["name"] == "extauthz")
    del cluster["load_assignment"]
    cluster["type"] = "EDS"
    source = {
        "path": str(place.root / "envoy" / "extauthz.yaml"),
        "watched_directory": {"path": str(place.root / "envoy")},
    }
    # When one of two servers is away, every question to it is asked again: Envoy's own bound is 3 at a time.
    cluster["circuit_breakers"] = {"thresholds": [{"max_retries": 1024}]}
    cluster["eds_cluster_config"] = {"eds_config": {"path_config_source": source}}
    for question in _ext_authz(tree):
        question["grpc_service"]["retry_policy"] = {
            # A Check changes nothing, so it may be asked again, of the other server where there is one.
            "retry_on": "connect-failure,refused-stream,reset,unavailable",
            "num_retries": 2,
            # Envoy takes max_interval for the longest time of one try, too: that of the whole question.
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "1s"},
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": f"{_TYPE}extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": 3,
        }
    return tree


def _ext_authz(node: Any) -> list[dict[str, Any]]:
    """Every ext_authz filter's settings."""
    if isinstance(node, list):
        return [found for item in node for found in _ext_authz(item)]
    if not isinstance(node, dict):
        return []
    if str(node.get("@type", "")).endswith("ext_authz.v3.ExtAuthz"):
        return [node]
    return _ext_authz(list(node.values()))


def _write_endpoints(place: ZoneLayout, replicas: int) -> None:
    """The file is replaced by a rename, which Envoy sees."""
    sockets = [str(place.socket(f"check{_suffix(number)}")) for number in range(1, replicas + 1)]
    assignment = {
        "@type": f"{_TYPE}config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "extauthz",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}} for path in sockets]}],
    }
    config_files.write_yaml(place.root / "envoy" / "extauthz.yaml", {"resources": [assignment]})


def extauthz_settings(layout: Layout, zone: Zone, number: int = 1) -> dict[str, Any]:
    """The zone's extauthz.yaml as `extauthz demo` has it, with an OPA of its own beside it, and metrics for others."""
    place, settings = layout.zone(zone), config_files.extauthz_settings(layout, zone)
    authority = str(place.root / "extauthz" / "ca.pem")
    settings["server"] |= {
        "listen": f"unix://{place.socket('check' + _suffix(number))}",
        "http": "0.0.0.0:9190",
        "drain": "5s",
    }
    settings["workload"]["trust_domains"][TRUST_DOMAIN]["trust_bundle"] = authority
    settings["outbound"] = {"trust_bundle": authority}
    address = f"unix://{place.socket('opa' + _suffix(number))}"
    settings["policy"] = {"engine": "sidecar", "sidecar": {"supervise": False, "address": address}}
    settings["telemetry"]["records"]["output"] = "stdout"
    return settings


def _write_server(
    layout: Layout, name: str, host: str, made: config_files.Credentials, settings: dict[str, Any]
) -> None:
    """A service that is reached over https by name."""
    folder = layout.root / name
    made.ca.server(host, lifetime=LIFETIME).write(folder, "server")
    where = {"certificate": str(folder / "server.pem"), "private_key": str(folder / "server.key")}
    listen = {"listen": f"0.0.0.0:{PORT}"}
    if name == "issuer":
        listen["key_file"] = str(folder / "issuer.key")
    config_files.write_json(folder / f"{name}.json", {**settings, **listen, **where})


def main(arguments: Sequence[str]) -> None:
    steps: dict[str, Callable[[Layout], object]] = {"folders": folders, "prepare": prepare, "scale": scale}
    if len(arguments) != 1 or arguments[0] not in steps:
        sys.exit(__doc__)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # taken by `sigwait`, not before
    steps[arguments[0]](plan())
    if arguments[0] != "folders":
        READY.touch()
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main(sys.argv[1:])
