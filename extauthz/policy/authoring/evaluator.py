"""Asks one policy on this machine: OPA as a library, or a run of the `opa` tool a question where that is not built."""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from extauthz.errors import ConfigError, ConfigProblem, EngineFault, MissingPart
from extauthz.policy.authoring.data import with_data
from extauthz.policy.authoring.opa import Opa, errors
from extauthz.policy.cases import CaseResult, run_cases
from extauthz.policy.embedded import LoadedPolicy
from extauthz.policy.native import find_library, find_tool
from extauthz.policy.result import parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extauthz.model import Decision
    from extauthz.policy.cases import Case
    from extauthz.policy.loader import PolicyFiles

SECONDS: Final = 10.0
MAX_RESULT: Final = 4 * 1024**2


class Evaluator:
    """A context manager. `decide` is a `cases.Evaluate`. Not for two threads at once."""

    def __init__(self, policy: PolicyFiles) -> None:
        """Raises ConfigError with file and line where the policy does not compile, and MissingPart."""
        self.policy = policy
        try:
            library: Path | None = find_library()
        except MissingPart:
            library = None
        self._embedded = LoadedPolicy(library, policy) if library else None
        self._tool = None if library else _Tool(policy)
        self._out = ctypes.create_string_buffer(MAX_RESULT if library else 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._embedded is not None:
            self._embedded.free()
        if self._tool is not None:
            self._tool.close()

    @property
    def name(self) -> str:
        return "embedded" if self._embedded is not None else "tool"

    def raw(self, entrypoint: str, document: bytes) -> Any:
        """The value at any rule's path. Raises EngineFault (`engine.undefined` …)."""
        if self._embedded is not None:
            return orjson.loads(self._embedded.evaluate(entrypoint.encode(), document, SECONDS, self._out))
        if self._tool is None:
            raise EngineFault("engine.unavailable", "the evaluator is closed")
        return self._tool.raw(entrypoint, document)

    def decide(self, entrypoint: str, document: bytes) -> Decision:
        """Raises EngineFault."""
        return parse(self.raw(entrypoint, document))

    def run(self, cases: Iterable[Case]) -> list[CaseResult]:
        """Every case's result in order; a case that replaces data is asked of the policy with that data."""
        results = []
        for case in cases:
            if case.data:
                with Evaluator(with_data(self.policy, case.data)) as other:
                    results += run_cases(other.decide, [case])
            else:
                results += run_cases(self.decide, [case])
        return results


class _Tool:
    def __init__(self, policy: PolicyFiles) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="extauthz-policy-")
        place = Path(self._directory.name)
        (place / "policy.tar.gz").write_bytes(policy.bundle())
        self._opa = Opa(find_tool(), place)
        found = errors(self._opa.json("check", "--format", "json", "--bundle", "policy.tar.gz"))
        if found:
            self.close()
            texts = [str(one.get("message", "")) for one in found]
            raise ConfigError(
                tuple(ConfigProblem(str(policy.root), 0, "", text, "run `extauthz policy check`") for text in texts)
            )

    def raw(self, entrypoint: str, document: bytes) -> Any:
        query = "data." + entrypoint.replace("/", ".")
        answer = self._opa.json(
            "eval", "--bundle", "policy.tar.gz", "--stdin-input", "--format", "json", query, stdin=document
        )
        if not isinstance(answer, dict) or errors(answer):
            raise EngineFault("engine.invalid_result", "OPA: the evaluation failed")
        if not answer.get("result"):
            raise EngineFault("engine.undefined", entrypoint)
        return answer["result"][0]["expressions"][0]["value"]

    def close(self) -> None:
        self._directory.cleanup()
