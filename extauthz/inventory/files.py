"""Reads the configurations of a platform, and gives each a name that an inventory can use.

A name is the labels of its records (`zone: edge` → `edge`), or else the file's own, or its folder's where the file is
called like everybody's (`extauthz.yaml`). Names that meet are told apart by a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.authn import api_key_file
from extauthz.authn.files import WatchedFile
from extauthz.config import load
from extauthz.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extauthz.authn.api_key_settings import ApiKeyRow
    from extauthz.clock import Clock
    from extauthz.config import Config

_USUAL: Final = frozenset({"extauthz", "agent", "authority", "config"})


@dataclass(frozen=True, slots=True)
class Source:
    """One configuration. `api_keys` are the rows of the file that it names; `gaps`: what of it could not be read."""

    name: str
    config: Config
    api_keys: tuple[ApiKeyRow, ...] = ()
    gaps: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        """What the file configures: `authority`, `agent`, else a `server`, also beside them where it has routes."""
        config = self.config
        found = ["authority"] if config.authority else []
        found += ["agent"] if config.agent else []
        return (*found, "server") if config.routes or config.policy.compat or not found else tuple(found)


def read(paths: Iterable[Path], clock: Clock) -> tuple[Source, ...]:
    """Every configuration. Raises ConfigError; a file of API keys that cannot be read is a gap."""
    taken: dict[str, int] = {}
    found = []
    for path in paths:
        config = load(path)
        wanted = _name(path, config)
        taken[wanted] = number = taken.get(wanted, 0) + 1
        rows, gaps = _api_keys(config, clock)
        name = wanted if number == 1 else f"{wanted}-{number}"
        found.append(Source(name, config, rows, tuple(f"{name}: {gap}" for gap in gaps)))
    return tuple(found)


def _name(path: Path, config: Config) -> str:
    role = "agent" if config.agent is not None and not config.routes else ""
    if config.authority is not None and not config.routes:
        return "authority"
    labels = "-".join(value for _, value in sorted(config.telemetry.records.labels.items()))
    stem = path.stem if path.stem not in _USUAL else Path(path.absolute().parent).name
    return labels or "-".join(part for part in (stem, role) if part)


def _api_keys(config: Config, clock: Clock) -> tuple[tuple[ApiKeyRow, ...], tuple[str, ...]]:
    file = config.api_keys.file
    if file is None:
        return (), ()
    try:
        content = WatchedFile(file).changed() or b""
        return api_key_file.parse(content, str(file), now=clock.now(), max_keys=config.api_keys.max_keys), ()
    except ConfigError:
        return (), ("the file of api_keys cannot be read: no key is listed (see `extauthz api-key check`)",)
