"""The token endpoint under callers that are slow or gone, and over a store that holds what we did not write."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette

from extauthz.store.store import StoreError
from extauthz.sts import endpoints
from extauthz.sts.answers import Refused
from extauthz.sts.endpoints import routes
from tests.support.sts import FEATURES, GATEWAY, OPAQUE, Desk, chosen_client, desk, digest, fields_of

pytestmark = pytest.mark.fault


class Caller:
    client = GATEWAY


async def post(bench: Desk, receive: Any) -> list[dict[str, Any]]:
    """One POST to the token endpoint whose body comes from `receive`: the messages of the answer."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/token",
        "raw_path": b"/token",
        "query_string": b"",
        "scheme": "https",
        "server": ("authority", 443),
        "client": ("192.0.2.1", 1),
        "headers": [(b"content-type", b"application/x-www-form-urlencoded")],
    }
    await Starlette(routes=routes(bench.service, chosen_client(Caller)))(scope, receive, send)
    return sent


async def test_body_that_does_not_come(monkeypatch):
    monkeypatch.setattr(endpoints, "BODY_SECONDS", 0.01)

    async def never() -> Any:
        await asyncio.Event().wait()

    start, body = await post(desk(), never)
    assert start["status"] == 400
    assert b"too slow" in body["body"]


async def test_caller_that_leaves():
    async def gone() -> Any:
        return {"type": "http.disconnect"}

    bench = desk()
    await post(bench, gone)
    assert bench.audit.records == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null"])
async def test_record_of_an_opaque_token_that_is_broken(content):
    bench = desk()
    token = await bench.exchanged(GATEWAY, bench.user_token(), OPAQUE)
    await bench.store.put("opaque-tokens", digest(token), content)
    with pytest.raises(StoreError):
        await bench.service.introspect(FEATURES, fields_of(token=token))


async def test_store_that_returns_comes_back_by_itself():
    bench = desk()
    token = bench.user_token()
    bench.store.down = True
    answer = await bench.exchange(GATEWAY, token, OPAQUE)
    assert isinstance(answer, Refused)
    assert answer.status == 503
    bench.store.down = False
    assert await bench.exchanged(GATEWAY, token, OPAQUE)


async def test_issuer_whose_keys_cannot_be_had():
    bench = desk()
    bench.idp_keys.down = True
    assert await bench.refused(GATEWAY, bench.user_token(), OPAQUE) == (
        "temporarily_unavailable",
        "token.keys_unavailable",
    )
    assert bench.idp_keys.refreshes == 1
    bench.idp_keys.down = False
    assert await bench.exchanged(GATEWAY, bench.user_token(), OPAQUE)
