"""Many questions to one policy, fast: OPA as a library, threads without the GIL, equal questions asked once.

A policy whose answer depends on more than its input (`http.send`, the time) is asked every time.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Final, Self, TypeVar

import orjson

from extauthz.errors import EngineFault
from extauthz.policy.embedded import LoadedPolicy
from extauthz.policy.native import find_library
from extauthz.policy.result import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from extauthz.model import Decision
    from extauthz.policy.loader import PolicyFiles
    from extauthz.policy.projection import Report

    Answer = Decision | EngineFault

SECONDS: Final = 10.0
MAX_RESULT: Final = 1024**2
MAX_KEPT: Final = 200_000
_T = TypeVar("_T")
_R = TypeVar("_R")


class BulkPolicy:
    """A context manager. `decide` may be called from any thread."""

    def __init__(self, policy: PolicyFiles, entrypoints: Iterable[str] = ()) -> None:
        """Raises ConfigError with file and line where the policy does not compile, and MissingPart."""
        self.policy = policy
        self._loaded = LoadedPolicy(find_library(), policy)
        self._local = threading.local()
        self._kept: dict[bytes, Answer] = {}
        self.report: Report = self._loaded.describe(sorted(set(entrypoints)))
        self._steady: dict[str, bool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loaded.free()

    def decide(self, entrypoint: str, document: bytes) -> Answer:
        """A fault is an answer, too."""
        if not self._is_steady(entrypoint):
            return self._ask(entrypoint, document)
        key = hashlib.blake2b(b"%s\n%s" % (entrypoint.encode(), document), digest_size=16).digest()
        found = self._kept.get(key)
        if found is None:
            found = self._ask(entrypoint, document)
            if len(self._kept) < MAX_KEPT:
                self._kept[key] = found
        return found

    def _ask(self, entrypoint: str, document: bytes) -> Answer:
        out = getattr(self._local, "out", None)
        if out is None:
            out = self._local.out = ctypes.create_string_buffer(MAX_RESULT)
        try:
            return parse(orjson.loads(self._loaded.evaluate(entrypoint.encode(), document, SECONDS, out)))
        except EngineFault as fault:
            return fault

    def _is_steady(self, entrypoint: str) -> bool:
        steady = self._steady.get(entrypoint)
        if steady is None:
            analysis = self.report.analyses.get(entrypoint)
            if analysis is None:
                analysis = self._loaded.describe([entrypoint]).analyses[entrypoint]
            steady = self._steady[entrypoint] = not analysis.nondeterministic
        return steady

    def reads(self, entrypoint: str) -> tuple[tuple[str, ...], ...]:
        """The paths below the input that the entrypoint can read."""
        analysis = self.report.analyses.get(entrypoint) or self._loaded.describe([entrypoint]).analyses[entrypoint]
        return analysis.paths


def in_batches(work: Callable[[list[_T]], _R], items: Iterable[_T], *, threads: int, size: int = 256) -> Iterator[_R]:
    """`work` over batches of `items`, in order, in threads; never more than a few batches are held at once."""
    stream = iter(items)
    waiting = []
    with ThreadPoolExecutor(threads, thread_name_prefix="policy") as pool:
        while batch := list(islice(stream, size)):
            waiting.append(pool.submit(work, batch))
            if len(waiting) > threads * 2:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
