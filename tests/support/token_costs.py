"""What a token costs, in microseconds of CPU time: `python -m tests.support.token_costs` (see docs/adr/0003).

CPU time, least of several rounds: a busy machine changes the figures little, and the ratios hardly at all. The last
column is wall time for 16 concurrent callers, where a thread could help.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import jwt

from extauthz.authn import jose, jwk
from extauthz.authn.settings import VerifierSettings
from tests.support.tokens import AUDIENCE, ISSUER, JWKS_URL, RULE, Bench, Issuer, bench, issuer_settings

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 9
TOKENS = 200
NO_TIMES: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}


def least(call: Callable[[Any], object], arguments: list[Any]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for argument in arguments:
            call(argument)
        best = min(best, time.process_time() - started)
    return best / len(arguments) * 1e6


def verifier(issuer: Issuer, *, offload: bool = False) -> Bench:
    limits = VerifierSettings(offload=offload, cache_entries=16)
    return bench({JWKS_URL: issuer.jwks()}, issuer_settings(algorithms=[issuer.algorithm]), limits=limits)


def whole(issuer: Issuer, tokens: list[str]) -> float:
    """Everything that a token which was never seen costs, bookkeeping of the cache included."""

    async def one_round(used: Bench) -> float:
        started = time.process_time()
        for token in tokens:
            await used.verifier.verify(token, RULE, None)
        return time.process_time() - started

    async def rounds() -> float:
        used = verifier(issuer)
        await used.code(issuer.token())
        return min([await one_round(used) for _ in range(ROUNDS)])

    return asyncio.run(rounds()) / len(tokens) * 1e6


def hit(issuer: Issuer) -> float:
    used = verifier(issuer)
    token = issuer.token()
    asyncio.run(used.code(token))
    return least(lambda _: used.verifier.cached(token, RULE, None), list(range(2000)))


def concurrent(issuer: Issuer, tokens: list[str], *, offload: bool) -> float:
    """Wall microseconds a token with 16 callers at once."""

    async def run() -> float:
        used = verifier(issuer, offload=offload)
        await used.code(issuer.token())
        queue = iter(tokens)

        async def caller() -> None:
            for token in queue:
                await used.verifier.verify(token, RULE, None)

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(16)))
        return time.perf_counter() - started

    return min(asyncio.run(run()) for _ in range(ROUNDS)) / len(tokens) * 1e6


def row(algorithm: str) -> list[str]:
    issuer = Issuer(algorithm=algorithm)
    tokens = [issuer.token(jti=str(number)) for number in range(TOKENS)]
    key = jwk.parse(issuer.jwk(), frozenset({algorithm}))
    library = jwt.PyJWK({**issuer.jwk(), "alg": algorithm})

    def decode(token: str) -> object:
        return jwt.decode(token, library, [algorithm], options=NO_TIMES, audience=AUDIENCE, issuer=ISSUER)

    def signature(parsed: jose.Unverified) -> bool:
        return isinstance(key, jwk.Key) and key.verifies(algorithm, parsed.signature, parsed.signed)

    figures = [
        least(signature, list(map(jose.parse, tokens))),
        least(jose.parse, tokens),
        whole(issuer, tokens),
        least(decode, tokens),
        hit(issuer),
        concurrent(issuer, tokens, offload=False),
        concurrent(issuer, tokens, offload=True),
    ]
    return [algorithm, *(f"{figure:.1f}" for figure in figures)]


def main() -> None:
    names = ["algorithm", "signature", "form", "verify", "jwt.decode", "hit", "wall inline", "wall thread"]
    for line in [names, *map(row, ["ES256", "ES384", "RS256", "PS256", "EdDSA"])]:
        sys.stdout.write("  ".join(cell.rjust(11) for cell in line) + "\n")


if __name__ == "__main__":
    main()
