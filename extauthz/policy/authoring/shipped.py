"""Files that come with extauthz: the schema of the policy input, and the template of a new policy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from extauthz.errors import MissingPart

TEMPLATE: Final = Path(__file__).with_name("template")
_PACKAGE: Final = Path(__file__).resolve().parents[2]
_SCHEMA: Final = Path("policies", "schemas", "input.json")


def input_schema() -> Path:
    """The schema of the policy input: of the installed package, else of the source tree. Raises MissingPart."""
    for folder in (_PACKAGE / "_share", _PACKAGE.parent):
        if (folder / _SCHEMA).is_file():
            return folder / _SCHEMA
    raise MissingPart("policies/schemas/input.json", "install the extauthz package again, or run in its source tree")


def schema_option(directory: Path) -> str:
    """What `opa --schema` is to be given for a policy directory: its own schemas, else the shipped one.

    A directory is needed where `# schemas:` annotations name the schema; a single file covers the input everywhere.
    """
    own = directory / "schemas"
    if not (own / "input.json").is_file():
        return str(input_schema())
    annotated = any("schema.input" in file.read_text(errors="replace") for file in directory.rglob("*.rego"))
    return str((own if annotated else own / "input.json").resolve())
