from __future__ import annotations

import pytest
from pydantic import ValidationError

from extauthz.policy.settings import PolicySettings


def test_an_opa_of_ones_own_is_on_this_machine():
    for address in ("unix:///run/opa.sock", "http://127.0.0.1:8181", "http://localhost:1", "http://[::1]:65535"):
        assert PolicySettings(sidecar={"supervise": False, "address": address}).sidecar.address == address


@pytest.mark.parametrize(
    "sidecar",
    [
        {"supervise": False},
        {"address": "unix:///run/opa.sock"},
        {"supervise": False, "address": "http://opa.example:8181"},
        {"supervise": False, "address": "https://127.0.0.1:8181"},
        {"supervise": False, "address": "http://127.0.0.1:0"},
        {"supervise": False, "address": "http://127.0.0.1:65536"},
        {"supervise": False, "address": "unix://" + "/x" * 80},
        {"supervise": False, "address": "unix://relative"},
        {"pool": 0},
        {"timeout": "0s"},
        {"timeout": 1},
    ],
)
def test_contradictions_in_the_settings_are_refused(sidecar):
    with pytest.raises(ValidationError):
        PolicySettings(sidecar=sidecar)
