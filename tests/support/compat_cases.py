"""The compatibility table: what opa-envoy-plugin answers, case by case (`tests/contracts/compat_cases/*.yaml`).

A case becomes the CheckRequest that Envoy would send; `observed` says of a CheckResponse what the table says of the
expected one. Nothing here knows our code but the wire's messages, so another server can be put to the same table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_tools import protoc

from extauthz.check.messages import CheckRequest, CheckResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parents[1] / "contracts" / "compat_cases"
POLICY = FOLDER / "policy"
ENTRYPOINT = "compat/decision"
SERVERS = {
    "plain": {"proto-descriptor": "bank.desc"},
    "no-descriptors": {},
    "dry-run": {"dry-run": True},
    "skip-body": {"skip-request-body-parse": True},
}
"""The plugin's settings by the name that a case asks for."""
_BAD_REQUEST = "request_parse_error: "


@dataclass(frozen=True)
class Case:
    id: str
    server: str
    message: bytes
    expect: Mapping[str, Any]


@cache
def load() -> tuple[Case, ...]:
    cases = [
        _case(file.stem, row) for file in sorted(FOLDER.glob("*.yaml")) for row in yaml.safe_load(file.read_text())
    ]
    assert len({case.id for case in cases}) == len(cases)
    return tuple(cases)


@cache
def descriptor_set() -> bytes:
    """`bank.proto` compiled, without the well-known types."""
    known = Path(protoc.__file__).with_name("_proto")
    with TemporaryDirectory() as folder:
        out = Path(folder) / "bank.desc"
        arguments = ["protoc", f"-I{FOLDER}", f"-I{known}", "--include_imports", f"--descriptor_set_out={out}"]
        assert protoc.main([*arguments, "bank.proto"]) == 0
        return out.read_bytes()


def observed(answer: bytes) -> dict[str, Any]:
    """A CheckResponse in the words of the table; `decision_id` says whether there was one."""
    response = CheckResponse.FromString(answer)
    metadata = json_format.MessageToDict(response.dynamic_metadata)
    seen: dict[str, Any] = {"decision_id": len(metadata.pop("decision_id", "")) == 36}
    if metadata:
        seen["metadata"] = metadata
    kind = response.WhichOneof("http_response")
    if kind is None:
        return {**seen, "bare": {0: "OK", 7: "DENIED"}[response.status.code]}
    if kind == "ok_response":
        assert response.status.code == 0
        ok = response.ok_response
        parts = {
            "headers": _headers(ok.headers),
            "remove": list(ok.headers_to_remove),
            "response_headers": _headers(ok.response_headers_to_add),
            "query_set": _by_name([one.key, one.value] for one in ok.query_parameters_to_set),
            "query_remove": list(ok.query_parameters_to_remove),
        }
        return {**seen, "allow": {name: part for name, part in parts.items() if part}}
    assert response.status.code == 7
    denied = response.denied_response
    parts = {"status": denied.status.code, "headers": _headers(denied.headers), "body": denied.body}
    return {**seen, "deny": {name: part for name, part in parts.items() if part}}


def expected(case: Case, seen: Mapping[str, Any]) -> dict[str, Any]:
    """What `observed` should have been; `seen` is what it was, from which an echoed input is read."""
    expect = case.expect
    if "bad_request" in expect:
        body = seen.get("deny", {}).get("body", "")
        assert body.startswith(_BAD_REQUEST), body
        return {"decision_id": False, "deny": {"status": 400, "body": body}}
    if "bare" in expect or "allow" in expect or "deny" in expect:
        return {"decision_id": True, **expect}
    body = seen.get("deny", {}).get("body", "")
    assert body, f"no input was echoed: {seen}"
    said = json.loads(body)
    _without_the_question(said)
    for name, value in expect.get("input", {}).items():
        assert name in said, f"the input has no {name}"
        assert said[name] == value, f"{name} is {said[name]!r}"
    for name in expect.get("absent", ()):
        assert name not in said, f"the input has {name}"
    assert expect.get("body_text", "") in body, body
    return {"decision_id": True, "deny": {"status": 403, "body": body}}


def _without_the_question(said: dict[str, Any]) -> None:
    extensions = said["attributes"]["contextExtensions"]
    del extensions["echo"]
    if not extensions:
        del said["attributes"]["contextExtensions"]


def _headers(options: Any) -> list[list[str]]:
    return _by_name([one.header.key, one.header.value, _action(one)] for one in options)


def _action(option: Any) -> str:
    """Envoy's three words for it: the deprecated `append`, `append_action`, and nothing at all."""
    if option.append.value:
        return "append"
    return {0: "add", 2: "overwrite"}[option.append_action]


def _by_name(rows: Any) -> list[list[str]]:
    """An object has no order, the values of one name have."""
    return sorted(rows, key=lambda row: row[0].lower())


def _case(table: str, row: dict[str, Any]) -> Case:
    message = CheckRequest()
    json_format.ParseDict(
        _attributes(row, echo=table != "result"), message.attributes, descriptor_pool=CheckRequest.DESCRIPTOR.file.pool
    )
    raw = _raw(row)
    if raw is not None:
        message.attributes.request.http.raw_body = raw
    return Case(f"{table}-{row['id']}", row.get("server", "plain"), message.SerializeToString(), row["expect"])


def _attributes(row: dict[str, Any], *, echo: bool) -> dict[str, Any]:
    attributes = json.loads(json.dumps(row.get("attributes", {})))
    http = dict(row.get("http", {}))
    headers = dict(http.get("headers", {}))
    for key, name in (("type", "content-type"), ("length", "content-length"), ("partial", "x-envoy-auth-partial-body")):
        if key in row:
            headers[name] = row[key]
    if headers:
        http["headers"] = headers
    if "path" in row:
        http["path"] = row["path"]
    if http:
        attributes.setdefault("request", {})["http"] = http
    asked = {"echo": "1"} if echo and "policy" not in row else {}
    if "result" in row:
        asked["result"] = json.dumps(row["result"])
    if "policy" in row:
        asked["policy"] = row["policy"]
    if asked:
        attributes.setdefault("contextExtensions", {}).update(asked)
    return attributes


def _raw(row: dict[str, Any]) -> bytes | None:
    if "raw" in row:
        return str(row["raw"]).encode()
    if "raw_hex" in row:
        return bytes.fromhex(row["raw_hex"])
    if "grpc" in row:
        payload = json_format.ParseDict(row["grpc"], _transfer()(), descriptor_pool=_pool()).SerializeToString()
        return b"\x00" + len(payload).to_bytes(4, "big") + payload
    return None


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def _transfer() -> Any:
    pool = _pool()
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bank.v1.Transfer"))
