"""Where everything of one run stands: folders, sockets, ports."""

from __future__ import annotations

import socket
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.demo.zones import EDGE, ZONES, Zone
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK: Final = "127.0.0.1"
AUTHORITY_HOST: Final = "localhost"
_ROOT: Final = 50
"""Bytes that the run folder's path may have: a socket's holds 104 on macOS, and parts make folders of their own."""


@dataclass(frozen=True, slots=True)
class ZoneLayout:
    """`root` is the zone's folder; `port` is where its Envoy listens."""

    zone: Zone
    root: Path
    port: int

    @property
    def access_log(self) -> Path:
        return self.root / "access.log"

    @property
    def records(self) -> Path:
        return self.root / "records.jsonl"

    def socket(self, name: str) -> Path:
        """`admin`, `agent`, `check`, `http`, `service` or `egress`."""
        return self.root / f"{name}.sock"


@dataclass(frozen=True, slots=True)
class Layout:
    root: Path
    zones: dict[str, ZoneLayout]
    authority_port: int
    catalogue_port: int

    @property
    def authority(self) -> str:
        """The authority's URL, and the `iss` of its tokens."""
        return f"https://{AUTHORITY_HOST}:{self.authority_port}"

    @property
    def authority_root(self) -> Path:
        """The authority's folder."""
        return self.root / "authority"

    @property
    def authority_admin(self) -> Path:
        """The Unix socket of its operator's verbs."""
        return self.authority_root / "admin.sock"

    @property
    def catalogue(self) -> str:
        return f"http://{LOOPBACK}:{self.catalogue_port}"

    def zone(self, zone: Zone) -> ZoneLayout:
        return self.zones[zone.name]

    @property
    def trust(self) -> Path:
        """PEM file with the certificates of the trust domain's authorities, as agents and clients start with them."""
        return self.root / "trust.pem"

    @property
    def public(self) -> Path:
        """The folder of the lab's public files: its trust bundle and keys that verify its tokens."""
        return self.root

    @property
    def log(self) -> Path:
        """The folder of the logs."""
        return self.root / "log"

    @property
    def temporary(self) -> Path:
        """Where the parts put their own temporary files."""
        return self.root / "t"


def short_folder() -> str:
    """The folder for temporary files, or /tmp where that one's path is too long for sockets below it (macOS)."""
    usual = tempfile.gettempdir()
    return usual if len(usual.encode()) <= _ROOT // 2 else "/tmp"  # noqa: S108 - mkdtemp makes a private folder there


def plan(root: Path, edge_port: int = 0) -> Layout:
    """Choose ports and make the folders. Raises ExtauthzError when a port is taken or a path is too long."""
    if len(str(root).encode()) > _ROOT:
        raise ExtauthzError(f"{root} is too long for the path of a Unix socket: set TMPDIR to a shorter folder")
    # All ports are held until all are chosen, so that they differ.
    with ExitStack() as held:
        ports = {zone.name: _port(held, edge_port if zone is EDGE else 0) for zone in ZONES}
        authority, catalogue = _port(held, 0), _port(held, 0)
    zones = {zone.name: ZoneLayout(zone, root / zone.name, ports[zone.name]) for zone in ZONES}
    layout = Layout(root, zones, authority, catalogue)
    for folder in (layout.authority_root, *(place.root for place in zones.values())):
        folder.mkdir(mode=0o700)
    layout.log.mkdir(mode=0o700)
    layout.temporary.mkdir(mode=0o700)
    return layout


def _port(held: ExitStack, wanted: int) -> int:
    listener = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, wanted))
        listener.listen()
    except OSError as error:
        raise ExtauthzError(f"port {wanted} cannot be used: {error.strerror}; choose another with --port") from None
    port: int = listener.getsockname()[1]
    return port
