"""Attacks on the HTTP API: each is refused with a layer and a code, and nothing of a policy or a decision is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support import parts
from tests.support.api import AUDIENCE, DOOR, Worker, client
from tests.support.bank import POLICIES, Bank, open_bank
from tests.support.certs import HOUR
from tests.support.tokens import Issuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

pytestmark = [
    pytest.mark.attack,
    pytest.mark.opa,
    pytest.mark.embedded,
    pytest.mark.asyncio(loop_scope="module"),
]
API = json.loads(
    json.dumps(
        {
            "authzen": {"token": DOOR, "url": "https://pdp.bank.example", "policy": "extauthz/main/decision"},
            "decisions": {"token": {**DOOR, "scopes": ["extauthz.decisions"]}},
            "rollout": {"token": {**DOOR, "scopes": ["extauthz.rollout"]}},
        }
    )
)
SCOPES = "extauthz.api extauthz.decisions extauthz.rollout"
ENDPOINTS = [
    ("POST", "/access/v1/evaluation"),
    ("POST", "/access/v1/evaluations"),
    ("GET", "/decisions/0f8e6a52-7a39-4f0e-9d55-6a3c3a1f0b1e"),
    ("GET", "/policy/rollout"),
    ("POST", "/policy/rollout?force=true"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bank(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    parts.require_opa()
    parts.require_embedded()
    opened = await open_bank(
        tmp_path_factory.mktemp("api"), policy={"engine": "embedded", "path": str(POLICIES)}, api=API
    )
    yield opened
    await opened.close()


async def send(bank: Bank, method: str, path: str, *authorization: str, body: bytes = b"{}") -> httpx.Response:
    headers = [("authorization", value) for value in authorization] + [("content-type", "application/json")]
    async with client(Worker(bank.app), unix=True) as http:  # a Unix socket alone is no credential
        return await http.request(method, path, content=body, headers=headers)


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    code = response.text.partition(":")[0]
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert not set(response.text) & set("{}[]")
    return response.status_code, code.partition(".")[0], code


def _forged(bank: Bank) -> str:
    other = Issuer()
    return other.token(aud=AUDIENCE, scope=SCOPES)


TOKENS: dict[str, tuple[Callable[[Bank], list[str]], tuple[int, str, str]]] = {
    "nothing": (lambda _: [], (401, "token", "token.missing")),
    "an empty bearer": (lambda _: ["Bearer "], (401, "token", "token.missing")),
    "basic": (lambda _: ["Basic b3BzOm9wcw=="], (401, "token", "token.scheme")),
    "garbage": (lambda _: ["Bearer a.b.c"], (401, "token", "token.malformed")),
    "two headers": (
        lambda bank: [f"Bearer {bank.token(aud=AUDIENCE, scope=SCOPES)}"] * 2,
        (401, "request", "request.header_duplicated"),
    ),
    "two in one": (
        lambda bank: [f"Bearer {bank.token(aud=AUDIENCE, scope=SCOPES)}, Bearer x"],
        (401, "request", "request.header_duplicated"),
    ),
    "a user's token of the bank's own API": (
        lambda bank: [f"Bearer {bank.token(scope=SCOPES)}"],
        (401, "token", "token.audience"),
    ),
    "without the scope": (
        lambda bank: [f"Bearer {bank.token(aud=AUDIENCE, scope='payments')}"],
        (403, "token", "token.scope"),
    ),
    "a scope that only looks alike": (
        lambda bank: [f"Bearer {bank.token(aud=AUDIENCE, scope=SCOPES.upper())}"],
        (403, "token", "token.scope"),
    ),
    "expired": (
        lambda bank: [f"Bearer {bank.token(aud=AUDIENCE, scope=SCOPES, exp=int(bank.clock.now() - HOUR), iat=int(bank.clock.now() - 2 * HOUR))}"],
        (401, "token", "token.expired"),
    ),
    "signed by somebody else": (lambda bank: [f"Bearer {_forged(bank)}"], (401, "token", "token.signature")),
    "bound to a certificate that nobody shows": (
        lambda bank: [f"Bearer {bank.token(aud=AUDIENCE, scope=SCOPES, cnf={'x5t#S256': 'A' * 43})}"],
        (401, "transport", "transport.binding_mismatch"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize(("make", "expected"), TOKENS.values(), ids=TOKENS)
async def test_no_endpoint_answers_whom_it_should_not(
    bank: Bank, make: Any, expected: tuple[int, str, str], method: str, path: str
) -> None:
    assert refusal(await send(bank, method, path, *make(bank))) == expected


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("extauthz.api", "GET", "/policy/rollout"),
        ("extauthz.api", "GET", ENDPOINTS[2][1]),
        ("extauthz.decisions", "POST", "/policy/rollout?force=true"),
        ("extauthz.rollout", "GET", ENDPOINTS[2][1]),
        ("extauthz.rollout", "POST", "/access/v1/evaluation"),
    ],
)
async def test_one_endpoints_scope_opens_no_other(bank: Bank, scope: str, method: str, path: str) -> None:
    token = bank.token(aud=AUDIENCE, scope=scope)
    assert refusal(await send(bank, method, path, f"Bearer {token}")) == (403, "token", "token.scope")


@pytest.mark.parametrize(
    "path",
    [
        "/decisions/..%2fpolicy%2frollout",
        "/decisions/%2e%2e/x",
        "/decisions/' OR 1=1 --",
        "/decisions/" + "a" * 2000,
        "/decisions/0f8e6a52-7a39-4f0e-9d55-6a3c3a1f0b1e%0a",
        "/decisions/*",
    ],
)
async def test_an_id_is_an_id_and_nothing_else(bank: Bank, path: str) -> None:
    token = bank.token(aud=AUDIENCE, scope=SCOPES)
    answer = await send(bank, "GET", path, f"Bearer {token}")
    assert answer.status_code == 404
    assert "revision" not in answer.text


async def test_a_question_cannot_move_itself_to_another_environment(bank: Bank) -> None:
    """The policy denies in an environment that the workload does not belong to; the caller's word does not change it."""
    token = bank.token(aud=AUDIENCE, scope="extauthz.api")
    question = {
        "subject": {"type": "user", "id": "alice", "properties": {"tenant": "acme", "roles": ["wire-operator"]}},
        "action": {"name": "transfer.create"},
        "resource": {"type": "transfer", "id": "T", "properties": {"tenant": "globex"}},
        "context": {"environment": "staging", "route": "create-transfer"},
    }
    answer = await send(bank, "POST", "/access/v1/evaluation", f"Bearer {token}", body=json.dumps(question).encode())
    context = answer.json()["context"]
    assert answer.json()["decision"] is False
    assert context["code"].startswith(f"{context['layer']}.")
    assert context["layer"] in {"workload", "token", "role", "attribute"}
