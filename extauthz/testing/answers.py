"""A question as Envoy would ask it, and what Envoy would make of the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

import orjson
from google.protobuf import json_format

from extauthz.check.messages import CheckRequest, CheckResponse, DecodeError
from extauthz.codes import Layer
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.testing.credentials import Peer

DECISION_ID: Final = "x-extauthz-decision-id"


class Source(Protocol):
    """Where an answer came from, for whoever asks more about it."""

    def record(self, decision_id: str) -> dict[str, Any] | None: ...

    def claims(self, token: str) -> Mapping[str, Any] | None: ...

    def remedy(self, code: str) -> str: ...

    def last_words(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Question:
    """One HTTP request, and who sends it. `path` may hold a query; `peer` is the client's certificate."""

    method: str
    path: str
    host: str = "localhost"
    scheme: str = "https"
    route: str = ""
    """Envoy's `context_extensions.route`; empty: extauthz finds the route by host, method and path."""
    token: str = field(default="", repr=False)
    """Sent as `authorization: Bearer …` unless `headers` has that header."""
    peer: Peer | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    def message(self) -> bytes:
        """The serialized CheckRequest, with the fields that Envoy fills (attribute_context.proto)."""
        message = CheckRequest()
        attributes = message.attributes
        attributes.source.address.socket_address.address = "192.0.2.1"
        if self.peer is not None:
            attributes.source.principal = self.peer.id
            attributes.source.certificate = self.peer.envoy
        http = attributes.request.http
        http.method, http.path, http.host, http.scheme = self.method, self.path, self.host, self.scheme
        http.protocol = "HTTP/1.1"
        http.raw_body = self.body
        if self.token:
            http.headers["authorization"] = f"Bearer {self.token}"
        for name, value in self.headers.items():
            http.headers[name.lower()] = value
        if self.route:
            attributes.context_extensions["route"] = self.route
        serialized: bytes = message.SerializeToString()
        return serialized


@dataclass(frozen=True, slots=True)
class Answer:
    """What the Check server said. `layer`, `code` and `message` are empty when it allowed."""

    question: Question
    allowed: bool
    status: int
    """The HTTP status that the client gets; 200 stands for "goes on to the service"."""
    layer: str
    code: str
    message: str
    headers: Mapping[str, str]
    """Allowed: set on the request to the service. Denied: sent to the client."""
    removed: frozenset[str]
    """Headers that are taken off the request before the service sees it."""
    body: str
    """What the client gets to read when it is denied."""
    metadata: Mapping[str, Any]
    """Envoy's dynamic metadata."""
    source: Source | None = field(default=None, repr=False, compare=False)

    @property
    def decision_id(self) -> str:
        """A UUID: it is in the answer, in the decision record and in Envoy's access log."""
        return self.headers.get(DECISION_ID, "")

    @property
    def record(self) -> dict[str, Any] | None:
        """The decision record (docs/telemetry.md), waited for at most 2 s; None where the records cannot be read."""
        return self.source.record(self.decision_id) if self.source is not None else None


def read(question: Question, message: bytes, source: Source | None = None) -> Answer:
    """A serialized CheckResponse. Raises ExtauthzError when it is none."""
    try:
        response = CheckResponse.FromString(message)
    except DecodeError:
        raise ExtauthzError("the answer is not a CheckResponse; is this the address of a Check server?") from None
    metadata: dict[str, Any] = json_format.MessageToDict(response.dynamic_metadata)
    if response.status.code == 0:
        ok = response.ok_response
        removed = frozenset(ok.headers_to_remove)
        return Answer(question, True, 200, "", "", "", _headers(ok), removed, "", metadata, source)  # noqa: FBT003 - named in the class
    denied = response.denied_response
    code, headers = response.status.message, _headers(denied)
    known = code.partition(".")[0]
    return Answer(
        question=question,
        allowed=False,
        status=denied.status.code,
        layer=known if known in set(Layer) else "",
        code=code,
        message=_message(denied.body, headers),
        headers=headers,
        removed=frozenset(),
        body=denied.body,
        metadata=metadata,
        source=source,
    )


def _headers(part: Any) -> dict[str, str]:
    return {option.header.key: option.header.value for option in part.headers}


def _message(body: str, headers: Mapping[str, str]) -> str:
    """From our JSON body, or from the gRPC status when the caller speaks gRPC."""
    if "grpc-message" in headers:
        return unquote(headers["grpc-message"])
    try:
        message = orjson.loads(body)["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return message if isinstance(message, str) else ""
