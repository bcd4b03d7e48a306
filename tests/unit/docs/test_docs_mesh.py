"""docs/bring-your-own-mesh.md: each mesh's extauthz.yaml is a configuration that loads, and SPIRE's names are ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from extauthz.config import load_text
from extauthz.sds import names
from tests.support import pages

PAGE = Path(__file__).parents[3] / "docs" / "bring-your-own-mesh.md"
MESHES = ("spire", "istio", "envoy-gateway")


def test_the_page_shows_every_mesh() -> None:
    assert tuple(block.what for block in pages.blocks(PAGE)) == MESHES


@pytest.mark.parametrize("mesh", MESHES)
def test_its_configuration_loads(mesh: str) -> None:
    (shown,) = (block for block in pages.blocks(PAGE) if block.what == mesh)
    assert len(load_text(shown.text).routes) == 1


def test_the_names_of_secrets_are_spires() -> None:
    shown = PAGE.read_text()
    for name in names.NAMES:
        assert f"`{name}`" in shown
