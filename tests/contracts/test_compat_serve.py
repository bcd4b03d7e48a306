"""The migration page's worked example on a real `extauthz serve`, and gRPC errors over both transports."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from extauthz.check.messages import CheckRequest
from tests.support import compat_cases, compat_worker
from tests.support.compat_server import serving
from tests.support.transports import require

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "opa-envoy-plugin"
PAGE = ROOT / "docs" / "migrating-from-opa-envoy-plugin.md"
TRANSPORTS = ["grpcio", pytest.param("envoy", marks=pytest.mark.envoy)]

pytestmark = pytest.mark.embedded


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    require(request.param)
    return request.param


def rows() -> list[list[str]]:
    """The worked example's table: request, token, body, answer."""
    table = PAGE.read_text().partition("| request | token | body | answer |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def token(role: str, subject: str) -> str:
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": subject, "role": role}]
    text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = hmac.new(b"example-only", text, hashlib.sha256).digest()
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def message(request: str, who: str, body: str) -> bytes:
    check = CheckRequest()
    http = check.attributes.request.http
    http.method, http.path = request.strip("`").split(" ")
    if who != "–":
        http.headers["authorization"] = f"Bearer {token(*who.split(' '))}"
    if body != "–":
        http.headers["content-type"] = "application/json"
        http.body = body.strip("`").strip()
    return check.SerializeToString()


def says(answer: str, seen: dict[str, Any]) -> None:
    """`401, `name: value`, `name` removed, `body`` holds of what was seen."""
    verdict = answer.partition(",")[0]
    kind = "allow" if verdict == "allowed" else "deny"
    part = seen[kind]
    if kind == "deny":
        assert part["status"] == int(verdict)
    headers = {name: value for name, value, _ in part.get("headers", ())}
    for text, removed in re.findall(r"`([^`]+)`( removed)?", answer):
        if removed:
            assert text in part["remove"]
        elif re.match(r"[a-z-]+: ", text):
            name, value = text.split(": ", 1)
            assert headers[name] == value
        else:
            assert part["body"] == text


async def test_the_worked_example(transport):
    table = rows()
    assert len(table) == 9
    async with serving(EXAMPLE / "extauthz.yaml", transport) as check:
        for request, who, body, answer in table:
            says(answer, compat_cases.observed(await check(message(request, who, body), timeout=5)))


def test_the_example_is_the_plugins_block_as_it_was():
    plugin = yaml.safe_load((EXAMPLE / "opa-config.yaml").read_text())["plugins"]["envoy_ext_authz_grpc"]
    assert yaml.safe_load((EXAMPLE / "extauthz.yaml").read_text())["policy"]["opa_envoy_plugin"] == plugin


async def test_a_policy_without_an_answer_is_a_grpc_error_over_a_transport(transport, tmp_path):
    """Envoy then does what its `failure_mode_allow` says, and the server goes on."""
    (tmp_path / "bank.desc").write_bytes(compat_cases.descriptor_set())
    config = tmp_path / "extauthz.yaml"
    config.write_text(yaml.safe_dump(compat_worker.settings("embedded", compat_cases.SERVERS["plain"])))
    cases = {case.id: case for case in compat_cases.load()}
    async with serving(config, transport) as check:
        for case, what in (("result-undefined", "engine.undefined"), ("result-allowed-string", "`allowed`")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await check(cases[case].message, timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNKNOWN
            assert what in caught.value.details()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(b"\xff\xff", timeout=5)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        case = cases["result-everything-on-allow"]
        seen = compat_cases.observed(await check(case.message, timeout=5))
        assert seen == compat_cases.expected(case, seen)
    records = compat_worker.records(tmp_path)
    assert [record["code"] for record in records] == [
        "engine.undefined",
        "engine.invalid_result",
        "engine.internal",
        "",
    ]
    assert {record["request"]["route"] for record in records[:2]} == {"opa-envoy-plugin"}
