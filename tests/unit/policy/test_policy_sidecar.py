"""The sidecar engine on an OPA of one's own: which policy revision it names, and what may be reused."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from extauthz.model import Allow
from extauthz.policy.loader import load
from extauthz.policy.opa_process import OpaProcess
from extauthz.policy.settings import SidecarSettings
from extauthz.policy.sidecar import SidecarEngine, revision_of
from tests.support.engines import CLOCK, CONTRACT, FakeOpa, cached, eventually, ok, question, write_policy
from tests.support.parts import require_opa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from extauthz.policy.cached import CachedEngine


@contextlib.asynccontextmanager
async def asking(address: str, watch: str = "100ms") -> AsyncIterator[CachedEngine]:
    settings = SidecarSettings(supervise=False, address=address, watch=watch)
    engine = SidecarEngine(address, settings=settings, clock=CLOCK)
    engine.start()
    around = cached(engine)
    try:
        yield around
    finally:
        await around.close()


@pytest.mark.opa
async def test_an_opa_of_ones_own_names_its_revision(tmp_path):
    files = load(write_policy(tmp_path, CONTRACT))
    with tempfile.TemporaryDirectory(prefix="opa-") as directory:
        opa = OpaProcess(require_opa(), files.bundle(), Path(directory), clock=CLOCK)
        await opa.start()
        try:
            async with asking(opa.address) as engine:
                await eventually(lambda: engine.revision == files.revision)
                query = question("contract/echo", {"result": True}, ttl=60)
                outcomes = [await engine.evaluate(query) for _ in range(2)]
                assert [one.cached for one in outcomes] == [False, True]
                assert outcomes[1].revision == files.revision
        finally:
            await opa.stop()


def answer(*revisions: str) -> bytes:
    bundles = {f"b{number}": {"revision": revision} for number, revision in enumerate(revisions)}
    return ok({"result": True, "provenance": {"bundles": bundles}})


async def test_a_new_revision_is_seen_without_a_question():
    async with FakeOpa() as fake:
        fake.script = [answer("r1"), answer("r1"), answer("r2"), *[answer("r3")] * 1000]
        async with asking(fake.address) as engine:
            await eventually(lambda: engine.revision == "r3")
        assert all(b"provenance=true" in one for one in fake.questions)


async def test_answers_without_a_revision_are_not_reused():
    async with FakeOpa() as fake, asking(fake.address) as engine:
        outcomes = [await engine.evaluate(question("a/b", ttl=60)) for _ in range(2)]
        assert [one.cached for one in outcomes] == [False, False]


async def test_an_answer_is_filed_under_the_revision_that_gave_it():
    async with FakeOpa() as fake, asking(fake.address, watch="60s") as engine:
        fake.script = [answer("r1"), answer("r1"), answer("r2"), answer("r2")]
        await eventually(lambda: engine.revision == "r1")
        assert (await engine.evaluate(question("a/b", {"n": 1}, ttl=60))).revision == "r1"
        assert (await engine.evaluate(question("a/b", {"n": 2}, ttl=60))).revision == "r2"
        assert not (await engine.evaluate(question("a/b", {"n": 1}, ttl=60))).cached
        assert (await engine.evaluate(question("a/b", {"n": 1}, ttl=60))).cached


async def test_an_opa_on_tcp_is_asked_alike():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer("r1"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asking(f"http://127.0.0.1:{port}", watch="60s") as engine:
        assert (await engine.evaluate(question("a/b", seconds=5))).decision == Allow()
        assert await engine.ready()
    server.close()


async def test_connections_are_reused_and_bounded():
    async with FakeOpa() as fake:
        settings = SidecarSettings(supervise=False, address=fake.address, pool=3)
        engine = SidecarEngine(fake.address, settings=settings, clock=CLOCK, revision="r1")
        await asyncio.gather(*(engine.evaluate(question("a/b")) for _ in range(60)))
        await engine.close()
        assert fake.connections <= 3
        assert len(fake.questions) == 60


async def test_an_entrypoint_cannot_leave_its_place_in_the_request():
    async with FakeOpa() as fake:
        settings = SidecarSettings(supervise=False, address=fake.address)
        engine = SidecarEngine(fake.address, settings=settings, clock=CLOCK, revision="r1")
        await engine.evaluate(question("a b?pretty#x\r\nX-Evil: 1"))
        await engine.close()
    assert fake.questions[0].startswith(b"POST /v1/data/a%20b%3Fpretty%23x%0D%0AX-Evil%3A%201 HTTP/1.1\r\n")


def test_the_revision_of_several_bundles_changes_with_each():
    def named(**revisions) -> str:
        bundles = {name: {"revision": revision} for name, revision in revisions.items()}
        return revision_of({"provenance": {"bundles": bundles}})

    assert named(a="1") == "1"
    assert len({named(a="1", b="2"), named(a="2", b="1"), named(a="1", b="3"), named(a="1", c="2")}) == 4
    assert named(a="1", b="") == ""
    assert named() == ""
    assert revision_of({}) == revision_of({"provenance": 1}) == revision_of({"provenance": {"bundles": {"a": 1}}}) == ""
    assert revision_of({"provenance": {"revision": "legacy"}}) == "legacy"
