"""One HTTP request and its answer as they travel between the parent and a worker: plain JSON values."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BODY: Final = 512 * 1024
"""The parent reads no more than this of a request body, whatever the settings say."""
JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """`authorization`: the values of all Authorization headers. `unix`: came through a Unix socket.

    `deep`: also look where it takes time (files); the parent asks so once nobody knew at once.
    """

    method: str
    path: str
    authorization: tuple[str, ...] = ()
    content_type: str = ""
    request_id: str = ""
    unix: bool = False
    deep: bool = False
    body: bytes = b""

    def plain(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "path": self.path,
            "authorization": list(self.authorization),
            "content_type": self.content_type,
            "request_id": self.request_id,
            "unix": self.unix,
            "deep": self.deep,
            "body": base64.b64encode(self.body).decode(),
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ApiRequest:
        """Raises ExtauthzError for what is not ours."""
        try:
            return cls(
                **{
                    **values,
                    "authorization": tuple(values["authorization"]),
                    "body": base64.b64decode(values["body"], validate=True),
                }
            )
        except (TypeError, ValueError, KeyError):
            raise ExtauthzError("not an API request") from None


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    status: int
    body: bytes = b""
    media_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "body": base64.b64encode(self.body).decode(),
            "media_type": self.media_type,
            "headers": dict(self.headers),
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ApiAnswer:
        return cls(values["status"], base64.b64decode(values["body"]), values["media_type"], values["headers"])


def json_answer(document: Any, status: int = HTTPStatus.OK, **headers: str) -> ApiAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ApiAnswer(status, orjson.dumps(document), JSON, {"cache-control": "no-store", **named})


def problem(status: HTTPStatus, message: str, **headers: str) -> ApiAnswer:
    """An error: its body is the message, as AuthZEN 1.0 section 10.1 has it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ApiAnswer(status, message.encode(), TEXT, {"cache-control": "no-store", **named})
