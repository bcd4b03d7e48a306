from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from extauthz.errors import ConfigError, EngineFault
from extauthz.model import Allow
from extauthz.policy.activate import ActivePolicy, activate, read
from extauthz.policy.loader import load
from extauthz.policy.opa_process import OpaProcess
from extauthz.policy.settings import PolicySettings
from extauthz.policy.sidecar import revision_of
from tests.support.engines import CLOCK, CONTRACT, FakeOpa, eventually, ok, question, write_policy
from tests.support.parts import require_embedded, require_opa

ENTRYPOINT = "contract/tenant"
ALLOWED = {"subject": {"tenant": "acme", "id": "alice"}, "resource": {"tenant": "acme"}, "action": {"name": "x"}}
KINDS = [pytest.param("sidecar", marks=pytest.mark.opa), pytest.param("embedded", marks=pytest.mark.embedded)]


def settings(engine: str, path: Path | None, **more) -> PolicySettings:
    if engine == "embedded":
        require_embedded()
    else:
        require_opa()
    return PolicySettings(engine=engine, path=path, **more)


async def active(chosen: PolicySettings, *entrypoints: str) -> ActivePolicy:
    return await activate(chosen, entrypoints or (ENTRYPOINT,), clock=CLOCK, epoch=lambda: 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_active_policy_projects_decides_and_remembers(kind, tmp_path):
    policy = await active(settings(kind, write_policy(tmp_path, CONTRACT)))
    try:
        query = question(ENTRYPOINT, ttl=60)
        query.input = policy.project(ENTRYPOINT, ALLOWED)
        assert query.input == b'{"resource":{"tenant":"acme"},"subject":{"tenant":"acme"}}'
        first, second = await policy.engine.evaluate(query), await policy.engine.evaluate(query)
        assert (first.decision, first.cached, second.cached) == (Allow(), False, True)
        assert first.revision == policy.revision == load(tmp_path).revision
        assert policy.cache.hits == 1
    finally:
        await policy.close()
    assert not await policy.engine.ready()


@pytest.mark.parametrize("kind", KINDS)
async def test_old_and_new_policy_stand_side_by_side_until_the_switch(kind, tmp_path):
    chosen = settings(kind, write_policy(tmp_path, {"a.rego": "package a\n\nx := true\n"}))
    old = await active(chosen, "a/x")
    write_policy(tmp_path, {"a.rego": "package a\n\nx := false\n"})
    new = await active(chosen, "a/x")
    try:
        assert old.revision != new.revision
        assert (await old.engine.evaluate(question("a/x"))).decision == Allow()
        assert (await new.engine.evaluate(question("a/x"))).decision != Allow()
    finally:
        await old.close()
        assert (await new.engine.evaluate(question("a/x"))).decision != Allow()
        await new.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"a.rego": "package a\n\nx if y\n"}, "a.rego:3:"),
        ({"a.rego": "package a\n\ny := 1\n"}, "a/x: a route names this entrypoint"),
        ({"a.txt": ""}, "has no .rego file"),
    ],
)
async def test_a_broken_policy_is_refused_and_nothing_is_left(kind, files, place, tmp_path):
    with pytest.raises(ConfigError) as caught:
        await active(settings(kind, write_policy(tmp_path, files)), "a/x")
    assert place in str(caught.value)


@pytest.mark.opa
def test_a_policy_can_be_checked_without_an_engine(tmp_path):
    files, report = read(settings("sidecar", write_policy(tmp_path, CONTRACT)), [ENTRYPOINT])
    assert report.analyses[ENTRYPOINT].defined
    assert files.revision == load(tmp_path).revision
    with pytest.raises(ConfigError):
        read(settings("sidecar", None), [])


