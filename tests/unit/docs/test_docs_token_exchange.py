"""docs/token-exchange.md: what it shows is a configuration that loads, and its codes are ours."""

from __future__ import annotations

import re
from pathlib import Path

from extauthz.codes import CODES, http_status
from extauthz.config import load_text
from tests.support import pages

PAGE = Path(__file__).parents[3] / "docs" / "token-exchange.md"


def test_the_page_shows_a_configuration_that_loads() -> None:
    (shown,) = pages.blocks(PAGE)
    config = load_text(shown.text)
    (route,) = config.routes
    assert config.identity is not None
    assert config.sts is not None
    assert route.exchange is not None
    assert (route.caller, route.exchange.purpose) == ("self", "payment")


def test_its_codes_have_the_statuses_that_it_says() -> None:
    rows = re.findall(r"^\| `([a-z]+\.[a-z_]+)` \| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 5
    for code, status in rows:
        assert code in CODES
        assert http_status(code) == int(status)
