"""An ECDSA signature has two forms: a token that was revoked by its digest must not come back in the other one."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from extauthz.authn.settings import RevocationSettings
from extauthz.authn.tokens import digest
from extauthz.model import Deny
from tests.support.tokens import JWKS_URL, RULE, Issuer, bench

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.attack


def other(token: str) -> str:
    signed, _, text = token.rpartition(".")
    raw = urlsafe_b64decode(text + "==")
    s = ec.SECP256R1.group_order - int.from_bytes(raw[32:])
    return f"{signed}.{urlsafe_b64encode(raw[:32] + s.to_bytes(32)).decode().rstrip('=')}"


async def test_the_other_signature_of_a_revoked_token_is_revoked(tmp_path: Path) -> None:
    issuer = Issuer()
    token, good = issuer.token(), issuer.token(sub="bob")
    file = tmp_path / "revoked.json"
    file.write_text(f'{{"token": ["{digest(token).hex()}"]}}')
    used = bench({JWKS_URL: issuer.jwks()}, revocations=RevocationSettings(file=file))
    for text in (token, other(token), other(token)):
        refused = await used.verifier.verify(text, RULE, None)
        assert isinstance(refused, Deny)
        assert refused.code == "token.revoked"
    for text in (good, other(good)):
        assert not isinstance(await used.verifier.verify(text, RULE, None), Deny)
