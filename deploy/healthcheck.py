"""Is a part of the platform well? `healthcheck.py WHAT [TRUST]`, exit code 0 or 1; the standard library only.

WHAT is `http://host:port/path` (answers 200), the same with https (TRUST is the PEM file with those who vouch for it),
`tcp:host:port` or `unix:/path` (somebody listens).
"""  # noqa: INP001 - a script of the image, not a package

import socket
import ssl
import sys
import urllib.request
from http import HTTPStatus

_TIMEOUT = 2.0


def listens(family: socket.AddressFamily, address: "str | tuple[str, int]") -> bool:
    with socket.socket(family) as probe:
        probe.settimeout(_TIMEOUT)
        return probe.connect_ex(address) == 0


def well(what: str, trust: "str | None" = None) -> bool:
    kind, _, rest = what.partition(":")
    if kind == "unix":
        return listens(socket.AF_UNIX, rest)
    if kind == "tcp":
        host, _, port = rest.rpartition(":")
        return listens(socket.AF_INET, (host, int(port)))
    handlers = [urllib.request.ProxyHandler({})]
    if kind == "https":
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=trust)))
    with urllib.request.build_opener(*handlers).open(what, timeout=_TIMEOUT) as answer:
        return bool(answer.status == HTTPStatus.OK)


if __name__ == "__main__":
    try:
        sys.exit(0 if well(*sys.argv[1:3]) else 1)
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
