from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from extauthz.errors import ConfigError
from extauthz.transport.certificate import not_after
from tests.support.certs import EPOCH, TestCa

if TYPE_CHECKING:
    from pathlib import Path


def test_the_end_of_the_leaf(tmp_path: Path) -> None:
    ca = TestCa()
    file = tmp_path / "chain.pem"
    file.write_text(ca.leaf("spiffe://bank.example/a", not_after=EPOCH + 77).pem + ca.pem)
    assert not_after(file) == EPOCH + 77


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_that_is_no_certificate_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "chain.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"chain\.pem: server\.tls\.certificate"):
        not_after(file)
