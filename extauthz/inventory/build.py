"""Configurations in, an inventory out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.inventory import issuing, servers
from extauthz.inventory.model import Data, File, Inventory, Path, Trust
from extauthz.inventory.principals import principals
from extauthz.inventory.standing import standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from extauthz.clock import Clock
    from extauthz.inventory.files import Source


def build(sources: Sequence[Source], clock: Clock) -> Inventory:
    """Equal configurations give equal inventories, apart from how long API keys still live."""
    minted = issuing.minted(sources)
    paths = tuple(path for source in sources for path in servers.paths(source, minted))
    return Inventory(
        files=tuple(_file(source) for source in sources),
        principals=principals(sources, paths),
        paths=paths,
        trust=tuple(word for source in sources for word in _trust(source)),
        data=_data(paths),
        standing=tuple(one for source in sources for one in standing(source, clock.now())),
        gaps=tuple(gap for source in sources for gap in (*source.gaps, *_gaps(source))),
    )


def _file(source: Source) -> File:
    config = source.config
    labels = tuple(sorted(config.telemetry.records.labels.items()))
    return File(source.name, source.roles, config.environment, config.digest, labels)


def _trust(source: Source) -> Iterator[Trust]:
    config = source.config
    if "server" in source.roles:
        yield from servers.trust(source)
    if config.authority is not None:
        yield from issuing.trust(source, config.authority)
    if config.agent is not None:
        yield Trust(source.name, "authority", config.agent.authority, "certificates in a file, at the start")


def _data(paths: Sequence[Path]) -> tuple[Data, ...]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for path in paths:
        found.setdefault((path.resource, path.action, path.access), []).append(path.id)
    return tuple(Data(*key, tuple(sorted(ids))) for key, ids in sorted(found.items()))


def _gaps(source: Source) -> Iterator[str]:
    config = source.config
    if config.policy.compat:
        yield f"{source.name}: policy.compat: its policy alone says who may do what; no path of it is listed"
    if config.api.authzen is not None:
        yield f"{source.name}: api.authzen: its callers ask about requests that never come here"
