from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from extauthz.authn.revocation import Revocations
from extauthz.authn.revocation_file import read
from extauthz.authn.settings import RevocationSettings
from extauthz.errors import ConfigError
from extauthz.model import Workload

if TYPE_CHECKING:
    from pathlib import Path


def revocations(file: Path, content: str) -> Revocations:
    file.write_text(content)
    return Revocations(RevocationSettings(file=file))


def asks(found: Revocations, jti: str = "t", sub: str = "s", kid: str = "k", issued_at: float = 100.0) -> bool:
    return found.token(digest="d", jti=jti, sub=sub, kid=kid, issued_at=issued_at)


def test_without_a_file_nothing_is_revoked() -> None:
    found = Revocations(RevocationSettings())
    assert not asks(found, "", "", "")
    assert not found.workload(Workload("spiffe://a/b", "a"))
    assert not found.reload()
    assert found.epoch == 0


def test_the_epoch_moves_with_each_change(tmp_path: Path) -> None:
    file = tmp_path / "revoked.yaml"
    found = revocations(file, "jti: [t]")
    assert asks(found)
    assert not found.reload()
    assert found.epoch == 0
    file.write_text("sub: {s: 99}")
    assert found.reload()
    assert found.epoch == 1
    assert not asks(found)
    assert asks(found, issued_at=99)
    assert asks(found, issued_at=0)


@pytest.mark.parametrize("broken", ["{", "jti: x", "jti: [1]", "jti: ['']", "other: []", "[]", "sub: {s: true}", None])
def test_a_broken_file_keeps_what_was_revoked(broken: str | None, tmp_path: Path) -> None:
    file = tmp_path / "revoked.yaml"
    found = revocations(file, "jti: [t]")
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    assert not found.reload()
    assert "revoked.yaml" in found.problem
    assert found.epoch == 0
    assert asks(found)
    file.write_text("jti: []")
    assert found.reload()
    assert found.problem == ""
    assert not asks(found)


def test_a_broken_file_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a list of strings"):
        revocations(tmp_path / "revoked.yaml", "kid: {a: 1}")
    with pytest.raises(ConfigError, match="cannot be read"):
        Revocations(RevocationSettings(file=tmp_path / "none.yaml"))


@pytest.mark.parametrize("value", [".nan", "-1", "2026-01-01", "'100'"])
def test_a_time_that_would_revoke_nothing_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unix seconds"):
        read(f"sub: {{s: {value}}}".encode(), tmp_path / "x")


def test_an_empty_file_is_an_empty_list(tmp_path: Path) -> None:
    assert not asks(revocations(tmp_path / "revoked.json", ""))


def test_the_empty_certificate_is_nobodys(tmp_path: Path) -> None:
    found = revocations(tmp_path / "revoked.json", '{"workload": ["spiffe://a/c"]}')
    assert not found.workload(Workload("spiffe://a/b", "a"))
    assert found.workload(Workload("spiffe://a/c", "a"))