async def test_no_policy_has_no_answer():
    policy = await active(PolicySettings())
    with pytest.raises(EngineFault) as caught:
        await policy.engine.evaluate(question(ENTRYPOINT))
    assert caught.value.code == "engine.undefined"
    assert policy.project(ENTRYPOINT, {"b": 1, "a": 2}) == b'{"a":2,"b":1}'
    assert policy.cache is None
    await policy.close()


@pytest.mark.opa
async def test_reuse_bounded_by_a_builtin_is_said(tmp_path, caplog):
    files = {"a.rego": "package a\n\nx if time.now_ns() > 0\n"}
    policy = await active(settings("sidecar", write_policy(tmp_path, files)), "a/x")
    await policy.close()
    assert "a/x are reused for at most 1.0 s: it may read time.now_ns" in caplog.text


def external(address: str, **more) -> PolicySettings:
    return PolicySettings(sidecar={"supervise": False, "address": address, "watch": "100ms", **more})


@pytest.mark.opa
async def test_an_opa_of_ones_own_names_its_revision(tmp_path):
    files = load(write_policy(tmp_path, CONTRACT))
    with tempfile.TemporaryDirectory(prefix="opa-") as directory:
        opa = OpaProcess(require_opa(), files.bundle(), Path(directory), clock=CLOCK)
        await opa.start()
        policy = await active(external(opa.address))
        try:
            await eventually(lambda: policy.revision == files.revision)
            query = question(ENTRYPOINT, ttl=60)
            query.input = policy.project(ENTRYPOINT, ALLOWED)
            assert b"alice" in query.input  # what it reads is not known here: all of the input counts
            outcomes = [await policy.engine.evaluate(query) for _ in range(2)]
            assert [one.cached for one in outcomes] == [False, True]
            assert outcomes[1].revision == files.revision
        finally:
            await policy.close()
            await opa.stop()


def answer(*revisions: str) -> bytes:
    bundles = {f"b{number}": {"revision": revision} for number, revision in enumerate(revisions)}
    return ok({"result": True, "provenance": {"bundles": bundles}})


async def test_a_new_revision_of_ones_own_opa_is_seen_without_a_question():
    async with FakeOpa() as fake:
        fake.script = [answer("r1"), answer("r1"), answer("r2"), *[answer("r3")] * 1000]
        policy = await active(external(fake.address))
        try:
            await eventually(lambda: policy.revision == "r3")
            assert all(b"provenance=true" in one for one in fake.questions)
        finally:
            await policy.close()


async def test_answers_without_a_revision_are_not_reused():
    async with FakeOpa() as fake:
        policy = await active(external(fake.address))
        try:
            outcomes = [await policy.engine.evaluate(question(ENTRYPOINT, ttl=60)) for _ in range(2)]
            assert [one.cached for one in outcomes] == [False, False]
        finally:
            await policy.close()


async def test_an_opa_on_tcp_is_asked_alike():
    import asyncio  # noqa: PLC0415 - this test alone makes its own server

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}}")
        writer.write(answer("r1"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    policy = await active(external(f"http://127.0.0.1:{port}", watch="60s"))
    try:
        query = question(ENTRYPOINT, {"a": {}}, seconds=5)
        assert (await policy.engine.evaluate(query)).decision == Allow()
    finally:
        await policy.close()
        server.close()


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


@pytest.mark.parametrize(
    "sidecar",
    [
        {"supervise": False},
        {"address": "unix:///run/opa.sock"},
        {"supervise": False, "address": "http://opa.example:8181"},
        {"supervise": False, "address": "https://127.0.0.1:8181"},
        {"supervise": False, "address": "http://127.0.0.1:0"},
        {"supervise": False, "address": "http://127.0.0.1:65536"},
        {"supervise": False, "address": "unix://" + "/x" * 80},
        {"supervise": False, "address": "unix://relative"},
        {"pool": 0},
        {"timeout": "0s"},
        {"timeout": 1},
    ],
)
def test_contradictions_in_the_settings_are_refused(sidecar):
    with pytest.raises(ValidationError):
        PolicySettings(sidecar=sidecar)
