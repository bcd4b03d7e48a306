"""A review's finding: with `policy.compat`, routes with effects went on although nobody knew what had been revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from extauthz.check.messages import CheckRequest
from tests.support import bank as support
from tests.support import compat_cases, parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.attack, pytest.mark.embedded]
DOWN = "http://127.0.0.1:9/v1/revocations"
ROUTES = [
    support.route("create-transfer", effects=["money"], attributes=[], policy=compat_cases.ENTRYPOINT),
    support.route(
        "read-transfer",
        match={"path": "/v1/read", "methods": ["POST"]},
        attributes=[],
        policy=compat_cases.ENTRYPOINT,
    ),
]


@pytest.fixture(params=[False, True], ids=["live", "dry-run"])
async def bank(request, tmp_path) -> AsyncIterator[support.Bank]:
    parts.require_embedded()
    policy = {
        "engine": "embedded",
        "path": str(compat_cases.POLICY),
        "compat": "opa-envoy-plugin",
        "opa_envoy_plugin": {"path": compat_cases.ENTRYPOINT, "dry-run": request.param},
    }
    revocation = {"feed": {"url": DOWN, "timeout": "100ms"}}
    made = await support.open_bank(tmp_path, policy=policy, routes=ROUTES, revocation=revocation)
    yield made
    await made.close()


async def asked(bank: support.Bank, path: str) -> support.Answer:
    message = CheckRequest()
    source, http = message.attributes.source, message.attributes.request.http
    source.principal = support.GATEWAY
    source.certificate = bank.leaf(support.GATEWAY).envoy
    http.method, http.path, http.host = "POST", path, "orchestration.bank.example"
    http.headers["authorization"] = f"Bearer {bank.token()}"
    message.attributes.context_extensions["result"] = '{"allowed": true}'
    return support.read(await bank.app.check(message.SerializeToString(), 0.5))


async def test_a_route_with_effects_denies_while_revocations_are_stale(bank):
    refused = await asked(bank, "/v1/transfers")
    assert (refused.status, refused.code) == (503, "engine.revocations_stale")
    assert (await asked(bank, "/v1/read")).status == 200
