"""Prometheus' own tool, for rules and queries."""

from __future__ import annotations

import shutil

from extauthz.errors import MissingPart

PACKAGE = "prometheus"
"""Debian's and Ubuntu's package, which brings promtool."""


def find_promtool() -> str:
    """The program's path. Raises MissingPart."""
    found = shutil.which("promtool")
    if found is None:
        raise MissingPart("promtool", f"install the Debian package {PACKAGE}, or put promtool of Prometheus on PATH")
    return found
