"""`extauthz policy input`: from a request to the question that a policy is asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extauthz.cli.policy.output import print_json, refuse

if TYPE_CHECKING:
    from extauthz.cli.policy.requests import Asked
    from extauthz.cli.policy.through import Question
    from extauthz.config import Config

DEFAULT = Path("extauthz.yaml")


def run(
    config: Annotated[Path, typer.Argument(help="The server's configuration.", show_default=True)] = DEFAULT,
    curl: Annotated[str, typer.Option(help="A curl command; - reads it from stdin.")] = "",
    access_log: Annotated[str, typer.Option(help="A line of Envoy's access log; - reads it from stdin.")] = "",
    route: Annotated[str, typer.Option(help="The route's name; alone, it prints a template for that route.")] = "",
    workload: Annotated[str, typer.Option(help="SPIFFE ID of the calling workload.")] = "",
    claims: Annotated[str, typer.Option(help="Claims of a verified token: JSON, or a file with it.")] = "",
    values: Annotated[
        list[str] | None, typer.Option("--set", help="path=JSON in the input, as in resource.properties.amount=10.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Wrap the input: route, entrypoint, notes, refusal.")] = False,
) -> None:
    """Turn a request into the policy input that the server would build, through the route's own configuration.

    The input goes to stdout, notes go to stderr. Exit code 1 when a layer before the policy refuses the request.
    """
    from extauthz.cli.policy.through import Through  # noqa: PLC0415 - other verbs start faster
    from extauthz.clock import SystemClock  # noqa: PLC0415 - the same
    from extauthz.config import load  # noqa: PLC0415 - the same

    loaded = load(config)
    if bool(curl) + bool(access_log) > 1 or not (curl or access_log or route):
        refuse("give one of --curl, --access-log and --route")
    through = Through(loaded, SystemClock(), workload=workload, claims=_claims(claims))
    question = _template(loaded, route) if not curl and not access_log else through.ask(_asked(curl, access_log), route)
    if question.input is not None:
        question.input = _set(question.input, values or [])
    _print(question, as_json=as_json)
    raise typer.Exit(0 if question.refused is None else 1)


def _asked(curl: str, access_log: str) -> Asked:
    from extauthz.cli.policy.requests import from_access_log, from_curl  # noqa: PLC0415 - other verbs start faster

    text = curl or access_log
    if text == "-":
        text = sys.stdin.read(1024 * 1024)
    return from_curl(text) if curl else from_access_log(text)


def _claims(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        loaded = json.loads(text if text.lstrip().startswith("{") else Path(text).read_bytes())
    except (OSError, ValueError):
        loaded = None
    if not isinstance(loaded, dict):
        refuse("--claims is neither a JSON object nor a file with one")
    return loaded


def _set(document: dict[str, Any], values: list[str]) -> dict[str, Any]:
    for text in values:
        path, equals, value = text.partition("=")
        if not equals or not path:
            refuse(f"--set {text}: path=JSON is expected")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value  # a word without quotes is a text
        *parents, last = path.split(".")
        holder: Any = document
        for parent in parents:
            below = holder.get(parent)
            holder[parent] = dict(below) if isinstance(below, dict) else {}
            holder = holder[parent]
        holder[last] = parsed
    return document


def _template(config: Config, name: str) -> Question:
    """What the route is, and an example value for everything that its entrypoint reads."""
    from extauthz.cli.policy.through import Question  # noqa: PLC0415 - other verbs start faster
    from extauthz.policy.authoring.shipped import input_schema  # noqa: PLC0415 - the same
    from extauthz.policy.loader import load  # noqa: PLC0415 - the same
    from extauthz.policy.native import find_tool  # noqa: PLC0415 - the same
    from extauthz.policy.projection import analyse  # noqa: PLC0415 - the same

    route = config.route(name)
    if route is None:
        refuse(f"no route is called {name}; routes: {', '.join(one.name for one in config.routes) or 'none'}")
    document: dict[str, Any] = {
        "subject": {"type": "user" if route.credential == "jwt" else "workload", "id": "alice", "properties": {}},
        "action": {"name": route.action},
        "resource": {"type": route.resource.type, "id": "", "properties": {}},
        "context": {"route": route.name, "environment": config.environment},
    }
    question = Question(entrypoint=route.policy, route=route.name, input=document)
    if config.policy.path is None:
        question.notes.append("policy.path is not set: what the entrypoint reads is not known")
        return question
    schema = json.loads(input_schema().read_bytes())
    for path in analyse(find_tool(), load(config.policy.path), [route.policy]).analyses[route.policy].paths:
        holder: Any = document
        for part in path[:-1]:
            holder = holder.setdefault(part, {})
        if path and isinstance(holder, dict):
            holder.setdefault(path[-1], _example(schema, path))
    question.notes.append("the values are examples of the right type")
    return question


def _example(schema: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        schema = schema.get("properties", {}).get(part, {})
    if "enum" in schema:
        return schema["enum"][0]
    examples = {"string": "text", "number": 1, "integer": 1, "boolean": False, "array": ["text"], "object": {}}
    kind = schema.get("type")
    return examples.get(kind if isinstance(kind, str) else "string", "text")


def _print(question: Question, *, as_json: bool) -> None:
    refused = question.refused
    if as_json:
        print_json(
            {
                "route": question.route,
                "entrypoint": question.entrypoint,
                "input": question.input,
                "refused": None if refused is None else {"layer": refused.layer.value, "code": refused.code},
                "notes": question.notes,
            }
        )
        return
    if question.input is not None:
        print_json(question.input)
    for note in question.notes:
        print(f"note: {note}", file=sys.stderr)
    if refused is not None:
        detail = f" ({refused.reasons[0].detail})" if refused.reasons[0].detail else ""
        print(f"refused at layer {refused.layer.value}: {refused.code}{detail}", file=sys.stderr)
    elif question.route:
        print(f"route {question.route}, entrypoint {question.entrypoint}", file=sys.stderr)
