"""`extauthz policy diff`: what a changed policy would decide differently, and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated

import typer

from extauthz.cli.policy.output import AsJson, print_json

if TYPE_CHECKING:
    from extauthz.policy.authoring.diffing import Diff, Difference

KINDS = {
    "denied_to_allowed": "WIDENED: denied before, allowed now",
    "less_masked": "WIDENED: less is masked",
    "allowed_to_denied": "narrowed: allowed before, denied now",
    "more_masked": "narrowed: more is masked",
    "fault": "BROKEN: no answer any more",
    "code": "denied for another reason",
}


def run(
    old: Annotated[Path, typer.Argument(help="The policy as it is: a directory or a policy bundle.", exists=True)],
    new: Annotated[Path, typer.Argument(help="The policy as it would be.", exists=True)],
    records: Annotated[list[Path] | None, typer.Option(help="Decision records with inputs; repeatable.")] = None,
    entrypoint: Annotated[list[str] | None, typer.Option(help="Also ask this rule; repeatable.")] = None,
    budget: Annotated[int, typer.Option(help="The most questions to ask.", min=1)] = 40_000,
    threads: Annotated[int, typer.Option(help="Questions at the same time.", min=1, max=64)] = 2,
    reasons: Annotated[bool, typer.Option("--reasons", help="Also print denials that give another reason.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name every rule whose change widens or narrows access, with an example input for each.

    Asked are the decision cases and fixtures of both policies, recorded inputs, and inputs that grow out of them.
    Exit code 0: nothing widens; 1: something widens, or a question has no answer any more.
    """
    from extauthz.policy.authoring.diffing import diff  # noqa: PLC0415 - other verbs start faster

    found = diff(
        old, new, records=tuple(records or ()), entrypoints=tuple(entrypoint or ()), budget=budget, threads=threads
    )
    if as_json:
        print_json(
            {
                "asked": found.asked,
                "entrypoints_gone": found.gone,
                "entrypoints_added": found.added,
                "differences": [{**asdict(one), "widens": one.widens} for one in found.differences],
            }
        )
    else:
        _print(found, reasons=reasons)
    raise typer.Exit(1 if found.widened or any(one.kind == "fault" for one in found.differences) else 0)


def _print(found: Diff, *, reasons: bool) -> None:
    print(f"{found.asked:,} questions asked of both, {len(found.widened)} ways in which access widens")
    for name in found.gone:
        print(f"the entrypoint {name} is gone")
    for name in found.added:
        print(f"the entrypoint {name} is new")
    for one in found.differences:
        if reasons or one.kind != "code":
            _print_one(one)
    hidden = sum(one.kind == "code" for one in found.differences)
    if hidden and not reasons:
        print(f"\n{hidden} ways in which only the reason of a denial changes; --reasons prints them")


def _print_one(one: Difference) -> None:
    print(f"\n{KINDS[one.kind]}" + (f" ({one.code})" if one.code else "") + f", at {one.entrypoint}")
    for rule in one.rules:
        print(f"  by {rule}")
    print(f"  example, from {one.origin}:")
    print(f"    {json.dumps(one.example, ensure_ascii=True, sort_keys=True)}")
