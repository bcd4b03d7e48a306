"""The options of `extauthz serve`: they say instead of the file, and are held to the file's rules."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from extauthz.cli.serve import allowed, override
from extauthz.config import load_text
from extauthz.errors import ConfigError
from extauthz.transport.settings import ServerSettings


def test_what_the_command_line_says_goes_before_the_file() -> None:
    server = override(load_text("server: { workers: 2 }").server, {"workers": 3, "listen": "127.0.0.1:9999"})
    assert (server.workers, server.listen, server.http) == (3, "127.0.0.1:9999", "127.0.0.1:9190")


@pytest.mark.parametrize(
    "wanted", [{"listen": "nowhere"}, {"workers": 0}, {"listen": "unix:///run/x.sock", "workers": 2}]
)
def test_a_wrong_command_line_is_told(wanted: dict[str, Any]) -> None:
    with pytest.raises(typer.BadParameter):
        override(ServerSettings(), wanted)


def test_no_option_gets_around_a_rule() -> None:
    config = load_text("")
    with pytest.raises(ConfigError, match=r"command line: server\.listen: Checks are taken in clear text"):
        allowed(config, override(config.server, {"listen": "0.0.0.0:9191"}))
    local = override(config.server, {"listen": "127.0.0.1:9292"})
    assert allowed(config, local) is local
