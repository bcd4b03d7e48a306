"""The process log and the last line of defence."""

from __future__ import annotations

import io
import json
import logging
import warnings
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.telemetry.logs import JsonFormatter, setup
from extauthz.telemetry.redact import plain, redact

if TYPE_CHECKING:
    from collections.abc import Iterator

JWT = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """The process log, caught; afterwards everything is as before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    caught = io.StringIO()
    setup("info", caught)
    yield caught
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.mark.parametrize(
    "text",
    [
        JWT,
        f"Bearer {JWT}",
        f"token={JWT}&x=1",
        f"got {JWT}, refused",
        JWT.rpartition(".")[0] + ".",
        f"{JWT}.e30.e30",
        "authorization: Bearer s3cr3t-opaque-token",
        "Authorization: Basic dXNlcjpwYXNz",
        "bearer  MIGHAgEAMBMGByqGSM49",
        '{"client_secret": "MIGHAgEAMBMGByqGSM49"}',
        "password=MIGHAgEAMBMGByqGSM49;",
        "x-api-key: MIGHAgEAMBMGByqGSM49",
        "refresh_token='MIGHAgEAMBMGByqGSM49'",
        "cookie: sid=MIGHAgEAMBMGByqGSM49",
        PEM,
        PEM[:60],
        PEM.replace(" ", "%20").replace("\n", "%0A"),
        f"two: {PEM} and {PEM}",
    ],
)
def test_secrets_are_stopped(text: str, stream: io.StringIO) -> None:
    logging.getLogger("any").warning("about %s", text)
    line = stream.getvalue()
    assert "redacted" in line
    for secret in ("MIGH", "eyJ", "s3cr3t", "dXNl", "c2ln"):
        assert secret not in line
    assert json.loads(line)["message"].startswith("about ")


@pytest.mark.parametrize(
    "text",
    [
        "route create-transfer allowed alice",
        "spiffe://bank.example/env/prod/ns/edge/sa/gateway",
        "token.expired: the token has expired",
        "keys of https://issuer.example could not be fetched",
        "",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert redact(text) == text


def test_a_line_is_json_with_time_level_and_logger(stream: io.StringIO) -> None:
    logging.getLogger("extauthz.x").info("hello %s", "wörld")
    entry = json.loads(stream.getvalue())
    assert set(entry) == {"timestamp", "level", "logger", "message"}
    assert (entry["level"], entry["logger"], entry["message"]) == ("info", "extauthz.x", "hello wörld")
    assert entry["timestamp"].endswith("+00:00")


def test_tracebacks_are_redacted(stream: io.StringIO) -> None:
    try:
        int(f"Bearer {JWT}")  # its message quotes the text
    except ValueError:
        logging.getLogger("x").exception("failed")
    entry = json.loads(stream.getvalue())
    assert "ValueError" in entry["error"]
    assert "eyJ" not in entry["error"]


def test_levels(stream: io.StringIO) -> None:
    logging.getLogger("x").debug("not this")
    logging.getLogger("httpx").info("GET https://crm.example/customers/alice")
    assert stream.getvalue() == ""
    setup("debug", stream)
    logging.getLogger("x").debug("this")
    assert stream.getvalue().count("\n") == 1


def test_warnings_are_log_lines(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("careful", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "careful" in json.loads(stream.getvalue())["message"]


def test_long_and_wrong_messages(stream: io.StringIO) -> None:
    logging.getLogger("x").info("%s Bearer %s", "x" * 100_000, JWT)
    assert len(stream.getvalue()) < 10_000
    entry = logging.LogRecord("x", logging.INFO, "", 0, "%d %d", ("a",), None)
    assert json.loads(JsonFormatter().format(entry))["message"].startswith("unreadable log message: TypeError")
    entry = logging.LogRecord("x", logging.INFO, "", 0, "\ud800", (), None)
    assert json.loads(JsonFormatter().format(entry))["message"] == "?"


@given(st.text(max_size=300))
def test_any_message_is_one_line(text: str) -> None:
    line = JsonFormatter().format(logging.LogRecord("x", logging.INFO, "", 0, "%s", (text,), None))
    assert "\n" not in line
    assert "message" in json.loads(line)


@given(st.text(max_size=300), st.integers(1, 50))
def test_plain_text_is_bounded_and_printable(text: str, most: int) -> None:
    got = plain(text, most)
    assert got.isprintable()
    assert len(got) <= most * 10
    if len(text) <= most and text.isprintable():
        assert got == text


def test_plain_keeps_what_it_escapes() -> None:
    assert plain("a\nb\x1b\u202e") == "a\\u000ab\\u001b\\u202e"
    assert plain("abcdef", 4) == "abc…"


def test_a_log_line_cannot_be_forged() -> None:
    entry = logging.LogRecord("x", logging.INFO, "", 0, "path %s", ('/a"}\n{"level":"critical"}\x1b[2J',), None)
    line = JsonFormatter().format(entry)
    assert "\n" not in line
    assert "\x1b" not in line
    assert json.loads(line)["level"] == "info"
