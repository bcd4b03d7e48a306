"""Where a token comes from: stdin, or a file. Bounded, and never from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from extauthz.authn.jose import MAX_TOKEN

Token = Annotated[str, typer.Argument(help="`-`: the token comes on stdin; `@path`: from a file.", show_default=True)]
STDIN: Final = "-"
MAX_FILE: Final = 64 * 1024


def fail(text: str, code: int = 1) -> NoReturn:
    """In one line on stderr."""
    print(f"extauthz token: {text}", file=sys.stderr)
    raise typer.Exit(code)


def token_of(argument: str) -> str:
    """The token, without white space around it and without `Bearer `. It may have any form."""
    if argument == STDIN:
        raw = sys.stdin.buffer.read(2 * MAX_TOKEN + 1)
    elif argument.startswith("@"):
        raw = _bytes(Path(argument[1:]), 2 * MAX_TOKEN)
    else:
        fail("a token on the command line is seen by everybody on this machine: use stdin, or @path", 2)
    if len(raw) > 2 * MAX_TOKEN:
        fail(f"more than {2 * MAX_TOKEN} bytes are no token", 2)
    text = raw.decode("ascii", "replace").strip()
    if text[:7].lower() == "bearer ":
        text = text[7:].strip()
    if not text:
        fail("there is no token on stdin" if argument == STDIN else "the file is empty", 2)
    return text


def file_of(path: Path) -> bytes:
    """A small file, such as a certificate or a key."""
    return _bytes(path, MAX_FILE)


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}", 2)
    if len(content) > most:
        fail(f"{path} is larger than {most} bytes", 2)
    return content
