"""`extauthz policy explain`: why a request was answered as it was, and what would have been allowed."""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extauthz.cli.policy.output import HERE, AsJson, print_json, refuse
from extauthz.cli.policy.questions import Policy, decision_json, decision_lines, document, entrypoint
from extauthz.cli.policy.server import Server, TokenFile, token
from extauthz.model import Deny

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.policy.authoring.explaining import Explanation
    from extauthz.policy.authoring.trace import Condition
    from extauthz.policy.authoring.whatif import Change

NEEDED = (
    "its input is not known, only its record. Keep inputs (api.decisions.inputs, or telemetry.records.input:"
    " projected), or rebuild the input (`extauthz policy input`) and explain that."
)


def run(
    question: Annotated[str, typer.Argument(metavar="INPUT|DECISION_ID", help="A JSON file, - for stdin, or an id.")],
    rule: Annotated[str, typer.Option("--entrypoint", "-e", help="A rule: authz/transfers/decision.")] = "",
    policy: Policy = HERE,
    records: Annotated[
        list[Path] | None, typer.Option("--records", help="A file of decision records to find the id in; repeatable.")
    ] = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Say which layer and rule decided, which value was missing or different, and what would have been allowed.

    Every "allowed with" was tried on the policy. Values of the input are shown: this is for operators. A decision id is
    asked of --server first, then looked for in --records.
    """
    from extauthz.policy.authoring.explaining import explain  # noqa: PLC0415 - other verbs start faster
    from extauthz.policy.native import find_tool  # noqa: PLC0415 - the same

    path = rule
    if question == "-" or Path(question).is_file():
        asked = document(question)
    else:
        story = _story(question, records or [], server, token(token_file))
        asked, path = _asked(story, as_json=as_json), rule or str(story["record"]["path"])
    if not isinstance(asked, dict):
        refuse("the policy input must be a JSON object")
    rule_path = entrypoint(path or _only_entrypoint(policy))
    with _unpacked(policy) as directory:
        explanation = explain(find_tool(), directory, rule_path, asked)
    if as_json:
        print_json(_json(explanation))
    else:
        print("\n".join(_lines(explanation, policy)))


def _story(decision_id: str, records: list[Path], server: str, bearer: str) -> dict[str, Any]:
    """What the server or the records know of a decision."""
    from extauthz.api.client import ApiError, find  # noqa: PLC0415 - other verbs start faster

    if not records and not server:
        refuse(f"{decision_id} is no file; to look it up as a decision id, give --records FILE or --server")
    try:
        story = find(decision_id, records=records, server=server, token=bearer)
    except ApiError as error:
        refuse(str(error), code=1)
    if story is None:
        refuse(f"nobody knows the decision {decision_id}", code=1)
    return story


def _asked(story: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    """The input of a decision. Where none is known the record is told instead, and the command ends."""
    found = story.get("input")
    if isinstance(found, dict):
        if "masked:" in str(found):
            print("note: masked values stand for the real ones; rules that compare them may differ", file=sys.stderr)
        return found
    _print_record(story, as_json=as_json)
    if story["record"].get("revision"):
        refuse(NEEDED, code=1)
    raise typer.Exit(0)


def _print_record(story: dict[str, Any], *, as_json: bool) -> None:
    """What a record alone tells; all there is to tell when a layer before the policy refused."""
    from extauthz.codes import CODES  # noqa: PLC0415 - other verbs start faster

    record = story["record"]
    if as_json:
        print_json({**story, "policy_asked": bool(record.get("revision"))})
        return
    code = str(record.get("code", ""))
    print(f"deny at layer {record.get('layer')}: {code}" if code else "allow")
    known = CODES.get(code)
    if known:
        print(f"  {known.message} {known.remedy}")
    for reason in story.get("reasons") or ():
        if reason.get("detail"):
            print(f"    {reason['detail']}")
    request = record.get("request") or {}
    print(f"route {request.get('route')}, {request.get('method')} {request.get('path')}, at {record.get('timestamp')}")
    if not record.get("revision"):
        print("The request was refused before any policy was asked.")


@contextmanager
def _unpacked(policy: Path) -> Iterator[Path]:
    """The policy as a directory: itself, or a temporary one with what is in the bundle."""
    from extauthz.policy.authoring.opening import open_policy  # noqa: PLC0415 - other verbs start faster

    if not policy.is_file():
        yield policy
        return
    with tempfile.TemporaryDirectory(prefix="extauthz-policy-") as made:
        for name, content in open_policy(policy).files.items():
            place = Path(made, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        yield Path(made)


def _only_entrypoint(policy: Path) -> str:
    from extauthz.policy.authoring.opening import open_policy  # noqa: PLC0415 - other verbs start faster
    from extauthz.policy.native import find_tool  # noqa: PLC0415 - the same
    from extauthz.policy.projection import analyse  # noqa: PLC0415 - the same

    declared = analyse(find_tool(), open_policy(policy)).declared
    if len(declared) != 1:
        refuse(f"name one with --entrypoint: {', '.join(declared) or 'the policy declares none'}")
    return declared[0]


def _lines(told: Explanation, policy: Path) -> list[str]:
    lines = decision_lines(told.decision)
    story = told.story
    if story.rule is not None:
        lines += ["", "The rule that answered", *_condition(story.rule, policy)]
    shown = story.failed or story.held
    if shown:
        lines += ["", "Because these were not true" if story.failed else "Because these were true"]
        for one in shown:
            lines += _condition(one, policy)
    inputs = dict(told.inputs)
    if inputs:
        lines += ["", "Of the input these read"]
        lines += [f"  {path} = {_value(value)}" for path, value in inputs.items()]
    others = [path for path in told.missing if path not in inputs]
    if others:
        lines += ["", f"Read by other rules of the entrypoint and not in the input: {', '.join(others)}"]
    if told.alone:
        head = "It would have been allowed with" + (" any one of" if len(told.alone) > 1 else "")
        lines += ["", head, *_allowed(told.alone)]
    elif told.together:
        lines += ["", "It would have been allowed with all of", *_allowed(told.together)]
    elif isinstance(told.decision, Deny):
        lines += ["", "No change of up to four values was found that is allowed."]
    return lines


def _allowed(changes: tuple[Change, ...]) -> list[str]:
    return [f"  {'.'.join(one.path)}: {_wanted(one)} (now {_value(one.before)})" for one in changes]


def _wanted(change: Change) -> str:
    if change.at_most is not None or change.at_least is not None:
        low = f"at least {change.at_least:g}" if change.at_least is not None else ""
        high = f"at most {change.at_most:g}" if change.at_most is not None else ""
        return " or ".join(filter(None, (high, low)))
    return " or ".join(_value(value) for value in change.values[:4])


def _value(value: Any) -> str:
    import json  # noqa: PLC0415 - other verbs start faster

    from extauthz.strict_json import MISSING  # noqa: PLC0415 - the same

    if value is MISSING:
        return "missing"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 120 else f"{text[:117]}..."  # noqa: PLR2004 - a line of a terminal


def _condition(one: Condition, policy: Path) -> list[str]:
    lines = [f"  {policy / one.file}:{one.line}", f"    {one.source}"]
    return lines + [f"      {name} = {_value(value)}" for name, value in one.values if not name.startswith("input.")]


def _json(told: Explanation) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415 - other verbs start faster

    from extauthz.strict_json import MISSING  # noqa: PLC0415 - the same

    def change(one: Change) -> dict[str, Any]:
        values = [{"remove": True} if value is MISSING else {"value": value} for value in one.values]
        before = {} if one.before is MISSING else {"before": one.before}
        bounds = {"at_most": one.at_most, "at_least": one.at_least}
        return {"path": ".".join(one.path), **before, "allowed": values, **bounds}

    return {
        "entrypoint": told.entrypoint,
        "revision": told.revision,
        "decision": decision_json(told.decision),
        "rule": asdict(told.story.rule) if told.story.rule else None,
        "not_true": [asdict(one) for one in told.story.failed],
        "true": [asdict(one) for one in told.story.held],
        "input": [
            {"path": path, **({"value": v} if v is not MISSING else {"missing": True})} for path, v in told.inputs
        ],
        "missing": told.missing,
        "allowed_with_any": [change(one) for one in told.alone],
        "allowed_with_all": [change(one) for one in told.together],
    }
