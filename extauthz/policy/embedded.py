"""The engine that evaluates in this process: OPA as a C library (`native/main.go`), through ctypes.

Load after fork, never fork after load: the library starts Go's runtime with threads of its own, which do not exist in
a forked child. Workers therefore make their engine after they have started, and an engine that finds itself in a
forked child refuses every question.

Each question runs in a thread (ctypes lets go of the GIL), bounded in number and in time. A question that is late is
answered `engine.deadline` at once; OPA has been given the same bound and leaves the thread soon after.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NoReturn

import orjson

from extauthz.errors import ConfigError, EngineFault, MissingPart
from extauthz.policy.engine import Evaluation, Query
from extauthz.policy.projection import problem, read_report
from extauthz.policy.result import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from extauthz.clock import Clock
    from extauthz.model import Decision
    from extauthz.policy.loader import PolicyFiles
    from extauthz.policy.projection import Report
    from extauthz.policy.settings import EmbeddedSettings

UNDEFINED: Final = -1
DEADLINE: Final = -2
FAILED: Final = -3
TOO_LARGE: Final = -4
CODES: Final = {
    UNDEFINED: ("engine.undefined", ""),
    DEADLINE: ("engine.deadline", "OPA did not answer in time"),
    FAILED: ("engine.invalid_result", "OPA: the evaluation failed"),
    TOO_LARGE: ("engine.invalid_result", "the answer is too large"),
}
DESCRIBE_BYTES: Final = 16 * 1024**2
MICROSECONDS: Final = 1_000_000

_lock = threading.Lock()
_libraries: dict[str, ctypes.CDLL] = {}


def _library(path: Path) -> ctypes.CDLL:
    """One load for a process: a second copy of Go's runtime would be a second garbage collector."""
    with _lock:
        known = _libraries.get(str(path))
        if known is not None:
            return known
        try:
            library = ctypes.CDLL(str(path))
            data, size = ctypes.c_char_p, ctypes.c_size_t
            library.extauthz_load.argtypes = [data, size, ctypes.POINTER(ctypes.c_uint64), ctypes.c_void_p, size]
            library.extauthz_describe.argtypes = [ctypes.c_uint64, data, size, ctypes.c_void_p, size]
            library.extauthz_eval.argtypes = [
                ctypes.c_uint64, data, size, data, size, ctypes.c_int64, ctypes.c_void_p, size,
            ]  # fmt: skip
            library.extauthz_free.argtypes = [ctypes.c_uint64]
            library.extauthz_free.restype = None
            for function in (library.extauthz_load, library.extauthz_describe, library.extauthz_eval):
                function.restype = ctypes.c_int64
        except (OSError, AttributeError) as error:
            raise MissingPart("OPA as a C library", f"it cannot be loaded ({error}); run `make native`") from None
        _libraries[str(path)] = library
        return library


class LoadedPolicy:
    """A policy in the library, until `free`. Blocking; safe in any number of threads."""

    def __init__(self, library: Path, policy: PolicyFiles) -> None:
        """Raises ConfigError with file and line where the policy does not compile, and MissingPart."""
        self._functions = _library(library)
        self._policy = policy
        self._pid = os.getpid()
        bundle = policy.bundle()
        handle = ctypes.c_uint64(0)
        out = ctypes.create_string_buffer(DESCRIBE_BYTES)
        written = self._functions.extauthz_load(bundle, len(bundle), ctypes.byref(handle), out, len(out))
        if written > 0:
            problems = orjson.loads(ctypes.string_at(out, written))
            raise ConfigError(tuple(problem(one, policy.root) for one in problems))
        if written < 0:
            raise EngineFault("engine.internal", "the policy cannot be loaded")
        self._handle = handle.value

    @property
    def revision(self) -> str:
        return self._policy.revision

    def describe(self, entrypoints: Iterable[str] = ()) -> Report:
        asked = orjson.dumps(list(entrypoints))
        out = ctypes.create_string_buffer(DESCRIBE_BYTES)
        written = self._functions.extauthz_describe(self._handle, asked, len(asked), out, len(out))
        if written < 0:
            raise EngineFault("engine.internal", "the policy cannot be analysed")
        return read_report(ctypes.string_at(out, written), self._policy.root)

    def evaluate(self, entrypoint: bytes, document: bytes, seconds: float, out: ctypes.Array[ctypes.c_char]) -> bytes:
        """The result as JSON. Raises EngineFault."""
        if os.getpid() != self._pid:
            raise EngineFault("engine.internal", "the process was forked after OPA's library was loaded")
        micros = max(1, int(seconds * MICROSECONDS))
        written = self._functions.extauthz_eval(
            self._handle, entrypoint, len(entrypoint), document, len(document), micros, out, len(out)
        )
        if written < 0:
            _refuse(written)
        return ctypes.string_at(out, written)

    def free(self) -> None:
        self._functions.extauthz_free(self._handle)


def _refuse(code: int) -> NoReturn:
    name, detail = CODES.get(code, ("engine.internal", "OPA's library failed"))
    raise EngineFault(name, detail)


class EmbeddedEngine:
    """Takes over `policy` and frees it in `close`."""

    def __init__(
        self,
        policy: LoadedPolicy,
        *,
        settings: EmbeddedSettings,
        clock: Clock,
        read: Callable[[Any], Decision] = parse,
    ) -> None:
        """`read` makes the decision of the result (`result.parse`'s contract)."""
        self._policy = policy
        self._read = read
        self._settings = settings
        self._clock = clock
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="opa")
        self._places = settings.threads + settings.queue
        self._local = threading.local()
        self._closed = False

    @property
    def revision(self) -> str:
        return self._policy.revision

    async def evaluate(self, query: Query) -> Evaluation:
        if self._closed:
            raise EngineFault("engine.unavailable", "the engine is closed")
        left = min(query.deadline - self._clock.monotonic(), self._settings.timeout)
        if left <= 0:
            raise EngineFault("engine.deadline", "no time was left to ask OPA")
        if self._places <= 0:
            raise EngineFault("engine.unavailable", "too many questions are waiting")
        self._places -= 1
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, self._run, query, self._clock.monotonic() + left)
        running.add_done_callback(self._done)
        try:
            async with asyncio.timeout(left):
                result = await asyncio.shield(running)
        except TimeoutError:
            raise EngineFault("engine.deadline", "OPA did not answer in time") from None
        return Evaluation(self._read(orjson.loads(result)), self._policy.revision)

    async def ready(self) -> bool:
        return not self._closed

    async def close(self) -> None:
        """Questions under way are answered; the library's memory is given back when the last one has been."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        self._policy.free()

    def _run(self, query: Query, deadline: float) -> bytes:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise EngineFault("engine.deadline", "the question waited too long for a thread")
        out = getattr(self._local, "out", None)
        if out is None:
            out = self._local.out = ctypes.create_string_buffer(self._settings.max_result)
        return self._policy.evaluate(query.entrypoint.encode(), query.input, left, out)

    def _done(self, running: asyncio.Future[bytes]) -> None:
        self._places += 1
        if not running.cancelled():
            running.exception()  # looked at, also when nobody waits any more
