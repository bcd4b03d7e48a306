from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from extauthz.authn.files import MAX_BYTES, WatchedFile, watch
from extauthz.authn.settings import WorkloadSettings
from extauthz.authn.trust import TrustBundleFile
from extauthz.errors import ConfigError
from tests.support.certs import TestCa

if TYPE_CHECKING:
    from pathlib import Path


def test_only_news(tmp_path: Path) -> None:
    file = WatchedFile(tmp_path / "a")
    file.path.write_text("one")
    assert file.changed() == b"one"
    assert file.changed() is None
    (tmp_path / "b").write_text("two")
    (tmp_path / "b").rename(file.path)
    assert file.changed() == b"two"
    file.path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        file.changed()
    file.path.write_text("two")
    assert file.changed() == b"two"


def test_bounded(tmp_path: Path) -> None:
    file = WatchedFile(tmp_path / "a")
    with file.path.open("wb") as handle:
        handle.truncate(MAX_BYTES + 1)
    with pytest.raises(ConfigError, match="larger"):
        file.changed()


async def test_watch_looks_at_every_part_each_time() -> None:
    class Part:
        looks = 0

        def reload(self) -> bool:
            self.looks += 1
            return False

    parts = [Part(), Part()]
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await watch(parts, 2.5, sleep)
    assert waits == [2.5] * 3
    assert [part.looks for part in parts] == [2, 2]


def test_trust_bundle_keeps_what_it_has(tmp_path: Path) -> None:
    authority = TestCa()
    path = tmp_path / "ca.pem"
    path.write_text(authority.pem)
    bundle = TrustBundleFile(path)
    assert not bundle.reload()
    for broken in ("", "junk", authority.pem[:-60]):
        path.write_text(broken)
        assert not bundle.reload()
    assert bundle.revision == 1
    leaf = authority.leaf("spiffe://a/b").certificate
    assert bundle.trusted_until(leaf, leaf.not_valid_before_utc.timestamp()) == leaf.not_valid_after_utc.timestamp()
    path.write_text(TestCa("other").pem)
    assert bundle.reload()
    assert bundle.revision == 2
    assert bundle.trusted_until(leaf, leaf.not_valid_before_utc.timestamp()) is None


@pytest.mark.parametrize("content", ["", "junk", None])
def test_a_trust_bundle_must_be_usable_at_start(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        TrustBundleFile(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trust_domains", {"Bank.example": {}}),
        ("trust_domains", {"bank example": {}}),
        ("id_templates", ["/a/{name}"]),
        ("id_templates", ["a/{service}"]),
        ("id_templates", ["/a/../{service}"]),
        ("id_templates", ["/{service}/{service}"]),
        ("id_templates", ["/a{service}"]),
        ("id_templates", ["/a/"]),
        ("registered", ["*"]),
        ("registered", ["spiffe://*/a"]),
        ("registered", ["spiffe://a/b*"]),
        ("registered", ["spiffe://a/.."]),
        ("xfcc", "all"),
    ],
)
def test_workload_settings_that_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        WorkloadSettings.model_validate({field: value})
