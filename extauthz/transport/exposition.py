"""Metrics of several workers as one page: every sample gets a `worker` label, families are written once.

Works on Prometheus text format 0.0.4 and OpenMetrics 1.0 as our own workers write them; the `# EOF` of the latter is
left to the caller. Sources: prometheus.io/docs/instrumenting/exposition_formats, prometheus.io/docs/specs/om.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?(.*)")
_SUFFIX = re.compile(r"_(?:total|created|bucket|count|sum)$")


def merge(pages: Mapping[str, str]) -> str:
    """`pages`: the worker's name (it needs no escaping) to its page. Lines that are no samples are left out."""
    comments: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, page in pages.items():
        family = ""
        for line in page.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                family = line.split(" ", 3)[2]
                kept = comments.setdefault(family, [])
                if len(kept) < 2 and not any(line[:7] == old[:7] for old in kept):  # noqa: PLR2004 - one of each
                    kept.append(line)
            elif match := _SAMPLE.fullmatch(line):
                name, brace, rest = match.groups()
                of = family if family and name.startswith(_SUFFIX.sub("", family)) else name
                labels = f'{{worker="{worker}",{rest}' if brace else f'{{worker="{worker}"}}{rest}'
                samples.setdefault(of, []).append(name + labels)
    lines = [line for family, found in samples.items() for line in (*comments.get(family, ()), *found)]
    return "\n".join((*lines, ""))
