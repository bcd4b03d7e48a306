"""A new policy from the template: rules, tests, decision cases, data and the schema of the input."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from extauthz.errors import ConfigError, ConfigProblem
from extauthz.policy.authoring.shipped import TEMPLATE, input_schema

if TYPE_CHECKING:
    from pathlib import Path


def create(directory: Path) -> list[str]:
    """Writes the files into a directory that is empty (hidden files aside) or missing; their paths below it.

    Raises ConfigError, and writes nothing then, and MissingPart.
    """
    schema = input_schema()
    try:
        if directory.exists() and any(not entry.name.startswith(".") for entry in directory.iterdir()):
            raise _refusal(directory, "is not empty", "name a new directory")
        for file in sorted(TEMPLATE.rglob("*")):
            if file.is_file():
                target = directory / file.relative_to(TEMPLATE)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        (directory / "schemas").mkdir(exist_ok=True)
        shutil.copyfile(schema, directory / "schemas" / schema.name)
    except OSError as error:
        raise _refusal(directory, f"cannot be written: {error.strerror}", "check path and permissions") from None
    return [
        file.relative_to(directory).as_posix()
        for file in sorted(directory.rglob("*"))
        if file.is_file() and not file.relative_to(directory).parts[0].startswith(".")
    ]


def _refusal(directory: Path, message: str, remedy: str) -> ConfigError:
    return ConfigError((ConfigProblem(str(directory), 0, "", message, remedy),))
