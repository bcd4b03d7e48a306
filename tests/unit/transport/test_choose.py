import socket
import tempfile
from pathlib import Path

import pytest

from extauthz.errors import ExtauthzError, MissingPart
from extauthz.transport import choose, envoy
from extauthz.transport.settings import ServerSettings


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="xa-") as name:
        yield Path(name)


def test_a_port_is_kept_and_can_be_shared():
    address, kept = choose.reserve("127.0.0.1:0")
    host, port = address.rsplit(":", 1)
    with kept, socket.socket() as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind((host, int(port)))
        worker.listen()
        with pytest.raises(ExtauthzError, match="cannot listen on"):
            choose.reserve(address)


def test_an_ipv6_address_keeps_its_brackets():
    address, kept = choose.reserve("[::1]:0")
    kept.close()
    assert address.startswith("[::1]:")


@pytest.mark.parametrize("address", ["no.such.host.invalid:1", "203.0.113.1:9191"])
def test_an_address_that_is_not_ours(address):
    with pytest.raises(ExtauthzError, match="cannot listen on"):
        choose.reserve(address)
    with pytest.raises(ExtauthzError, match="cannot listen on"):
        choose.listen(address)


def test_a_dead_socket_file_is_replaced_and_a_live_one_is_not(folder):
    address = f"unix://{folder}/check.sock"
    first = choose.listen(address)
    with pytest.raises(ExtauthzError, match="something listens there already"):
        choose.reserve(address)
    first.close()
    assert choose.reserve(address) == (address, None)
    assert not (folder / "check.sock").exists()


def test_other_files_and_missing_directories_are_left_alone(folder):
    (folder / "file").write_text("precious")
    with pytest.raises(ExtauthzError, match="no socket"):
        choose.reserve(f"unix://{folder}/file")
    assert (folder / "file").read_text() == "precious"
    with pytest.raises(ExtauthzError, match="directory does not exist"):
        choose.reserve(f"unix://{folder}/missing/check.sock")


def test_a_listening_socket_of_ours_is_not_open_to_all(folder):
    with choose.listen(f"unix://{folder}/http.sock"):
        assert (folder / "http.sock").stat().st_mode & 0o777 == 0o660


def test_auto_takes_envoy_where_it_can(monkeypatch):
    monkeypatch.setattr(envoy, "check_available", lambda: None)
    assert choose.transport(ServerSettings()) == ("envoy", "")
    assert choose.transport(ServerSettings(transport="envoy")) == ("envoy", "")
    assert choose.transport(ServerSettings(transport="grpcio")) == ("grpcio", "")


def test_auto_falls_back_and_says_why_and_envoy_does_not(monkeypatch):
    def missing():
        raise MissingPart("a shared libpython", "build one")

    monkeypatch.setattr(envoy, "check_available", missing)
    assert choose.transport(ServerSettings()) == ("grpcio", "a shared libpython is missing: build one")
    with pytest.raises(MissingPart):
        choose.transport(ServerSettings(transport="envoy"))


@pytest.mark.parametrize("package", ["pyvoy", "envoy"])
def test_a_missing_package_is_named(monkeypatch, package):
    find = envoy.importlib.util.find_spec
    monkeypatch.setattr(envoy.importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(MissingPart, match="pip install"):
        envoy.check_available()


def test_a_python_without_a_shared_library_is_named(monkeypatch):
    monkeypatch.setattr(envoy, "environment", lambda: {"LD_PRELOAD": "/no/such/libpython.so"})
    with pytest.raises(MissingPart, match="enable-shared"):
        envoy.check_available()
