"""Tokens by the ten thousand: same claims, another `jti`, signed in every core at once."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extauthz.clock import SystemClock
from extauthz.demo.people import user_claims
from extauthz.demo.tokens import ALGORITHM, Mint, new_key
from extauthz.demo.zones import EDGE

if TYPE_CHECKING:
    from pathlib import Path

ISSUER: Final = "https://issuer.bench.example"
USERS: Final = 100
LIFETIME: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Probes:
    """Tokens that must be refused, and one that must not."""

    good: str
    forged: str
    """Signed with another key, under the right key id: 401."""
    unprivileged: str
    """Rightly signed, of a user without the role: 403."""


class Tokens:
    def __init__(self) -> None:
        self._mint = Mint(ISSUER, new_key(), SystemClock())

    def jwks(self) -> bytes:
        return json.dumps(self._mint.jwks()).encode()

    def probes(self) -> Probes:
        stranger = Mint(ISSUER, new_key(), SystemClock())
        return Probes(
            self._mint.sign(_claims(0), lifetime=LIFETIME),
            stranger.sign(_claims(0), lifetime=LIFETIME),
            self._mint.sign({**_claims(0), "roles": []}, lifetime=LIFETIME),
        )

    def write(self, path: Path, count: int) -> None:
        """`count` tokens, one a line, no two equal; the users take turns."""
        cores = os.cpu_count() or 1
        share = -(-count // cores)
        jobs = [(start, min(start + share, count)) for start in range(0, count, share)]
        with (
            ProcessPoolExecutor(len(jobs), mp_context=multiprocessing.get_context("spawn")) as pool,
            path.open("wb") as file,
        ):
            for chunk in pool.map(_signed, jobs, [self._mint] * len(jobs)):
                file.write(chunk)


def _claims(index: int) -> dict[str, Any]:
    return {**user_claims("alice", EDGE.audience), "sub": f"user-{index % USERS:03}"}


def _signed(job: tuple[int, int], mint: Mint) -> bytes:
    key: Any = load_pem_private_key(mint.private_key, None)  # parsed once; `Mint.sign` parses it each time
    now = int(mint.clock.now())
    always = {"iss": mint.issuer, "iat": now, "exp": now + int(LIFETIME)}
    head = {"typ": "at+jwt", "kid": mint.key_id}
    salt = os.urandom(6).hex()
    lines = (
        jwt.encode({**always, **_claims(index), "jti": f"{salt}-{index}"}, key, ALGORITHM, headers=head)
        for index in range(*job)
    )
    return "".join(line + "\n" for line in lines).encode()
