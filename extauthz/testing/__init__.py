"""For projects that test their policy on the real Check server: see docs/integration-testing.md.

`extauthz.testing.plugin` is the pytest plugin; its fixture `extauthz` is a `CheckServer`. Without pytest, `serving`
starts one and `connect` takes one that runs already (in Docker Compose, for example).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from extauthz.testing.answers import Answer, Question
    from extauthz.testing.asserts import assert_allowed, assert_denied, explain
    from extauthz.testing.credentials import Peer
    from extauthz.testing.folder import Change, Folder, prepare
    from extauthz.testing.server import CheckServer, connect, serving

__all__ = [
    "Answer",
    "Change",
    "CheckServer",
    "Folder",
    "Peer",
    "Question",
    "assert_allowed",
    "assert_denied",
    "connect",
    "explain",
    "prepare",
    "serving",
]

_HOME: Final = {
    "answers": ("Answer", "Question"),
    "asserts": ("assert_allowed", "assert_denied", "explain"),
    "credentials": ("Peer",),
    "folder": ("Change", "Folder", "prepare"),
    "server": ("CheckServer", "connect", "serving"),
}
"""Module → what it gives. Imported when it is used: pytest loads the plugin, and so this file, in every run."""


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
