"""The engine that asks a separate OPA process through its Data API (`POST /v1/data/<entrypoint>`).

Source of the API: OPA's REST reference; undefined is a 200 without `result`, and an evaluation that fails is a 500
whose body names OPA's error codes.

A question, step by step:

1. While the breaker is open it is refused at once (`engine.unavailable`), and the route's failure plan decides.
2. It waits for a place in the bulkhead, as others do, no longer than its deadline.
3. It is asked, within what is left; what becomes of it is told to the breaker (`endpoint`).
4. Where the connection failed it is asked once more (`breaker.retries`), in what is left of the deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote

import orjson

from extauthz.bulkhead import Bulkhead, Full
from extauthz.endpoint import REFUSED, Endpoint
from extauthz.errors import EngineFault
from extauthz.policy.engine import Evaluation, Query
from extauthz.policy.http1 import Malformed, Response, TooLarge
from extauthz.policy.pool import Disconnected, Pool
from extauthz.policy.result import parse
from extauthz.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.clock import Clock
    from extauthz.model import Decision
    from extauthz.policy.settings import SidecarSettings

OK: Final = 200
BAD_REQUEST: Final = 400
INTERNAL: Final = 500
MAX_HEADS: Final = 4096
NAME: Final = "opa"
HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: opa\r\n\r\n"
PROVENANCE: Final = b"GET /v1/data/system/extauthz/revision?provenance=true HTTP/1.1\r\nHost: opa\r\n\r\n"


class _Failed(EngineFault):
    """OPA, or the way to it, is at fault: the breaker is told. `again`: nothing was answered; it may be asked again."""

    def __init__(self, detail: str, *, again: bool = False) -> None:
        super().__init__("engine.unavailable", detail)
        self.again = again


class SidecarEngine:
    """`address` is `unix:///path` or `http://host:port`.

    `revision` names the policy of an OPA that never changes it (the one that we start). None: OPA is asked, with
    every question and every `settings.watch` seconds, which bundles it serves. An OPA that names no revision has the
    empty revision, and its answers cannot be reused.
    """

    def __init__(
        self,
        address: str,
        *,
        settings: SidecarSettings,
        clock: Clock,
        revision: str | None = None,
        read: Callable[[Any], Decision] = parse,
        endpoint: Endpoint | None = None,
    ) -> None:
        """`read` makes the decision of the result (`result.parse`'s contract). `endpoint` None: one of its own."""
        self._read = read
        self._pool = Pool(address, limit=settings.max_response)
        self._places = Bulkhead(settings.pool, settings.queue)
        self._endpoint = endpoint or Endpoint(NAME, settings.breaker, clock, timeout=settings.timeout)
        self._settings = settings
        self._clock = clock
        self._fixed = revision is not None
        self._revision = revision or ""
        self._heads: dict[str, bytes] = {}
        self._tasks = Tasks()

    @property
    def revision(self) -> str:
        return self._revision

    def start(self) -> None:
        """Begins to watch the revision of an OPA that is not ours; nothing to do for a fixed one."""
        if not self._fixed:
            self._tasks.start(self._watch(), "policy-revision")

    async def evaluate(self, query: Query) -> Evaluation:
        document = query.input
        request = b'%s%d\r\n\r\n{"input":%s}' % (self._head(query.entrypoint), len(document) + 10, document)
        now = self._clock.monotonic()
        until = min(query.deadline, now + self._settings.timeout)
        if until <= now:
            raise EngineFault("engine.deadline", "no time was left to ask OPA")
        answer = await self._answer(request, until)
        if not self._fixed:
            self._revision = revision_of(answer)
        if "result" not in answer:
            raise EngineFault("engine.undefined", query.entrypoint)
        return Evaluation(self._read(answer["result"]), self._revision)

    async def ready(self) -> bool:
        try:
            response = await self._ask(HEALTH, self._settings.timeout)
        except EngineFault:
            return False
        return response.status == OK

    async def close(self) -> None:
        await self._tasks.close()
        self._pool.close()

    def _head(self, entrypoint: str) -> bytes:
        head = self._heads.get(entrypoint)
        if head is None:
            path = quote(entrypoint, safe="/") + ("" if self._fixed else "?provenance=true")
            head = (
                f"POST /v1/data/{path} HTTP/1.1\r\nHost: opa\r\nContent-Type: application/json\r\nContent-Length: "
            ).encode()
            if len(self._heads) < MAX_HEADS:
                self._heads[entrypoint] = head
        return head

    async def _answer(self, request: bytes, until: float) -> dict[str, Any]:
        attempt = 0
        while True:
            try:
                return await self._attempt(request, until)
            except _Failed as failed:
                attempt += 1
                wait = self._endpoint.again(attempt, until - self._clock.monotonic()) if failed.again else None  # 4
                if wait is None:
                    raise
            await asyncio.sleep(wait)

    async def _attempt(self, request: bytes, until: float) -> dict[str, Any]:
        """Steps 1 and 2."""
        if self._endpoint.refuses():  # 1: before it waits for a place that others hold
            raise _open()
        try:
            async with asyncio.timeout(until - self._clock.monotonic()), self._places:  # 2
                return await self._observed(request)
        except Full:
            raise EngineFault("engine.unavailable", "too many questions wait for OPA") from None
        except TimeoutError:
            raise EngineFault("engine.deadline", "OPA did not answer in time") from None

    async def _observed(self, request: bytes) -> dict[str, Any]:
        """Step 3."""
        endpoint, clock = self._endpoint, self._clock
        began = clock.monotonic()
        ticket = endpoint.breaker.admit(began)
        if ticket == REFUSED:
            raise _open()
        try:
            answer = _read(await self._sent(request))
        except _Failed:
            endpoint.failed(ticket)
            raise
        except EngineFault:  # it answered, only not with a decision
            endpoint.answered(ticket, clock.monotonic() - began)
            raise
        except BaseException:  # cancelled: its time was over, or nobody waits any more
            endpoint.late(ticket, clock.monotonic() - began)
            raise
        endpoint.answered(ticket, clock.monotonic() - began)
        return answer

    async def _ask(self, request: bytes, seconds: float) -> Response:
        """For questions about OPA itself: they pass the breaker by, and tell it nothing. Raises EngineFault."""
        try:
            async with asyncio.timeout(seconds), self._places:
                return await self._sent(request)
        except (TimeoutError, Full):
            raise EngineFault("engine.deadline", "OPA did not answer in time") from None

    async def _sent(self, request: bytes) -> Response:
        """Raises EngineFault; _Failed where OPA or the way to it is at fault."""
        try:
            return await self._pool.ask(request)
        except Disconnected as error:
            raise _Failed(f"OPA: {error}", again=True) from None
        except Malformed as error:
            raise _Failed(f"OPA's answer is not HTTP as expected: {error}") from None
        except TooLarge:
            limit = self._settings.max_response
            raise EngineFault("engine.invalid_result", f"the answer is larger than {limit} bytes") from None

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(EngineFault):
                response = await self._ask(PROVENANCE, self._settings.timeout)
                if response.status == OK:
                    self._revision = revision_of(_object(response))
            await asyncio.sleep(self._settings.watch)


def _open() -> EngineFault:
    return EngineFault("engine.unavailable", "OPA is left alone: its breaker is open after failures")


def _read(response: Response) -> dict[str, Any]:
    """OPA's answer document. Raises EngineFault."""
    if response.status != OK:
        _refused(response)
    return _object(response)


def revision_of(answer: dict[str, Any]) -> str:
    """The revision of all bundles in an answer's `provenance`; empty when one of them, or all, have none."""
    provenance = answer.get("provenance")
    if not isinstance(provenance, dict):
        return ""
    bundles = provenance.get("bundles")
    if not isinstance(bundles, dict):
        legacy = provenance.get("revision")
        return legacy if isinstance(legacy, str) else ""
    found = {}
    for name, bundle in bundles.items():
        revision = bundle.get("revision") if isinstance(bundle, dict) else None
        if not isinstance(revision, str) or not revision:
            return ""
        found[name] = revision
    if len(found) <= 1:
        return next(iter(found.values()), "")
    return hashlib.sha256(orjson.dumps(found, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _object(response: Response) -> dict[str, Any]:
    try:
        answer = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise _Failed("OPA's answer is not a JSON object")
    return answer


def _refused(response: Response) -> NoReturn:
    """An evaluation that failed is the policy's fault, anything else is OPA's. Only codes are told, never messages."""
    answer = _object(response)
    errors = answer.get("errors")
    codes = [one.get("code") for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []
    known = [code for code in codes if isinstance(code, str) and code.startswith("eval_")]
    if response.status == INTERNAL and known and "eval_cancel_error" not in known:
        raise EngineFault("engine.invalid_result", f"OPA: {known[0][:64]}")
    if response.status == BAD_REQUEST:
        raise EngineFault("engine.internal", "OPA does not take the input for JSON")
    raise _Failed(f"OPA answered with status {response.status}")
