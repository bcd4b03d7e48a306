"""Attacks on attestation by instance identity documents and by join tokens: SECURITY-TESTS C."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import pkcs7
from hypothesis import given
from hypothesis import strategies as st

from extauthz.attestation import pkcs7 as ours
from extauthz.errors import ConfigError
from tests.support.attestation import ACCOUNT, Cloud, Desk, desk, pkcs7_evidence
from tests.support.tokens import EPOCH

pytestmark = pytest.mark.attack

IRELAND = Cloud()
FRANKFURT = Cloud("eu-central-1")
STRANGER = Cloud()
EXPIRED = Cloud("eu-north-1", ends=EPOCH - 1.0)


@pytest.fixture
def cloud(tmp_path) -> Desk:
    files = {}
    for each in (IRELAND, FRANKFURT, EXPIRED):
        path = tmp_path / f"{each.region}.pem"
        path.write_bytes(each.pem)
        files[each.region] = str(path)
    return desk({"kind": "instance", "certificates": files, "accounts": [ACCOUNT]})


def both(document: str, signature: bytes) -> str:
    return json.dumps({"document": document, "signature": base64.b64encode(signature).decode()})


def forged() -> list[Any]:
    honest = IRELAND.document()
    changed = honest.replace("t2.micro", "t2.large")
    signature = IRELAND.sign(honest)
    doubled = honest.replace('"region" :', '"region" : "eu-central-1",\n  "region" :')
    return [
        pytest.param(STRANGER.evidence(), "attestation.signature", id="C-document-of-a-stranger"),
        pytest.param(both(changed, signature), "attestation.signature", id="C-document-changed"),
        pytest.param(both(honest + " ", signature), "attestation.signature", id="C-document-longer"),
        pytest.param(both(honest, signature[:-1] + b"\0"), "attestation.signature", id="C-signature-changed"),
        pytest.param(both(honest, b"\0" * 256), "attestation.signature", id="C-signature-zeros"),
        pytest.param(FRANKFURT.evidence(IRELAND.document()), "attestation.signature", id="C-another-regions-key"),
        pytest.param(IRELAND.evidence(region="eu-central-1"), "attestation.signature", id="C-another-regions-document"),
        pytest.param(IRELAND.evidence(region="us-east-1"), "attestation.not_allowed", id="C-unknown-region"),
        pytest.param(EXPIRED.evidence(), "attestation.signature", id="C-certificate-expired"),
        pytest.param(IRELAND.evidence(accountId="999999999999"), "attestation.not_allowed", id="C-account"),
        pytest.param(IRELAND.evidence(started=EPOCH - 631.0), "attestation.too_old", id="C-old"),
        pytest.param(IRELAND.evidence(started=EPOCH + 31.0), "attestation.not_yet_valid", id="C-early"),
        pytest.param(IRELAND.evidence(pendingTime="yesterday"), "attestation.claims", id="C-time-text"),
        pytest.param(IRELAND.evidence(pendingTime=EPOCH), "attestation.claims", id="C-time-number"),
        pytest.param(IRELAND.evidence(pendingTime="2026-13-45T00:00:00Z"), "attestation.not_yet_valid", id="C-no-day"),
        pytest.param(IRELAND.evidence(instanceId=...), "attestation.claims", id="C-no-instance"),
        pytest.param(IRELAND.evidence(instanceId="i-1\nx"), "attestation.claims", id="C-instance-lines"),
        pytest.param(IRELAND.evidence(accountId=123456789012), "attestation.claims", id="C-account-number"),
        pytest.param(IRELAND.evidence(doubled), "attestation.malformed", id="C-region-twice"),
        pytest.param(both(honest, b""), "attestation.malformed", id="C-unsigned"),
        pytest.param(json.dumps({"document": honest}), "attestation.malformed", id="C-no-signature"),
        pytest.param(json.dumps({"document": honest, "signature": "%%%"}), "attestation.malformed", id="C-no-base64"),
        pytest.param(json.dumps({"document": {}, "signature": "AA=="}), "attestation.malformed", id="C-object"),
        pytest.param("[]", "attestation.malformed", id="C-array"),
        pytest.param("{" * 100, "attestation.malformed", id="C-deep"),
        pytest.param('{"document": "\ud800"}', "attestation.malformed", id="C-surrogate"),
        pytest.param("x" * 16385, "attestation.too_large", id="C-too-large"),
        pytest.param(pkcs7_evidence(STRANGER.message(honest)), "attestation.signature", id="C-pkcs7-stranger"),
        pytest.param(pkcs7_evidence(FRANKFURT.message(honest)), "attestation.signature", id="C-pkcs7-region"),
        pytest.param(
            pkcs7_evidence(IRELAND.message(honest).replace(b"t2.micro", b"t2.large")),
            "attestation.malformed",
            id="C-pkcs7-changed",
        ),
        pytest.param(
            pkcs7_evidence(IRELAND.message(honest, pkcs7.PKCS7Options.NoAttributes).replace(b"t2.micro", b"t2.large")),
            "attestation.signature",
            id="C-pkcs7-changed-without-attributes",
        ),
        pytest.param(
            pkcs7_evidence(IRELAND.message(honest, pkcs7.PKCS7Options.DetachedSignature)),
            "attestation.malformed",
            id="C-pkcs7-detached",
        ),
        pytest.param(pkcs7_evidence(IRELAND.message(honest) + b"\0"), "attestation.malformed", id="C-pkcs7-longer"),
        pytest.param(pkcs7_evidence(IRELAND.message(honest)[:-1]), "attestation.malformed", id="C-pkcs7-cut"),
    ]


@pytest.mark.parametrize(("evidence", "code"), forged())
async def test_refused(cloud, evidence, code) -> None:
    assert await cloud.code(evidence, "instance") == code
    assert await cloud.store.scan("used-evidence") == []
    assert await cloud.code(IRELAND.evidence(), "instance") == "ok"


async def test_signed_attributes_are_no_document(cloud) -> None:
    """The bytes of signed attributes, shown as a document, carry a good signature (CVE-like confusion of CMS)."""
    message = IRELAND.message(IRELAND.document())
    parsed = ours.parse(message)
    assert parsed is not None
    IRELAND.key.public_key().verify(parsed.signature, parsed.signed, padding.PKCS1v15(), hashes.SHA256())
    text = parsed.signed.decode("latin-1")
    assert await cloud.code(both(text, parsed.signature), "instance") == "attestation.malformed"


async def test_a_document_serves_once_however_it_comes(cloud) -> None:
    document = IRELAND.document()
    assert await cloud.code(IRELAND.evidence(document), "instance") == "ok"
    again = [
        IRELAND.evidence(document),
        pkcs7_evidence(IRELAND.message(document)),
        IRELAND.evidence(json.dumps(json.loads(document))),
        IRELAND.evidence(imageId="ami-0"),
    ]
    for evidence in again:
        assert await cloud.code(evidence, "instance") == "attestation.replayed"
    assert await cloud.code(IRELAND.evidence(instanceId="i-0fedcba9876543210"), "instance") == "ok"
    assert await cloud.code(IRELAND.evidence(started=EPOCH - 1.0), "instance") == "ok"


def test_a_short_key_is_no_certificate_of_a_cloud(tmp_path) -> None:
    path = tmp_path / "short.pem"
    path.write_bytes(Cloud(bits=1024).pem)
    with pytest.raises(ConfigError, match="2048 bits"):
        desk({"kind": "instance", "certificates": {"eu-west-1": str(path)}, "accounts": [ACCOUNT]})


@given(st.data())
def test_a_pkcs7_message_is_read_or_refused(data) -> None:
    message = bytearray(MESSAGE)
    for _ in range(data.draw(st.integers(0, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(message)))
    for raw in (bytes(message), bytes(message[:cut]), data.draw(st.binary(max_size=64))):
        found = ours.parse(raw)
        assert found is None or isinstance(found.signature, bytes)


MESSAGE = IRELAND.message(IRELAND.document())


@pytest.mark.parametrize(
    "raw",
    [
        b"\x30\x80" * 600,
        b"\x24\x80" * 20 + b"\0\0" * 20,
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x85\0\0\0\0\0",
        b"\x3f\x81\x01\0",
        b"\x04\x80\0\0",
        b"\x30\x03\x30\x05\0",
        b"",
    ],
)
def test_hostile_ber_ends(raw) -> None:
    assert ours.parse(raw) is None


# join tokens


@pytest.fixture
def joins() -> Desk:
    return desk({"kind": "join_token"}, {"kind": "join_token", "name": "lab"})


async def test_a_join_token_serves_once_and_for_its_entry(joins) -> None:
    token = await joins.attestors.issue_join_token("gateway", 60.0)
    assert (await joins.attested(token, "join_token")).selectors == {"join:gateway"}
    assert await joins.code(token, "join_token") == "attestation.join_token"


async def test_a_join_token_expires(joins) -> None:
    token = await joins.attestors.issue_join_token("gateway", 60.0)
    joins.clock.advance(60.0)
    assert await joins.code(token, "join_token") == "attestation.join_token"


async def test_a_join_token_cannot_outlive_the_settings(joins) -> None:
    token = await joins.attestors.issue_join_token("gateway", 86400.0)
    joins.clock.advance(600.0)
    assert await joins.code(token, "join_token") == "attestation.join_token"


@pytest.mark.parametrize(
    "token", ["", "xjt_", "xjt_" + "A" * 42, "xjt_" + "A" * 44, "xjt_" + "A" * 43 + "\n", "é" * 47]
)
async def test_malformed_join_tokens(joins, token) -> None:
    assert await joins.code(token, "join_token") == "attestation.malformed"


async def test_a_guessed_join_token(joins) -> None:
    assert await joins.code("xjt_" + "A" * 43, "join_token") == "attestation.join_token"


async def test_no_join_token_is_stored(joins) -> None:
    token = await joins.attestors.issue_join_token("gateway", 60.0)
    stored = await joins.store.scan("join-tokens")
    assert len(stored) == 1
    assert token[4:] not in repr(stored)
    found = await joins.attestors.attest("lab", "xjt_" + "B" * 43)
    assert "BBBB" not in repr(found)
