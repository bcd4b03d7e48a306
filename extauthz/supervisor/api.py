"""The parent's side of the HTTP API: bytes in, bytes out; workers authenticate and answer.

| request | who answers |
| --- | --- |
| AuthZEN | one worker, in turn; the next one when it does not answer |
| `GET /decisions/{id}` | all workers, from memory; then one of them, from the file of records |
| `GET /policy/rollout` | all workers, combined |
| `POST /policy/rollout` | all workers, once all have let the caller see the status and nothing speaks against it |
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
from starlette.responses import Response
from starlette.routing import Route

from extauthz.api.combined import combined, objections
from extauthz.api.decisions import DECISIONS
from extauthz.api.evaluations import EVALUATION, EVALUATIONS, METADATA
from extauthz.api.messages import MAX_BODY, ApiAnswer, ApiRequest, json_answer, problem
from extauthz.api.rollouts import ROLLOUT
from extauthz.transport.control import ControlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

TIMEOUT: Final = 15.0
"""Seconds for a worker's answer: longer than any `timeout` of the settings."""
MAX_UNDER_WAY: Final = 64
"""Fewer than the listener's connections, so that probes are always answered."""
_MAX_REQUEST_ID: Final = 512
_BODY_SECONDS: Final = 10.0


class Asked(Protocol):
    """A worker that can be asked; `supervisor.process.WorkerProcess`."""

    async def ask(self, command: str, timeout: float = ..., **values: Any) -> Any: ...


class ApiForwarder:
    """`unix`: the listener is a Unix socket, so callers have passed its permissions."""

    def __init__(self, workers: Sequence[Asked], *, unix: bool) -> None:
        self._workers = workers
        self._unix = unix
        self._turn = count()
        self._under_way = 0

    def routes(self) -> list[Route]:
        """Every path of the API; a worker says whether it exists."""
        methods = ["GET", "POST"]
        paths = (EVALUATION, EVALUATIONS, METADATA, ROLLOUT, DECISIONS + "{decision_id}")
        return [Route(path, self.respond, methods=methods) for path in paths]

    async def respond(self, request: Request) -> Response:
        if self._under_way >= MAX_UNDER_WAY:
            answer = problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once", retry_after="1")
        else:
            self._under_way += 1
            try:
                asked = await self._read(request)
                answer = asked if isinstance(asked, ApiAnswer) else await self._answer(asked, request.query_params)
            finally:
                self._under_way -= 1
        response = Response(answer.body, answer.status, dict(answer.headers), media_type=answer.media_type)
        request_id = request.headers.get("x-request-id", "")
        if request_id and len(request_id) <= _MAX_REQUEST_ID:
            response.headers["x-request-id"] = request_id
        return response

    async def _answer(self, asked: ApiRequest, options: Any) -> ApiAnswer:
        if asked.path.startswith(DECISIONS):
            return await self._found(asked)
        if asked.path == ROLLOUT and asked.method == "GET":
            return await self._status(asked)
        if asked.path == ROLLOUT:
            return await self._chosen(asked, force=options.get("force") == "true")
        return await self._one(asked)

    async def _one(self, asked: ApiRequest) -> ApiAnswer:
        first = next(self._turn)
        for step in range(len(self._workers)):
            answer = await _ask(self._workers[(first + step) % len(self._workers)], asked)
            if answer is not None:
                return answer
        return _nobody()

    async def _all(self, asked: ApiRequest) -> list[ApiAnswer | None]:
        return list(await asyncio.gather(*(_ask(worker, asked) for worker in self._workers)))

    async def _found(self, asked: ApiRequest) -> ApiAnswer:
        answers = [answer for answer in await self._all(asked) if answer is not None]
        for answer in answers:
            if answer.status != HTTPStatus.NOT_FOUND:
                return answer
        return await self._one(ApiRequest(**{**_fields(asked), "deep": True})) if answers else _nobody()

    async def _status(self, asked: ApiRequest) -> ApiAnswer:
        seen = await self._seen(asked)
        return seen if isinstance(seen, ApiAnswer) else json_answer(seen)

    async def _seen(self, asked: ApiRequest) -> dict[str, Any] | ApiAnswer:
        """The combined status; an answer when a worker has none to give."""
        answers = await self._all(ApiRequest(**{**_fields(asked), "method": "GET", "body": b""}))
        statuses = []
        for answer in answers:
            if answer is None:
                return _nobody()
            if answer.status != HTTPStatus.OK:
                return answer
            statuses.append(orjson.loads(answer.body))
        return {**combined(statuses), "workers": len(statuses)}

    async def _chosen(self, asked: ApiRequest, *, force: bool) -> ApiAnswer:
        seen = await self._seen(asked)
        if isinstance(seen, ApiAnswer):
            return seen
        if not force and _action(asked.body) == "promote" and (against := objections(seen)):
            return problem(HTTPStatus.CONFLICT, "\n".join(against))
        answers = await self._all(asked)
        for answer in answers:
            if answer is None:
                return problem(
                    HTTPStatus.SERVICE_UNAVAILABLE, "a worker does not answer; it takes the choice once it does"
                )
            if answer.status != HTTPStatus.OK:
                return answer
        return answers[0] or _nobody()

    async def _read(self, request: Request) -> ApiRequest | ApiAnswer:
        """The request within bounds; an answer when it is beyond them."""
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MAX_BODY:
                        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request body is too large")
        except TimeoutError:
            return problem(HTTPStatus.REQUEST_TIMEOUT, "the request body did not arrive in time")
        return ApiRequest(
            method=request.method,
            path=request.url.path,
            authorization=tuple(request.headers.getlist("authorization")),
            content_type=request.headers.get("content-type", ""),
            request_id=request.headers.get("x-request-id", "")[:_MAX_REQUEST_ID],
            unix=self._unix,
            body=bytes(body),
        )


async def _ask(worker: Asked, asked: ApiRequest) -> ApiAnswer | None:
    try:
        return ApiAnswer.of(await worker.ask("api", TIMEOUT, request=asked.plain()))
    except ControlError:
        return None


def _fields(asked: ApiRequest) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in ApiRequest.__slots__}


def _action(body: bytes) -> str:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    return str(asked.get("action", "")) if isinstance(asked, dict) else ""


def _nobody() -> ApiAnswer:
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "no worker answers", retry_after="1")
