"""The engine that asks a separate OPA process through its Data API (`POST /v1/data/<entrypoint>`).

Source of the API: OPA's REST reference; undefined is a 200 without `result`, and an evaluation that fails is a 500
whose body names OPA's error codes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote

import orjson

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
HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: opa\r\n\r\n"
PROVENANCE: Final = b"GET /v1/data/system/extauthz/revision?provenance=true HTTP/1.1\r\nHost: opa\r\n\r\n"


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
    ) -> None:
        """`read` makes the decision of the result (`result.parse`'s contract)."""
        self._read = read
        self._pool = Pool(address, size=settings.pool, limit=settings.max_response)
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
        left = min(query.deadline - self._clock.monotonic(), self._settings.timeout)
        if left <= 0:
            raise EngineFault("engine.deadline", "no time was left to ask OPA")
        response = await self._ask(request, left)
        if response.status != OK:
            _refused(response)
        answer = _object(response)
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

    async def _ask(self, request: bytes, seconds: float) -> Response:
        try:
            async with asyncio.timeout(seconds):
                return await self._pool.ask(request)
        except TimeoutError:
            raise EngineFault("engine.deadline", "OPA did not answer in time") from None
        except Disconnected as error:
            raise EngineFault("engine.unavailable", f"OPA: {error}") from None
        except Malformed as error:
            raise EngineFault("engine.unavailable", f"OPA's answer is not HTTP as expected: {error}") from None
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
        raise EngineFault("engine.unavailable", "OPA's answer is not a JSON object")
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
    raise EngineFault("engine.unavailable", f"OPA answered with status {response.status}")
