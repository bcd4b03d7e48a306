"""A policy with parts of its data replaced, for a decision case that asks what would be with other data."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import orjson
import yaml

from extauthz.errors import ConfigError, ConfigProblem
from extauthz.policy.loader import DATA_FILES, PolicyFiles, revision_of

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DEPTH: Final = 64


class _Loader(yaml.SafeLoader):
    """Dates stay text, as OPA reads them."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own shape
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def data_of(policy: PolicyFiles) -> dict[str, Any]:
    """All the policy's data as one tree, below `data`. Raises ConfigError."""
    tree: dict[str, Any] = {}
    for name, content in policy.files.items():
        place = PurePosixPath(name)
        if place.name not in DATA_FILES:
            continue
        holder = tree
        for part in place.parent.parts:
            holder = holder.setdefault(part, {})
        merge(holder, _read(policy, name, content))
    return tree


def with_data(policy: PolicyFiles, data: Mapping[str, Any]) -> PolicyFiles:
    """The same rules on other data: objects are merged, anything else is replaced. Raises ConfigError."""
    tree = data_of(policy)
    merge(tree, data)
    files = {name: text for name, text in policy.files.items() if PurePosixPath(name).name not in DATA_FILES}
    files["data.json"] = orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)
    return PolicyFiles(policy.root, files, revision_of(files))


def merge(into: dict[str, Any], changes: Mapping[str, Any], depth: int = 0) -> None:
    for key, value in changes.items():
        below = into.get(key)
        if isinstance(below, dict) and isinstance(value, dict) and depth < MAX_DEPTH:
            merge(below, value, depth + 1)
        else:
            into[key] = value


def _read(policy: PolicyFiles, name: str, content: bytes) -> dict[str, Any]:
    try:
        loaded = (
            orjson.loads(content) if name.endswith(".json") else yaml.load(content, Loader=_Loader)  # noqa: S506 - a SafeLoader
        )
    except (orjson.JSONDecodeError, yaml.YAMLError, ValueError, RecursionError):
        loaded = None
    if not isinstance(loaded, dict):
        raise ConfigError(
            (ConfigProblem(str(policy.root / name), 0, "", "is not a mapping of data", "correct the file"),)
        )
    return loaded
