"""How values are spelled in messages: as the file would spell them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_TIMES: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SIZES: Final = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))

PARTS: Final = {
    "engine": "the policy engine",
    "attributes": "its attribute sources",
    "introspection": "introspection",
    "revocations": "revocations",
    "audit": "its audit record",
}
"""The parts of a failure plan."""
WITHOUT: Final = {
    ("engine", "open"): "let through, unjudged",
    ("engine", "degrade"): "decided by the last known good policy, in this process",
    ("attributes", "open"): "let through, unjudged",
    ("attributes", "degrade"): "decided by the policy, without their values",
    ("introspection", "open"): "let through, its token verified by nobody",
    ("revocations", "open"): "decided by what was known",
    ("audit", "open"): "let through, and the lost records are counted",
}
"""What a failure plan says other than `closed`, by part and word."""


def seconds(value: float) -> str:
    """A duration in seconds: `200ms`, `30s`, `5m`."""
    if value == 0:
        return "0"
    for unit, factor in _TIMES:
        if value >= factor and value % factor == 0:
            return f"{value / factor:g}{unit}"
    return f"{value:g}s" if value >= 1 else f"{value * 1000:g}ms"


def size(value: int) -> str:
    """A size in bytes: `512B`, `4MiB`."""
    for unit, factor in _SIZES:
        if value >= factor and value % factor == 0:
            return f"{value // factor}{unit}"
    return f"{value}B"


def listed(words: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    items = list(words)
    return f"{', '.join(items[:-1])} {last} {items[-1]}" if len(items) > 1 else "".join(items)


def is_loopback(host: str) -> bool:
    """Whether a host, without brackets, is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
