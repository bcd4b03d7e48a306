"""`extauthz policy eval`: one question, one decision."""

from __future__ import annotations

from typing import Annotated

import typer

from extauthz.cli.policy.output import HERE, AsJson, print_json
from extauthz.cli.policy.questions import Policy, decision_json, decision_lines, document, entrypoint


def run(
    rule: Annotated[str, typer.Argument(metavar="ENTRYPOINT", help="A rule: authz/transfers/decision.")],
    source: Annotated[str, typer.Argument(metavar="[INPUT]", help="A JSON file; - reads stdin.")] = "-",
    policy: Policy = HERE,
    raw: Annotated[bool, typer.Option("--raw", help="Print the rule's value as it is; any rule will do.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a policy and print its decision, read as the server reads it.

    Exit code 0 for a decision, whether it allows or denies; 1 when there is none (undefined, malformed).
    """
    import orjson  # noqa: PLC0415 - other verbs start faster

    from extauthz.errors import EngineFault  # noqa: PLC0415 - the same
    from extauthz.model import deny  # noqa: PLC0415 - the same
    from extauthz.policy.authoring.evaluator import Evaluator  # noqa: PLC0415 - the same
    from extauthz.policy.authoring.opening import open_policy  # noqa: PLC0415 - the same

    path = entrypoint(rule)
    question = orjson.dumps(document(source))
    with Evaluator(open_policy(policy)) as evaluator:
        try:
            if raw:
                print_json(evaluator.raw(path, question))
                return
            decision, code = evaluator.decide(path, question), 0
        except EngineFault as fault:
            decision, code = deny(fault.code, fault.detail), 1
    if as_json:
        print_json({"entrypoint": path, "revision": evaluator.policy.revision, "decision": decision_json(decision)})
    else:
        print("\n".join(decision_lines(decision)))
    raise typer.Exit(code)
