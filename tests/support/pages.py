"""Code blocks of a page in docs/ that tests run or compare: each follows a comment `<!-- test: KIND [WHAT] -->`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = re.compile(
    r"^<!-- test: (?P<kind>\w+)(?: (?P<what>\S+))? -->\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    kind: str
    what: str
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = [Block(match["kind"], match["what"] or "", match["text"]) for match in _BLOCK.finditer(text)]
    assert len(found) == text.count("<!-- test: "), "a comment without a block, or a block without an end"
    return found
