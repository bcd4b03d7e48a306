import pytest
from pydantic import ValidationError

from extauthz.transport.settings import ServerSettings, host_port, unix_path


def test_defaults_are_local_and_bounded():
    settings = ServerSettings()
    assert (settings.listen, settings.http, settings.workers) == ("127.0.0.1:9191", "127.0.0.1:9190", 1)
    assert (settings.drain, settings.max_check, settings.max_deadline) == (10.0, 4 * 1024 * 1024, 0.5)
    assert settings.tls is None


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:9191", "localhost:65535", "unix:///run/check.sock"])
def test_addresses(address):
    assert ServerSettings(listen=address).listen == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "9191",
        ":9191",
        "host:",
        "host:65536",
        "host:port",
        "unix://",
        "unix://relative",
        "unix:///dir/",
        "http://a:1",
        "unix:///" + "a" * 100,
        "::1:9191",
        "a b:1",
    ],
)
def test_what_is_no_address(address):
    with pytest.raises(ValidationError):
        ServerSettings(listen=address)


def test_a_unix_socket_takes_one_worker():
    with pytest.raises(ValidationError, match="set workers to 1"):
        ServerSettings(listen="unix:///run/check.sock", workers=2)


def test_the_two_addresses_differ():
    with pytest.raises(ValidationError, match="same address"):
        ServerSettings(listen="127.0.0.1:9190")
    assert ServerSettings(listen="127.0.0.1:0", http="127.0.0.1:0").workers == 1


@pytest.mark.parametrize("bad", [{"drain": "2h"}, {"max_check": "1B"}, {"max_deadline": "0ms"}, {"workers": 0}])
def test_limits_have_limits(bad):
    with pytest.raises(ValidationError):
        ServerSettings(**bad)


def test_parts_of_addresses():
    assert host_port("[::1]:9191") == ("::1", 9191)
    assert host_port("localhost:1") == ("localhost", 1)
    assert unix_path("unix:///run/a.sock") == "/run/a.sock"
    assert unix_path("localhost:1") == ""
