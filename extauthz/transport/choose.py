"""Which transport `auto` is, and the sockets that workers will share."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from extauthz.errors import ExtauthzError, MissingPart
from extauthz.transport import envoy
from extauthz.transport.settings import host_port, unix_path

if TYPE_CHECKING:
    from extauthz.transport.settings import ServerSettings


def transport(settings: ServerSettings) -> tuple[Literal["envoy", "grpcio"], str]:
    """The transport, and why it is not Envoy where `auto` had the choice. Raises MissingPart."""
    if settings.transport == "grpcio":
        return "grpcio", ""
    try:
        envoy.check_available()
    except MissingPart as missing:
        if settings.transport == "envoy":
            raise
        return "grpcio", str(missing)
    return "envoy", ""


def reserve(address: str) -> tuple[str, socket.socket | None]:
    """Makes sure that `address` is free, and keeps a TCP port for processes that share it.

    The address with its port filled in, and the socket that keeps it (bound, never listening; close it at the end).
    Raises ExtauthzError when something else listens there: with SO_REUSEPORT the kernel would silently split the calls.
    """
    if path := unix_path(address):
        free_unix(Path(path))
        return address, None
    host, port = host_port(address)
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            where = probe.getsockname()
        kept = _bound(family, where, socket.SO_REUSEPORT)
    except OSError as error:
        raise ExtauthzError(f"cannot listen on {address}: {error.strerror or error}") from None
    shown = f"[{where[0]}]" if family == socket.AF_INET6 else where[0]
    return f"{shown}:{where[1]}", kept


def listen(address: str, *, mode: int = 0o660) -> socket.socket:
    """A listening socket of our own; `mode` is a Unix socket's, set before anyone can connect. Raises ExtauthzError."""
    path = unix_path(address)
    try:
        if path:
            free_unix(Path(path))
            server = _bound(socket.AF_UNIX, path)
            Path(path).chmod(mode)
        else:
            host, port = host_port(address)
            family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            server = _bound(family, where)
        server.listen(128)
    except OSError as error:
        raise ExtauthzError(f"cannot listen on {address}: {error.strerror or error}") from None
    server.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return server


def _bound(family: int, where: Any, *options: int) -> socket.socket:
    made = socket.socket(family)
    try:
        for option in (socket.SO_REUSEADDR, *options):
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind(where)
    except BaseException:
        made.close()
        raise
    return made


def free_unix(path: Path) -> None:
    """Removes a socket that nobody listens on any more. Raises ExtauthzError for anything else in the way: also for a
    socket that does not answer now, which may be a server's that is busy, or another user's."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ExtauthzError(f"cannot listen on unix://{path}: it is there, and is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise ExtauthzError(f"cannot listen on unix://{path}: the directory does not exist") from None
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ExtauthzError(f"cannot listen on unix://{path}: {error.strerror or 'something is there'}") from None
    else:
        raise ExtauthzError(f"cannot listen on unix://{path}: something listens there already")
