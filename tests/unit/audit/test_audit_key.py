"""The key of the chain: made once, private, and nothing but what it must be."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from typer.testing import CliRunner

from extauthz.audit.chain import GENESIS, Signed
from extauthz.audit.fault import AuditError
from extauthz.audit.key import AuditKey, PublicKeys, opened
from extauthz.cli import app
from extauthz.keys.jwk import thumbprint
from tests.support.audit import check, trail_in

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_made_once_also_by_many_at_once(tmp_path: Path) -> None:
    path = tmp_path / "audit.key"
    with ThreadPoolExecutor(8) as threads:
        kids = {key.kid for key in threads.map(opened, [path] * 16)}
    assert len(kids) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["audit.key"]
    key = opened(path)
    assert key.kid == thumbprint(key.jwk)
    assert "d" not in key.jwk
    assert key.kid in repr(key)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "audit.key")
    (tmp_path / "audit.key").chmod(0o640)
    with pytest.raises(AuditError, match="may be read by others"):
        opened(tmp_path / "audit.key")
    with pytest.raises(AuditError, match="cannot be had"):
        opened(tmp_path / "nowhere" / "audit.key")


def pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())])
def test_both_kinds_sign_and_are_read_back(
    tmp_path: Path, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    made = AuditKey(pem(key))
    (tmp_path / "jwk").write_text(json.dumps(made.jwk))
    (tmp_path / "set").write_text(json.dumps({"keys": [made.jwk]}))
    (tmp_path / "pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    signed = Signed.by(made, "serve-0", 7, GENESIS)
    for name in ("jwk", "set", "pem"):
        keys = PublicKeys.read([tmp_path / name])
        assert signed.wrong(keys) == ""
        for changed in (
            Signed("serve-1", 7, signed.chain, signed.kid, signed.signature),
            Signed("serve-0", 8, signed.chain, signed.kid, signed.signature),
            Signed("serve-0", 7, "1" * 64, signed.kid, signed.signature),
            Signed("serve-0", 7, signed.chain, signed.kid, signed.signature[:-1] + "B"),
            Signed("serve-0", 7, signed.chain, signed.kid, signed.signature + "="),
            Signed("serve-0", 7, signed.chain, signed.kid, "x"),
            Signed("serve-0", 7, signed.chain, "other", signed.signature),
        ):
            assert changed.wrong(keys)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(65537, 3072)),
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        ),
    ],
)
def test_other_keys_are_refused(content: bytes) -> None:
    with pytest.raises(AuditError):
        AuditKey(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"1",
        b'{"keys":[]}',
        b'{"keys":1}',
        b'{"kty":"OKP","crv":"Ed25519","x":"AA"}',
        b"-----BEGIN PUBLIC KEY-----\n",
    ],
)
def test_other_public_keys_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(AuditError):
        PublicKeys.read([tmp_path / "key"])
    with pytest.raises(AuditError):
        PublicKeys.read([tmp_path / "nowhere"])


async def test_the_commands(tmp_path: Path) -> None:
    directory, runner = tmp_path / "audit", CliRunner()
    async with trail_in(directory) as trail:
        await trail.written(check(), float("inf"))
    told = runner.invoke(app, ["audit", "key", str(directory / "audit.key")])
    assert json.loads(told.output)["kid"] == opened(directory / "audit.key").kid
    (tmp_path / "public.jwk").write_text(told.output)
    arguments = ["audit", "verify", str(directory), "--key", str(tmp_path / "public.jwk")]
    good = runner.invoke(app, [*arguments, "--witness", str(directory / "serve-0.head")])
    assert (good.exit_code, "a second: intact" in good.output) == (0, True), good.output
    found = json.loads(runner.invoke(app, [*arguments, "--json"]).output)
    assert (found["sound"], found["records"], found["problems"]) == (True, 3, [])
    file = directory / "serve-0-000001.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"GET"', b'"PUT"'))
    bad = runner.invoke(app, arguments)
    assert bad.exit_code == 1
    assert "serve-0-000001.jsonl:2: record 2: it was changed" in bad.output
    assert json.loads(runner.invoke(app, [*arguments, "--json"]).output)["problems"][0]["record"] == 2
    assert runner.invoke(app, ["audit", "verify", str(tmp_path / "no"), *arguments[3:]]).exit_code == 2
    assert runner.invoke(app, ["audit", "verify", str(directory)]).exit_code == 2  # without a key
    assert runner.invoke(app, ["audit", "key", str(tmp_path / "no.key")]).exit_code == 1
    assert runner.invoke(app, ["audit", "key", str(tmp_path / "no.key"), "--make"]).exit_code == 0
    assert load_pem_private_key((tmp_path / "no.key").read_bytes(), None)
