"""Where the native parts are: the `opa` tool and OPA as a C library, as `native/build.py` builds them.

Only that build is used, never an OPA that happens to be on PATH: the tool says what a policy reads
(`extauthz-analyse`) and ends with its parent, and both parts must be the same OPA version.
"""

from __future__ import annotations

import os
import runpy
from functools import cache
from pathlib import Path
from typing import Final

from extauthz.errors import MissingPart

REMEDY: Final = "run `make native` (it needs Python and a network, nothing else)"
_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def _build() -> dict[str, object]:
    """The names of the build script, which alone decides where results go. Empty where the sources are not shipped."""
    for place in (_PACKAGE / "_share" / "native", _PACKAGE.parent / "native"):
        script = place / "build.py"
        if script.is_file():
            return runpy.run_path(str(script), run_name="extauthz_native_build")
    return {}


def _find(part: str, variable: str, file_key: str) -> Path:
    named = os.environ.get(variable)
    if named:
        if Path(named).is_file():
            return Path(named)
        raise MissingPart(part, f"{variable} names a file that does not exist; correct it, or {REMEDY}")
    names = _build()
    target, file = names.get("target"), names.get(file_key)
    if callable(target) and isinstance(file, str):
        place = Path(target()) / file
        if place.is_file():
            return place
    raise MissingPart(part, REMEDY)


def find_tool() -> Path:
    """The `opa` tool: $EXTAUTHZ_OPA, else the build cache. Raises MissingPart."""
    return _find("the opa tool", "EXTAUTHZ_OPA", "TOOL")


def find_library() -> Path:
    """OPA as a C library: $EXTAUTHZ_OPA_LIB, else the build cache. Raises MissingPart."""
    return _find("OPA as a C library", "EXTAUTHZ_OPA_LIB", "LIBRARY")
