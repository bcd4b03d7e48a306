"""The files that a configuration names, and how relative paths in it become absolute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from extauthz.attributes.settings import HttpSource
from extauthz.audit.settings import AuditSettings
from extauthz.authn.settings import RevocationSettings
from extauthz.authority.settings import AuthoritySettings
from extauthz.policy.bundle_settings import BundleSettings
from extauthz.policy.rollout_settings import CandidateSettings
from extauthz.store.settings import SqliteStoreSettings
from extauthz.telemetry.settings import RecordSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEXT_PATHS: Final[dict[type[BaseModel], str]] = {
    HttpSource: "bearer_token_file",
    RecordSettings: "output",
    CandidateSettings: "state",
    BundleSettings: "keep",
}
"""Settings that hold a path as text: they may hold a word or nothing instead, or are written and never read first."""

_MADE_BY_US: Final[dict[type[BaseModel], frozenset[str]]] = {
    AuditSettings: frozenset({"directory", "key"}),
    AuthoritySettings: frozenset({"publish"}),
    RevocationSettings: frozenset({"snapshot"}),
    SqliteStoreSettings: frozenset({"path"}),
}
"""Paths of files that need not be there: they are made when they are needed."""


def resolved(value: Any, directory: Path) -> Any:
    """`value` with every relative path in it made absolute; the same object when there is none."""
    if isinstance(value, BaseModel):
        changed: dict[str, Any] = {}
        for name in type(value).model_fields:
            old = getattr(value, name)
            new = _text(value, name, old, directory) if isinstance(old, str) else resolved(old, directory)
            if new is not old:
                changed[name] = new
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, Path):
        return value if value.is_absolute() else directory / value
    if isinstance(value, tuple):
        items = tuple(resolved(item, directory) for item in value)
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, dict):
        pairs = {key: resolved(item, directory) for key, item in value.items()}
        return pairs if any(pairs[key] is not value[key] for key in pairs) else value
    return value


def _text(model: BaseModel, name: str, text: str, directory: Path) -> str:
    if _TEXT_PATHS.get(type(model)) != name or not text or text.startswith("/"):
        return text
    if isinstance(model, RecordSettings) and "/" not in text:
        return text  # stdout, stderr, none
    return str(directory / text)


def named_files(value: Any, location: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Path]]:
    """(place, path) of each file or directory that is read; a decision record's file is written, so it is not one."""
    if isinstance(value, Path):
        yield location, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            if name in _MADE_BY_US.get(type(value), ()):
                continue
            inner = getattr(value, name)
            if isinstance(value, HttpSource) and name == "bearer_token_file" and inner:
                inner = Path(inner)
            yield from named_files(inner, (*location, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from named_files(item, (*location, key))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from named_files(item, (*location, index))
