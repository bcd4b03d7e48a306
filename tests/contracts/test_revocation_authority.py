"""Revocations from a real authority to a real Check server, over mTLS: told at once, kept, asked for again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.clock import ManualClock, SystemClock
from tests.support import parts
from tests.support.authority import started, write_config
from tests.support.bank import open_bank
from tests.support.engines import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.authority import RunningAuthority, Svid
    from tests.support.bank import Bank

STORE = {"kind": "sqlite", "path": "authority.db"}
pytestmark = [pytest.mark.opa, pytest.mark.embedded]


async def server(directory: Path, authority: RunningAuthority, svid: Svid) -> Bank:
    """A Check server with that identity, following that authority. Its clock stands still, at the real time."""
    directory.mkdir()
    key = svid.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = {"certificate": svid.chain.encode(), "private_key": key, "trust_bundle": await trusted(authority)}
    for name, content in files.items():
        (directory / f"{name}.pem").touch(0o600)
        (directory / f"{name}.pem").write_bytes(content)
    return await open_bank(
        directory,
        clock=ManualClock(SystemClock().now()),
        identity={name: f"{name}.pem" for name in files},
        revocation={"feed": {"url": f"{authority.url}/v1/revocations"}, "snapshot": "revocations.json"},
    )


async def trusted(authority: RunningAuthority) -> bytes:
    return (await authority.trust_pem()).encode()


async def revoke(authority: RunningAuthority, value: str) -> None:
    order = {"kind": "jti", "value": value, "reason": "test"}
    answer = await authority.operator("POST", "/revoke", order)
    assert answer.status_code == 200, answer.text


def knows(bank: Bank, jti: str) -> bool:
    return revocations(bank).token(digest="d", jti=jti, sub="s", kid="k", issued_at=1.0)


def revocations(bank: Bank):
    return bank.app._active.revocations


async def test_a_check_server_follows_its_authority(tmp_path: Path) -> None:
    parts.require_opa()
    parts.require_embedded()
    (tmp_path / "passphrase").write_text("correct horse battery staple")
    kept = {"keys": {"kind": "encrypted", "passphrase_file": "passphrase"}, "store": STORE}
    config = write_config(tmp_path, **kept)
    async with started(config) as authority:
        svid = await authority.attest("gateway")
        await revoke(authority, "j-1")
        bank = await server(tmp_path / "one", authority, svid)
        assert knows(bank, "j-1"), "known before the first Check"
        assert not revocations(bank).stale
        await revoke(authority, "j-2")
        await eventually(lambda: knows(bank, "j-2"))
    bank.clock.advance(61)
    assert revocations(bank).stale
    assert knows(bank, "j-2")
    async with started(config) as authority:
        await revoke(authority, "j-3")
        await eventually(lambda: knows(bank, "j-3"))
        assert not revocations(bank).stale
    await bank.close()


async def test_without_a_certificate_nothing_is_told(tmp_path: Path) -> None:
    parts.require_opa()
    parts.require_embedded()
    async with started(write_config(tmp_path)) as authority:
        (tmp_path / "trust.pem").write_bytes(await trusted(authority))
        bank = await open_bank(
            tmp_path,
            outbound={"trust_bundle": "trust.pem"},
            revocation={"feed": {"url": f"{authority.url}/v1/revocations"}},
        )
        assert revocations(bank).stale
        await bank.close()
