"""docs/rollout.md, docs/authzen.md and docs/tickets.md: their files are written, their server is started, their commands are run.

`file NAME` writes, `serve` starts the server, `run` runs a script, `says` is what that script's output must hold: each line,
`…` standing for anything. A script whose output is not there yet is run again: comparing happens off the path.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from extauthz.cli.policy import VERBS
from tests.support import pages, parts
from tests.support.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[3] / "docs"
pytestmark = [pytest.mark.opa, pytest.mark.embedded]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a Unix socket's name is bounded."""
    parts.require_opa()
    parts.require_embedded()
    with tempfile.TemporaryDirectory(prefix="xa-") as name:
        yield Path(name)


@pytest.mark.parametrize("page", ["rollout.md", "authzen.md", "tickets.md"])
def test_the_page_works_as_it_stands(folder: Path, page: str) -> None:
    parts.require_curl()
    reader = Reader(folder)
    found = pages.blocks(DOCS / page)
    assert {block.kind for block in found} == {"file", "serve", "run", "says"}
    try:
        for block, following in zip(found, [*found[1:], None], strict=True):
            if block.kind == "file":
                reader.write(block.what, block.text)
            elif block.kind == "serve":
                reader.serve(block.text)
            elif block.kind == "run" and following is not None and following.kind == "says":
                reader.sees(block.text, following.text)
            elif block.kind == "run":
                reader.run(block.text)
    finally:
        reader.leave()
    if page == "rollout.md":
        kinds = {json.loads(line)["type"] for line in (folder / "records.jsonl").read_text().splitlines()}
        assert kinds == {"check", "comparison"}


@pytest.mark.parametrize("page", ["rollout.md", "authzen.md", "tickets.md", "adr/0006-staged-rollout.md"])
def test_every_link_and_verb_is_there(page: str) -> None:
    text = (DOCS / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (DOCS / page).parent.joinpath(link).exists(), link
    for verb in re.findall(r"`?extauthz policy ([a-z]+)", text):
        assert verb in {*VERBS, "diff", "replay"}, verb
