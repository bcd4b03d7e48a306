"""A review's finding: a server that was too busy to answer a probe lost its socket's path to the next one."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from pathlib import Path

import pytest

from extauthz.errors import ExtauthzError
from extauthz.transport import choose

pytestmark = pytest.mark.attack


@pytest.fixture
def path():
    with tempfile.TemporaryDirectory(prefix="xa-") as folder:
        yield Path(folder) / "a.sock"


@contextlib.contextmanager
def bound(path, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_UNIX, kind) as made:
        made.bind(str(path))
        yield made


def test_a_busy_servers_socket_is_not_taken(path):
    with bound(path) as server, contextlib.ExitStack() as callers:
        server.listen(0)
        with contextlib.suppress(BlockingIOError):
            for _ in range(8):  # its backlog is full then
                caller = callers.enter_context(socket.socket(socket.AF_UNIX))
                caller.setblocking(False)
                caller.connect(str(path))
        with pytest.raises(ExtauthzError, match="cannot listen on"):
            choose.listen(f"unix://{path}")
        assert path.is_socket()
        server.accept()[0].close()


def test_a_socket_of_another_kind_is_not_taken(path):
    with bound(path, socket.SOCK_DGRAM), pytest.raises(ExtauthzError, match="cannot listen on"):
        choose.listen(f"unix://{path}")
    assert path.is_socket()


def test_a_link_is_not_followed(path):
    target = path.with_name("target.sock")
    with bound(target):
        pass
    path.symlink_to(target)
    with pytest.raises(ExtauthzError, match="is no socket"):
        choose.listen(f"unix://{path}")
    assert target.is_socket()
    assert path.is_symlink()
