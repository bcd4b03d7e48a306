"""Which workloads fit which: SPIFFE IDs in which `*` or a hole like `{k8s.ns}` stands for one whole path segment.

`meets` asks of two patterns whether one ID can be both. It is generous where two patterns overlap: an inventory that
names a path too many is looked at, one that leaves a path out is believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from extauthz.config import Config

_SCHEME: Final = "spiffe://"
_ANY_ENVIRONMENT: Final = "*"


def wild(segment: str) -> bool:
    return segment == "*" or segment.startswith("{")


def many(spiffe_id: str) -> bool:
    """Whether it stands for more than one workload."""
    return any(map(wild, _parts(spiffe_id)))


def meets(one: str, other: str) -> bool:
    left, right = _parts(one), _parts(other)
    return len(left) == len(right) and all(a == b or wild(a) or wild(b) for a, b in zip(left, right, strict=True))


def admitted(config: Config, spiffe_id: str) -> bool:
    """Whether the server's `workload` settings can let this workload in at all, whatever the route says.

    1. its trust domain is trusted
    2. a path template fits it
    3. it is registered, where there is a list
    4. its environment may call
    """
    settings = config.workload
    domain, *segments = _parts(spiffe_id)
    trusted = settings.trust_domains.get(domain)
    if trusted is None:  # 1
        return False
    template = next((one for one in map(_template, settings.id_templates) if _fits(one, segments)), None)
    if template is None:  # 2
        return False
    if settings.registered is not None and not any(meets(spiffe_id, one) for one in settings.registered):  # 3
        return False
    allowed = settings.environments or (config.environment,)
    if _ANY_ENVIRONMENT in allowed:
        return True
    found = dict(zip(template, segments, strict=True)).get("{environment}", trusted.environment)
    return bool(found) and (wild(found) or found in allowed)  # 4


def _parts(spiffe_id: str) -> list[str]:
    return spiffe_id.removeprefix(_SCHEME).split("/")


def _template(template: str) -> list[str]:
    return template.removeprefix("/").split("/")


def _fits(template: list[str], segments: list[str]) -> bool:
    return len(template) == len(segments) and all(
        wild(part) or wild(segment) or part == segment for part, segment in zip(template, segments, strict=True)
    )
