"""Layer `request`: what cannot be judged because it can be read in more than one way, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.demo.attempts.scenario import denied

if TYPE_CHECKING:
    from extauthz.demo.lab import Answer, Lab


async def escaped_slash(lab: Lab) -> Answer:
    return await lab.edge(lab.user(), lab.transfer(), path="/v1%2Ftransfers")


async def traversal(lab: Lab) -> Answer:
    return await lab.edge(lab.user(), lab.transfer(), path="/v1/transfers/../admin")


async def parameters(lab: Lab) -> Answer:
    return await lab.edge(lab.user(), lab.transfer(), path="/v1/transfers;admin=true")


async def two_tokens(lab: Lab) -> Answer:
    second = [("authorization", f"Bearer {lab.user('bob')}")]
    return await lab.edge(lab.user(), lab.transfer(), headers=second)


async def broken_body(lab: Lab) -> Answer:
    return await lab.edge(lab.user(), b'{"tenant": "acme", "amount": 5')


async def two_amounts(lab: Lab) -> Answer:
    body = b'{"tenant":"acme","region":"eu","amount":1,"amount":900000,"currency":"EUR","transaction_type":"wire"}'
    return await lab.edge(lab.user(), body)


async def long_body(lab: Lab) -> Answer:
    return await lab.edge(lab.user(), lab.transfer(note="x" * 20000))


SCENARIOS: Final = (
    denied(
        "path-escaped-slash", "/v1%2Ftransfers in place of /v1/transfers", 400, "request.path_ambiguous", escaped_slash
    ),
    denied("path-traversal", "/v1/transfers/../admin", 400, "request.route_unknown", traversal),
    denied("path-parameters", "/v1/transfers;admin=true", 400, "request.path_ambiguous", parameters),
    denied("two-tokens", "alice's and bob's token in one request", 400, "request.header_duplicated", two_tokens),
    denied("broken-body", "a body that is not JSON", 400, "request.body_malformed", broken_body),
    denied("two-amounts", "a body that names the amount twice", 400, "request.body_malformed", two_amounts),
    denied("cut-body", "a body longer than what is judged", 400, "request.body_truncated", long_body),
)
