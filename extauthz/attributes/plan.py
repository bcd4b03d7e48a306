"""Which attributes a route collects, worked out once; collecting is then a walk over tuples.

Rules, checked when the plan is built:

1. A source that the configuration does not have, a value that it does not give, a path variable that the route does
   not have: refused.
2. Two values for one property, or for a property and a part of it: refused.
3. A `request` source writes no property of the subject: nobody describes himself.
4. A property that a verified claim sets is never a target. (Where a token's claims are only known later, the policy
   input puts the verified one on top.)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from extauthz.attributes.registry import problem
from extauthz.attributes.static import StaticValues
from extauthz.errors import ConfigError, ConfigProblem, SourceFault
from extauthz.model import Away, Deny, deny

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from extauthz.attributes.registry import Sources
    from extauthz.attributes.settings import AttributeUse
    from extauthz.attributes.source import AttributeQuestion, AttributeSource

    Collected = dict[str, dict[str, Any]]
    """`subject`, `resource` and `context` → their properties. The caller's own, except values inside it."""
    Write = tuple[str, str, str, str]
    """Value's name, section, property, member of the property or nothing."""
    Step = tuple[AttributeSource, tuple[Write, ...]]


class AttributePlan:
    """The attributes of one route. `build_plan` makes it."""

    __slots__ = ("_base", "_groups", "_steps", "needs_await")

    def __init__(self, steps: Sequence[Step] = ()) -> None:
        self._base: Collected = {"subject": {}, "resource": {}, "context": {}}
        self._steps: list[Step] = []
        for source, writes in steps:
            if isinstance(source, StaticValues):
                _write(self._base, writes, source.values)
            else:
                self._steps.append((source, writes))
        self.needs_await = any(source.awaits for source, _ in self._steps)
        """False: `collect_sync` always answers."""
        shared = {name for _, writes in self._steps for _, section, name, member in writes if member}
        self._groups = [(name, self._base["resource"][name]) for name in shared if name in self._base["resource"]]

    def _fresh(self) -> Collected:
        collected = {section: properties.copy() for section, properties in self._base.items()}
        for name, members in self._groups:
            collected["resource"][name] = members.copy()
        return collected

    def collect_sync(self, question: AttributeQuestion) -> Collected | Deny | None:
        """The properties, or a denial; None when a source has to be waited for: call `collect`."""
        collected = self._fresh()
        waiting = False
        for source, writes in self._steps:
            values = source.ready(question)
            if values is None:
                waiting = True  # a later source may still deny without any waiting
            elif isinstance(values, Deny):
                return values
            else:
                _write(collected, writes, values)
        return None if waiting else collected

    async def collect(self, question: AttributeQuestion, spared: list[Away] | None = None) -> Collected | Deny:
        """The properties, or a denial. Sources that are not ready are asked in parallel, by the question's deadline;
        of several denials the first in the configuration's order is given.

        With `spared` a source that is away refuses nothing: its values are left out, and its denial is put there.
        """
        collected = self._fresh()
        pending: list[Step] = []
        for step in self._steps:
            values = step[0].ready(question)
            if values is None:
                pending.append(step)
            elif isinstance(values, Deny):
                return values
            else:
                _write(collected, step[1], values)
        if len(pending) == 1:
            results = [await _fetch(pending[0][0], question)]
        else:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_fetch(source, question)) for source, _ in pending]
            results = [task.result() for task in tasks]
        for (_, writes), values in zip(pending, results, strict=True):
            if isinstance(values, Away) and spared is not None:
                spared.append(values)
            elif isinstance(values, Deny):
                return values
            else:
                _write(collected, writes, values)
        return collected


async def _fetch(source: AttributeSource, question: AttributeQuestion) -> Mapping[str, Any] | Deny:
    try:
        return await source.fetch(question)
    except SourceFault as fault:
        return deny("engine.attributes_unavailable", str(fault))


def _write(collected: Collected, writes: tuple[Write, ...], values: Mapping[str, Any]) -> None:
    for name, section, key, member in writes:
        if name not in values:
            continue
        if member:
            collected[section].setdefault(key, {})[member] = values[name]
        else:
            collected[section][key] = values[name]


def build_plan(
    uses: Sequence[AttributeUse],
    sources: Sources,
    *,
    verified: Collection[str] = (),
    variables: Collection[str] | None = None,
) -> AttributePlan:
    """The plan of one route. Raises ConfigError with every problem; their keys start at the route's `attributes`.

    `verified`: subject properties that the route's credentials set from verified claims. `variables`: the path
    variables of the route; None when it matches no path, so that it has none.
    """
    problems: list[ConfigProblem] = []
    steps: list[Step] = []
    taken: set[str] = set()
    for index, use in enumerate(uses):
        key = f"attributes.{index}"
        source = sources.get(use.source)
        if source is None:
            problems.append(problem(f"{key}.source", f"no source is called {use.source}", "Add it to attributes."))
            continue
        names = frozenset(use.to.values())
        if unknown := names - source.names:
            text = f"source {use.source} has no value {', '.join(sorted(unknown))}"
            problems.append(problem(f"{key}.to", text, "Add it to the source's fields."))
            continue
        narrowed = source.narrow(names)
        if missing := narrowed.path_variables - frozenset(variables or ()):
            text = (
                f"source {use.source} reads path variables that the route does not have: {', '.join(sorted(missing))}"
            )
            problems.append(problem(f"{key}.source", text, "Name them in match.path."))
        for target in use.to:
            if refused := _refused(target, taken, verified, trusted=source.trusted):
                problems.append(problem(f"{key}.to.{target}", *refused))
            taken.add(target)
        steps.append((narrowed, tuple(_step_write(target, name) for target, name in use.to.items())))
    if problems:
        raise ConfigError(tuple(problems))
    return AttributePlan(steps)


def _refused(target: str, taken: set[str], verified: Collection[str], *, trusted: bool) -> tuple[str, str] | None:
    """Rules 2, 3 and 4: message and remedy."""
    section, _, name = target.split(".", 2)
    if any(other == target or other.startswith(f"{target}.") or target.startswith(f"{other}.") for other in taken):
        return "two sources write this property", "Remove one."
    if section == "subject" and not trusted:
        return "what the caller writes never describes the subject", "Write it to resource or context."
    if section == "subject" and name in verified:
        return "a verified claim sets this property", "Remove it here, or from the issuer's claims."
    return None


def _step_write(target: str, name: str) -> Write:
    section, _, key, *member = target.split(".")
    return (name, section, key, member[0] if member else "")
