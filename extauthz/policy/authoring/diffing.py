"""`extauthz policy diff`: what a changed policy decides differently, and which change is to blame, with an example.

Both policies are asked the same questions (`inputs`). For each kind of difference the old policy is then asked again
with one changed rule at a time (`splicing`): the changes that alone make the difference are named. A search finds what
it finds: no difference is no proof, but every difference that is told was evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz.errors import ConfigError, ConfigProblem, EngineFault
from extauthz.model import Allow
from extauthz.policy.authoring import inputs, replaying, splicing
from extauthz.policy.authoring.bulk import BulkPolicy, in_batches
from extauthz.policy.authoring.data import data_of
from extauthz.policy.authoring.inputs import PLAIN, Question
from extauthz.policy.authoring.opening import cases_of, open_policy
from extauthz.policy.authoring.shipped import input_schema
from extauthz.policy.native import find_tool
from extauthz.policy.projection import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from extauthz.policy.authoring.bulk import Answer
    from extauthz.policy.loader import PolicyFiles

MAX_EXAMPLES: Final = 200
"""Examples of one kind whose cause is looked for."""
MAX_PARTS: Final = 64
TOGETHER: Final = "several changes together"
_ORDER: Final = ("denied_to_allowed", "less_masked", "allowed_to_denied", "more_masked", "fault", "code")


@dataclass(frozen=True, slots=True)
class Difference:
    """`rules` are the changes each of which makes it alone. `code` is the denial's that is gone, or new.

    `count` is how many of the kept examples are of this group.
    """

    kind: str
    code: str
    entrypoint: str
    rules: tuple[str, ...]
    count: int
    example: dict[str, Any]
    origin: str

    @property
    def widens(self) -> bool:
        return self.kind in replaying.WIDER


@dataclass(slots=True)
class Diff:
    """`asked` counts the questions; `entrypoints` that only one of the policies has are in `gone` and `added`."""

    asked: int = 0
    differences: list[Difference] = field(default_factory=list)
    gone: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def widened(self) -> list[Difference]:
        return [one for one in self.differences if one.widens]


def diff(
    old: Path, new: Path, *, records: Sequence[Path] = (), entrypoints: Sequence[str] = (), budget: int, threads: int
) -> Diff:
    """Raises ConfigError and MissingPart. Blocks: about a minute for 100,000 questions."""
    before, after = open_policy(old), open_policy(new)
    seeds = [*_known(old, new), *_recorded(records)]
    wanted = {*entrypoints, *(seed.entrypoint for seed in seeds)}
    with BulkPolicy(before, wanted) as one, BulkPolicy(after, wanted) as other:
        declared = ({*one.report.declared}, {*other.report.declared})
        wanted |= declared[0] & declared[1]
        seeds += [Question(entrypoint, PLAIN, "a plain input") for entrypoint in sorted(wanted)]
        reads = {name: tuple(dict.fromkeys([*one.reads(name), *other.reads(name)])) for name in sorted(wanted)}
        texts = [text.decode(errors="replace") for text in (*before.files.values(), *after.files.values())]
        schema = orjson.loads(input_schema().read_bytes())
        values = inputs.pool(texts, [data_of(before), data_of(after)], schema)
        found = _Search(one, other)
        found.run(seeds, threads)
        found.run(inputs.grown(seeds, reads, values, max(0, budget - len(seeds))), threads)
        differences = _blamed(found, before, after)
    order = {kind: place for place, kind in enumerate(_ORDER)}
    differences.sort(key=lambda one: (order[one.kind], one.entrypoint, one.code))
    gone, added = declared[0] - declared[1], declared[1] - declared[0]
    return Diff(found.asked, differences, tuple(sorted(gone)), tuple(sorted(added)))


class _Search:
    """`found`: (kind, code, entrypoint) → the first questions of that group."""

    def __init__(self, old: BulkPolicy, new: BulkPolicy) -> None:
        self.old = old
        self._new = new
        self.asked = 0
        self.found: dict[tuple[str, str, str], list[Question]] = {}

    def run(self, questions: Iterable[Question], threads: int) -> None:
        for asked, different in in_batches(self._batch, questions, threads=threads):
            self.asked += asked
            for key, question in different:
                kept = self.found.setdefault(key, [])
                if len(kept) < MAX_EXAMPLES:
                    kept.append(question)

    def _batch(self, batch: list[Question]) -> tuple[int, list[tuple[tuple[str, str, str], Question]]]:
        different = []
        for question in batch:
            document = canonical(question.document)
            old = self.old.decide(question.entrypoint, document)
            kind, code = compared(old, self._new.decide(question.entrypoint, document))
            if kind:
                different.append(((kind, code, question.entrypoint), question))
        return len(batch), different


def compared(old: Answer, new: Answer) -> tuple[str, str]:
    """The kind of a difference and its code; empty when there is none."""
    if isinstance(old, EngineFault):
        if isinstance(new, EngineFault):
            return "", ""
        return ("denied_to_allowed", old.code) if isinstance(new, Allow) else ("code", new.code)
    if isinstance(old, Allow):
        return replaying.compare({"allow": True, "masked": old.obligations.mask}, "", new)
    return replaying.compare({"allow": False}, old.code, new)


def _blamed(found: _Search, before: PolicyFiles, after: PolicyFiles) -> list[Difference]:
    """Every group of the search, split by the changes that make it."""
    if not found.found:
        return []
    groups: dict[tuple[tuple[str, str, str], tuple[str, ...]], list[Question]] = {}
    changes = [part for _, part in zip(range(MAX_PARTS), splicing.parts(before, after, find_tool()), strict=False)]
    blamed: dict[tuple[tuple[str, str, str], int], list[str]] = {}
    for name, hybrid in changes:
        try:
            policy = BulkPolicy(hybrid)
        except ConfigError:
            continue  # the change does not stand alone
        with policy:
            for key, questions in found.found.items():
                for place, question in enumerate(questions):
                    old = found.old.decide(question.entrypoint, canonical(question.document))
                    answer = policy.decide(question.entrypoint, canonical(question.document))
                    if compared(old, answer)[0] == key[0]:
                        blamed.setdefault((key, place), []).append(name)
    for key, questions in found.found.items():
        for place, question in enumerate(questions):
            rules = tuple(blamed.get((key, place), ())) or (TOGETHER,)
            groups.setdefault((key, rules), []).append(question)
    return [
        Difference(*key, rules, len(questions), questions[0].document, questions[0].origin)
        for (key, rules), questions in groups.items()
    ]


def _known(old: Path, new: Path) -> list[Question]:
    seeds: dict[bytes, Question] = {}
    entrypoints: dict[str, None] = {}
    for path in (old, new):
        for case in cases_of(path):
            entrypoints[case.entrypoint] = None
            if isinstance(case.input, dict):
                question = Question(case.entrypoint, case.input, f"the case {case.name}")
                seeds.setdefault(case.entrypoint.encode() + case.document, question)
    for path in (old, new):
        for name, document in inputs.fixtures(path):
            for entrypoint in entrypoints:
                key = entrypoint.encode() + canonical(document)
                seeds.setdefault(key, Question(entrypoint, document, f"the fixture {name}"))
    return list(seeds.values())


def _recorded(records: Sequence[Path]) -> list[Question]:
    seeds: dict[bytes, Question] = {}
    try:
        for line in replaying.lines(records):
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            match record:
                case {"input": dict(document), "path": str(entrypoint)} if entrypoint:
                    question = Question(entrypoint, document, f"the record {record.get('decision_id', '')}")
                    seeds.setdefault(entrypoint.encode() + canonical(document), question)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError((ConfigProblem(str(error.filename), 0, "", message, "check the path"),)) from None
    return list(seeds.values())
