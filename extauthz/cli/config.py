"""`extauthz config`: check a configuration, print its JSON Schema, explain what protects a route."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extauthz.config import Report, inspect, load
from extauthz.config.explain import explain as explanation_of
from extauthz.config.from_plugin import convert
from extauthz.config.loader import shape
from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(no_args_is_help=True, help="Check, explain and describe extauthz.yaml.")

DEFAULT_FILE = Path("extauthz.yaml")
File = Annotated[Path, typer.Argument(help="The configuration file.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.command()
def check(file: File = DEFAULT_FILE, as_json: AsJson = False) -> None:
    """Read a configuration as `serve` would, and print every problem in it.

    Exit code 0 when it would be accepted, 1 when it would be refused. Warnings change nothing.
    """
    report = inspect(file)
    if as_json:
        _print_json(_report(report))
    else:
        for problem in report.problems:
            print(problem)
        for warning in report.warnings:
            print(f"{warning.file}:{warning.line}: warning: {_rest(warning)}")
        print(_summary(report))
    raise typer.Exit(0 if report.config is not None else 1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of extauthz.yaml, for editors: `# yaml-language-server: $schema=extauthz.schema.json`."""
    _print_json(shape().schema)


@app.command()
def explain(
    route: Annotated[str, typer.Argument(help="The route's name.")], file: File = DEFAULT_FILE, as_json: AsJson = False
) -> None:
    """Say what protects a route, layer by layer, in the order in which a Check asks."""
    config = load(file)
    found = config.route(route)
    if found is None:
        raise ConfigError((_unknown_route(file, route, [known.name for known in config.routes]),))
    explanation = explanation_of(config, found)
    if as_json:
        _print_json(explanation.as_json())
        return
    print(f"Route {explanation.route}")
    for chapter in explanation.chapters:
        print(f"\n{chapter.title}")
        for line in chapter.says:
            print(f"  {line}")


@app.command("from-opa-envoy-plugin")
def from_opa_envoy_plugin(
    file: Annotated[Path, typer.Argument(help="OPA's configuration file.")],
    policy: Annotated[str, typer.Option(help="The directory of the policy.")] = "policy",
) -> None:
    """Print an extauthz.yaml that serves what OPA with opa-envoy-plugin served; what is left to do goes to stderr."""
    converted = convert(file, policy)
    print(converted.text, end="")
    for key, what in converted.notes:
        print(f"{file}: {key}: {what}", file=sys.stderr)


def _unknown_route(file: Path, route: str, known: Sequence[str]) -> ConfigProblem:
    near = get_close_matches(route, known, n=1)
    remedy = f"did you mean `{near[0]}`?" if near else f"routes: {', '.join(known) or 'none'}"
    return ConfigProblem(str(file), 0, "routes", "no route has this name", remedy)


def _summary(report: Report) -> str:
    def count(number: int, word: str) -> str:
        return f"{number} {word}" + ("" if number == 1 else "s")

    if report.config is None:
        return f"{report.file} is refused: {count(len(report.problems), 'problem')}"
    routes = len(report.config.routes)
    nothing = "the policy decides everything" if report.config.policy.compat else "no routes, so everything is denied"
    what = count(routes, "route") if routes else nothing
    return f"{report.file} is accepted: {what}, {count(len(report.warnings), 'warning')}"


def _rest(problem: ConfigProblem) -> str:
    return f"{problem.key}: {problem.message} (fix: {problem.remedy})"


def _report(report: Report) -> dict[str, Any]:
    return {
        "file": report.file,
        "ok": report.config is not None,
        "digest": report.config.digest if report.config else "",
        "routes": [route.name for route in report.config.routes] if report.config else [],
        "problems": [asdict(problem) for problem in report.problems],
        "warnings": [asdict(problem) for problem in report.warnings],
    }


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
