"""A configuration file in, one frozen `Config` out, or every problem in it.

    1  read      a regular file, at most 1 MiB
    2  parse     strict YAML → tree with lines (`strict_yaml`)
    3  validate  the settings classes, strictly: no text becomes a number, no number a boolean
    4  resolve   relative paths are relative to the file's directory
    5  check     combinations that are impossible or unsafe (`checks`)

Each step reports all it finds; a later step runs only when the earlier ones found nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from extauthz import strict_yaml
from extauthz.config.checks import findings, suggest
from extauthz.config.compat import with_plugin_words
from extauthz.config.files import resolved
from extauthz.config.model import Config
from extauthz.config.problems import Translator, in_order
from extauthz.config.shape import Shape
from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Report:
    """All that is to be said about one file. `config` is None exactly when there are `problems`."""

    file: str
    config: Config | None
    problems: tuple[ConfigProblem, ...] = ()
    warnings: tuple[ConfigProblem, ...] = ()


@cache
def shape() -> Shape:
    """The file format's JSON Schema; made once, and only when someone asks for it."""
    return Shape.of(Config)


def load(path: Path) -> Config:
    """The configuration of a file. Raises ConfigError with every problem."""
    return _accepted(_examined(strict_yaml.read(path), str(path))[1])  # 1


def load_text(text: str, file: str = "extauthz.yaml") -> Config:
    """The same for a text; relative paths are relative to the directory of `file`."""
    return _accepted(_examined(text.encode("utf-8", "surrogatepass"), file)[1])


def inspect(path: Path) -> Report:
    """Steps 1–5 without raising, and advice; looks at the files that the configuration names."""
    try:
        data = strict_yaml.read(path)  # 1
    except ConfigError as error:
        return Report(str(path), None, error.problems)
    return inspect_bytes(data, str(path))


def inspect_bytes(data: bytes, file: str) -> Report:
    """Steps 2–5 without raising, and advice."""
    try:
        translator, report = _examined(data, file)
    except ConfigError as error:
        return Report(file, None, in_order(error.problems))
    if report.config is None:
        return report
    return replace(report, warnings=in_order(map(translator.finding, suggest(report.config))))


def _examined(data: bytes, file: str) -> tuple[Translator, Report]:
    """Steps 2–5. Raises ConfigError for the first of them that finds problems, except 5, which reports."""
    tree = strict_yaml.parse(data, file)  # 2
    config = with_plugin_words(resolved(validate(tree), Path(file).absolute().parent))  # 3, 4
    config.bind(file=file, digest=tree.digest)
    translator = Translator(tree, shape)
    problems = in_order(map(translator.finding, findings(config)))  # 5
    return translator, Report(file, None if problems else config, problems)


def validate(tree: strict_yaml.Tree) -> Config:
    """The tree as a `Config`. Raises ConfigError."""
    try:
        config = Config.model_validate_json(json.dumps(tree.root.plain()), strict=True)
    except ValidationError as error:
        translator = Translator(tree, shape)
        raise ConfigError(translator.translate(error.errors(include_url=False, include_input=False))) from None
    endless = [location for location, number in _floats(config) if not math.isfinite(number)]
    if endless:
        translator = Translator(tree, shape)
        raise ConfigError(tuple(translator.problem(at, "the value is too large", "write less") for at in endless))
    return config


def _floats(value: Any, location: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], float]]:
    if isinstance(value, float):
        yield location, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _floats(getattr(value, name), (*location, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _floats(item, (*location, key))
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _floats(item, (*location, index))


def _accepted(report: Report) -> Config:
    if report.config is None:
        raise ConfigError(report.problems)
    return report.config
