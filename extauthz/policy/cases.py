"""Decision cases: questions to a policy, and the answer that each must get.

They are the policy's own contract: `extauthz policy test` runs them, a policy bundle carries them, and a bundle is
activated only after they pass (`case_files` reads them). A fault of the engine is judged like a denial with its code,
so a case may expect `engine.undefined`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from extauthz.errors import EngineFault
from extauthz.model import Allow, Decision, Deny, deny

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping


class Evaluate(Protocol):
    """Asks a policy. `document` is the whole policy input as JSON. Raises EngineFault."""

    def __call__(self, entrypoint: str, document: bytes) -> Decision: ...


class EvaluateLater(Protocol):
    """The same, of an engine that waits."""

    def __call__(self, entrypoint: str, document: bytes) -> Awaitable[Decision]: ...


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come back. Empty and None: anything will do.

    `codes` are all reasons' codes in their order; `code` is the one that decides. `headers` and `metadata` are
    compared whole, as `mask` is.
    """

    allow: bool
    layer: str = ""
    code: str = ""
    codes: tuple[str, ...] = ()
    mask: tuple[str, ...] | None = None
    headers: Mapping[str, str] | None = None
    metadata: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return "allow" if self.allow else f"deny {self.code or ', '.join(self.codes) or self.layer}"


@dataclass(frozen=True, slots=True)
class Case:
    """`data` replaces parts of the policy's data; empty for nearly all cases."""

    name: str
    file: str
    line: int
    entrypoint: str
    input: Any
    expected: Expected
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def document(self) -> bytes:
        """The input as canonical JSON."""
        return orjson.dumps(self.input, option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """`problems` is empty when the case passed; each is one sentence, without values of the input."""

    case: Case
    decision: Decision
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        place = f"{self.case.file}:{self.case.line}: {self.case.name}"
        return f"{place}: {'; '.join(self.problems) or 'passed'}"


def run_cases(evaluate: Evaluate, cases: Iterable[Case]) -> list[CaseResult]:
    """Asks every case and judges the answers, in order. Blocks as long as `evaluate` does.

    `evaluate` answers from one policy and its own data: a case with `data` needs `authoring.evaluator.Evaluator`.
    """
    results = []
    for case in cases:
        try:
            decision = evaluate(case.entrypoint, case.document)
        except EngineFault as fault:
            decision = deny(fault.code, fault.detail)
        results.append(judge(case, decision))
    return results


async def run_cases_later(evaluate: EvaluateLater, cases: Iterable[Case]) -> list[CaseResult]:
    """`run_cases` for an engine that waits."""
    results = []
    for case in cases:
        try:
            decision = await evaluate(case.entrypoint, case.document)
        except EngineFault as fault:
            decision = deny(fault.code, fault.detail)
        results.append(judge(case, decision))
    return results


def judge(case: Case, decision: Decision) -> CaseResult:
    """Compares an answer with what the case expects."""
    expected = case.expected
    if expected.allow is not isinstance(decision, Allow):
        return CaseResult(case, decision, (f"expected {expected}, got {told(decision)}",))
    problems = _allowed(expected, decision) if isinstance(decision, Allow) else _denied(expected, decision)
    return CaseResult(case, decision, tuple(problems))


def told(decision: Decision) -> str:
    """A decision in a few words."""
    if isinstance(decision, Allow):
        return "allow"
    detail = decision.reasons[0].detail
    others = f" and {len(decision.reasons) - 1} more" if len(decision.reasons) > 1 else ""
    return f"deny {decision.code}" + (f" ({detail})" if detail else "") + others


def _allowed(expected: Expected, decision: Allow) -> list[str]:
    got = decision.obligations
    problems = []
    if expected.mask is not None and tuple(sorted(expected.mask)) != tuple(sorted(got.mask)):
        problems.append(f"expected mask {_list(expected.mask)}, got {_list(got.mask)}")
    if expected.headers is not None and dict(expected.headers) != dict(got.headers):
        problems.append(f"expected headers {_list(expected.headers)}, got {_list(dict(got.headers))}, or other values")
    if expected.metadata is not None and _plain(expected.metadata) != _plain(got.metadata):
        problems.append(f"expected metadata {_list(expected.metadata)}, got {_list(got.metadata)}, or other values")
    return problems


def _denied(expected: Expected, decision: Deny) -> list[str]:
    codes = tuple(reason.code for reason in decision.reasons)
    problems = []
    if expected.layer and expected.layer != decision.layer.value:
        problems.append(f"expected layer {expected.layer}, got {told(decision)}")
    if expected.code and expected.code != decision.code:
        problems.append(f"expected code {expected.code}, got {told(decision)}")
    if expected.codes and expected.codes != codes:
        problems.append(f"expected codes {_list(expected.codes)}, got {_list(codes)}")
    return problems


def _list(names: Iterable[str]) -> str:
    return f"[{', '.join(names)}]"


def _plain(value: Any) -> Any:
    """Frozen metadata has tuples where JSON has lists."""
    return orjson.loads(orjson.dumps(value))
