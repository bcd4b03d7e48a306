"""The HTTP API from the other end: what command line tools ask a running server."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import httpx
import orjson

from extauthz.api.decisions import DECISIONS
from extauthz.api.rollouts import ROLLOUT
from extauthz.errors import ExtauthzError
from extauthz.telemetry.tickets import ID, find_in_file

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNIX: Final = "unix://"
_TIMEOUT: Final = 20.0
_MAX_ANSWER: Final = 64 * 1024 * 1024


class ApiError(ExtauthzError):
    """The server refused, or cannot be reached. `status` 0: there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ServerApi:
    """`server`: `http://127.0.0.1:9190`, `https://…` or `unix:///run/extauthz/http.sock`. Every method blocks."""

    def __init__(self, server: str, token: str = "") -> None:
        path = server.removeprefix(_UNIX) if server.startswith(_UNIX) else None
        if path is None and not server.startswith(("http://", "https://")):
            raise ApiError(f"{server!r} is no server: http://127.0.0.1:9190 or unix:///path is expected")
        self._server = server
        self._base = "http://extauthz" if path is not None else server.rstrip("/")
        self._socket = None if path is None else Path(path)
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def rollout(self) -> dict[str, Any]:
        """The combined status (`api.combined`). Raises ApiError."""
        return self._object("GET", ROLLOUT)

    def choose(
        self, action: Literal["promote", "rollback", "clear"], live: str, candidate: str, *, force: bool = False
    ) -> dict[str, Any]:
        """`{"phase", "warning"}`. Raises ApiError."""
        body = orjson.dumps({"action": action, "live": live, "candidate": candidate})
        return self._object("POST", ROLLOUT + ("?force=true" if force else ""), body)

    def decision(self, decision_id: str) -> dict[str, Any] | None:
        """The story of a decision, None when the server does not know it. Raises ApiError."""
        if not ID.fullmatch(decision_id):
            return None
        try:
            return self._object("GET", DECISIONS + decision_id)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _object(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        headers = {**self._headers, "content-type": "application/json"} if body else self._headers
        transport = None
        if self._socket is not None:
            if not self._socket.is_socket():
                raise ApiError(f"{self._server} is not there: does the server run?")
            transport = httpx.HTTPTransport(uds=str(self._socket))
        try:
            with httpx.Client(base_url=self._base, transport=transport, timeout=_TIMEOUT, trust_env=False) as client:
                response = client.request(method, path, content=body or None, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiError(f"{self._server} does not answer ({type(error).__name__}): does the server run?") from None
        if response.status_code != HTTPStatus.OK:
            raise ApiError(_said(response), response.status_code)
        try:
            answer = orjson.loads(response.content[:_MAX_ANSWER])
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise ApiError(f"{self._server} does not speak the API of extauthz")
        return answer


def find(decision_id: str, *, records: Iterable[Path] = (), server: str = "", token: str = "") -> dict[str, Any] | None:
    """The story of a decision: `{"decision_id", "source", "record", "reasons", "input"}`, None where nobody knows it.

    The server is asked first, then each file of decision records. `record` is a decision record; `input` is the policy
    input where it was kept, with masked values; `source` is `memory` or `records`. Blocks. Raises ApiError.
    """
    if server and (story := ServerApi(server, token).decision(decision_id)) is not None:
        return story
    for file in records:
        if (story := find_in_file(file, decision_id)) is not None:
            return story
    return None


def _said(response: httpx.Response) -> str:
    text = response.text[:2000].strip() or response.reason_phrase
    if response.status_code == HTTPStatus.NOT_FOUND and text == "not found":
        return "this server does not have that endpoint: configure it under `api` in extauthz.yaml"
    return text
