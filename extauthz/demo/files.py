"""The files that are shipped beside the code, and the substitution that fills them in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import extauthz
from extauthz.errors import ExtauthzError, MissingPart

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACEHOLDER: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
PACKAGE: Final = Path(extauthz.__file__).resolve().parent


def shared(name: str) -> Path:
    """The folder `envoy` or `policies`: of the installed package, else of the source tree. Raises MissingPart."""
    for folder in (PACKAGE / "_share" / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise MissingPart(f"the folder {name}/", "install the extauthz package again, or run in its source tree")


def render(text: str, values: Mapping[str, str]) -> str:
    """`text` with each `${NAME}` replaced. Raises ExtauthzError for a name without a value."""
    if missing := sorted(set(_PLACEHOLDER.findall(text)) - values.keys()):
        raise ExtauthzError(f"no value for {', '.join(missing)}")
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def placeholders(text: str) -> frozenset[str]:
    return frozenset(_PLACEHOLDER.findall(text))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, at once and whole: beside, then renamed over the old one."""
    beside = path.with_name(f".{path.name}.new")
    beside.touch(mode=0o600)
    beside.write_bytes(content)
    beside.replace(path)
