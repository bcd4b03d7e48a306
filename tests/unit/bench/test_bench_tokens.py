"""Tokens are rightly signed, all different, and the probes are wrong in exactly one way."""

from __future__ import annotations

import json

import jwt
import pytest

from bench.tokens import ISSUER, USERS, Tokens
from extauthz.demo.zones import EDGE


def _verify(tokens: Tokens, token: str) -> dict:
    key = jwt.PyJWK(json.loads(tokens.jwks())["keys"][0])
    return jwt.decode(token, key, ["ES256"], audience=EDGE.audience, issuer=ISSUER)


def test_no_two_tokens_are_equal_and_they_differ_in_user_and_jti_alone(tmp_path) -> None:
    tokens = Tokens()
    tokens.write(tmp_path / "tokens", USERS + 7)
    lines = (tmp_path / "tokens").read_text().split()
    assert len(set(lines)) == len(lines) == USERS + 7
    claims = [_verify(tokens, line) for line in lines]
    assert len({one.pop("jti") for one in claims}) == USERS + 7
    assert len({one.pop("sub") for one in claims}) == USERS
    for one in claims:
        del one["iat"], one["exp"]
    assert all(one == claims[0] for one in claims)


def test_two_files_share_no_token(tmp_path) -> None:
    tokens = Tokens()
    for name in ("a", "b"):
        tokens.write(tmp_path / name, 5)
    a, b = ((tmp_path / name).read_text().split() for name in ("a", "b"))
    assert len({*a, *b}) == 10
    assert len({_verify(tokens, line)["jti"] for line in (*a, *b)}) == 10


def test_the_probes_are_what_they_say() -> None:
    tokens = Tokens()
    probes = tokens.probes()
    assert _verify(tokens, probes.good)["roles"] == ["wire-operator"]
    assert _verify(tokens, probes.unprivileged)["roles"] == []
    with pytest.raises(jwt.InvalidSignatureError):
        _verify(tokens, probes.forged)
