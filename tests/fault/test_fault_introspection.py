"""An issuer that is asked about opaque tokens and fails, over real sockets, under a whole Check (SECURITY-TESTS D)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import parts
from tests.support.bank import AUDIENCE, Bank, open_bank, route, settings
from tests.support.introspection import active
from tests.support.tokens import EPOCH, compact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.fault, pytest.mark.opa, pytest.mark.embedded]
OPAQUE = "an-opaque-token-of-alice"
SECRET = "the-client-secret"
GOOD = active(aud=AUDIENCE, roles=["wire-operator"], region="eu", purpose="payment", exp=EPOCH + 300)


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


class Endpoint:
    """Says whatever it is told to, byte by byte; None: nothing at all."""

    def __init__(self) -> None:
        self.says: bytes | None = answer(compact(GOOD))
        self.asked = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(length)
        assert f"token={OPAQUE}".encode() in body
        self.asked += 1
        if self.says is not None:
            writer.write(self.says)
            writer.close()

    def close(self) -> None:
        for writer in self._open:
            writer.close()


@asynccontextmanager
async def asking(directory: Path) -> AsyncIterator[tuple[Bank, Endpoint, asyncio.Server]]:
    """A bank whose one route takes opaque tokens as well."""
    parts.require_opa()
    parts.require_embedded()
    endpoint = Endpoint()
    server = await asyncio.start_server(endpoint, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (issuer,) = settings("embedded")["issuers"]
    issuer["introspection"] = {
        "url": f"http://127.0.0.1:{port}/introspect",
        "client": {"id": "extauthz", "secret_env": "INTROSPECTION_SECRET"},
        "timeout": "100ms",
    }
    token: dict[str, Any] = {"issuers": ["main"], "audiences": [AUDIENCE], "introspect": "opaque"}
    bank = await open_bank(directory, issuers=[issuer], routes=[route("create-transfer", token=token)])
    try:
        yield bank, endpoint, server
    finally:
        endpoint.close()
        server.close()
        await server.wait_closed()
        await bank.close()


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTROSPECTION_SECRET", SECRET)


FAULTS = {
    "silent": None,
    "hangs-up": b"",
    "half-a-head": b"HTTP/1.1 200",
    "half-a-body": answer(compact(GOOD))[:-20],
    "not-http": b"\x16\x03\x01\x00\xa5" * 10,
    "redirect": answer(compact(GOOD), "302 Found", "location: http://127.0.0.1:1/"),
    "server-error": answer(compact(GOOD), "503 Service Unavailable"),
    "unauthorized": answer(compact(GOOD), "401 Unauthorized"),
    "garbage": answer(b"\x00" * 100),
    "active-as-text": answer(compact({**GOOD, "active": "true"})),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
async def test_no_answer_is_a_503_for_opaque_tokens_and_nothing_to_anybody_else(
    fault: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with asking(tmp_path) as (bank, endpoint, _server):
        endpoint.says = fault
        refused = await bank.ask(OPAQUE)
        assert (refused.status, refused.layer, refused.code) == (503, "engine", "engine.introspection_unavailable")
        assert refused.headers["retry-after"] == "1"
        assert "www-authenticate" not in refused.headers
        assert (await bank.ask()).status == 200  # a JWT on the same route
        assert endpoint.asked == 1
        endpoint.says = answer(compact(GOOD))  # it recovers by itself
        allowed = await bank.ask(OPAQUE)
        assert (allowed.status, allowed.headers["x-extauthz-subject"]) == (200, "alice")
        metrics = bank.app.metrics().decode()
    assert 'extauthz_upstream_errors_total{upstream="introspection"} 1' in metrics
    everything = caplog.text + metrics + repr(bank.records())
    assert OPAQUE not in everything
    assert SECRET not in everything


async def test_an_issuer_that_is_gone_ends_what_it_vouched_for_within_the_ttl(tmp_path: Path) -> None:
    async with asking(tmp_path) as (bank, endpoint, server):
        assert (await bank.ask(OPAQUE)).status == 200
        server.close()
        await server.wait_closed()
        assert (await bank.ask(OPAQUE)).status == 200
        bank.clock.advance(5)
        assert (await bank.ask(OPAQUE)).code == "engine.introspection_unavailable"
        assert endpoint.asked == 1
