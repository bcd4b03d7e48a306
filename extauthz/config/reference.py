"""The reference part of `docs/configuration.md`, and `docs/extauthz.schema.json`, from the settings classes.

`python -m extauthz.config.reference docs` writes both; a test compares them with what stands there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel

from extauthz.config.loader import shape
from extauthz.config.model import Config
from extauthz.config.words import listed, seconds, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic.fields import FieldInfo

    from extauthz.config.shape import Schema, Shape

BEGIN: Final = "<!-- reference: begin (written by `python -m extauthz.config.reference docs`) -->"
END: Final = "<!-- reference: end -->"
_BOUNDS: Final = {"gt": "more than {}", "ge": "at least {}", "lt": "less than {}", "le": "at most {}"}


def schema_text() -> str:
    """The text of `extauthz.schema.json`."""
    return json.dumps(shape().schema, indent=2, ensure_ascii=False) + "\n"


def reference() -> str:
    """One section a settings class: its docstring and a table of its keys."""
    format_ = shape()
    models = {model.__name__: model for model in _models(Config)}
    sections = [
        _section(format_, where, format_.schema if name == "Config" else format_.schema["$defs"][name], models[name])
        for name, where in _places(format_).items()
    ]
    return "\n\n".join(sections) + "\n"


def with_reference(page: str) -> str:
    """`page` with the part between the markers replaced. Raises ValueError when it has no markers."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for the reference")
    return f"{head}{BEGIN}\n\n{reference()}\n{END}{tail}"


def _places(format_: Shape) -> dict[str, str]:
    """Class → where its values stand, a block's own blocks after it: `RouteSettings` → `routes[]`."""
    places = {"Config": ""}

    def visit(schema: Schema, where: str) -> None:
        for key, child in schema.get("properties", {}).items():
            for name, place in _references(child, f"{where}.{key}" if where else key):
                if name not in places:
                    places[name] = place
                    visit(format_.schema["$defs"][name], place)

    visit(format_.schema, "")
    return places


def _references(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """(class, place) of each class that a property's schema names."""
    if isinstance(node, list):
        for child in node:
            yield from _references(child, where)
    elif isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2], where
        for key, child in node.items():
            if key in {"anyOf", "oneOf"}:
                yield from _references(child, where)
            elif key == "items":
                yield from _references(child, f"{where}[]")
            elif key == "additionalProperties":
                yield from _references(child, f"{where}.<name>")
            elif key == "patternProperties":
                yield from _references(list(child.values()), f"{where}.<name>")


def _section(format_: Shape, where: str, schema: Schema, model: type[BaseModel]) -> str:
    kind = schema.get("properties", {}).get("kind", {}).get("const")
    title = f"`{where}`" + (f", `kind: {kind}`" if kind else "") if where else "The file"
    rows = [
        _row(format_, key, value, _field(model, key), required=key in schema.get("required", ()))
        for key, value in schema.get("properties", {}).items()
    ]
    return "\n".join(
        [
            f"### {title}",
            "",
            _cell(schema.get("description", "")),
            "",
            "| key | value | default | meaning |",
            "| --- | --- | --- | --- |",
            *rows,
        ]
    )


def _row(format_: Shape, key: str, schema: Schema, field: FieldInfo, *, required: bool) -> str:
    words = dict.fromkeys(_words(format_, inner) for inner in format_.flat(schema))
    value = listed([word for word in words if word and word != "nothing"], "or")
    bounds = _bounds(field, value)
    default = "**required**" if required else _default(schema, field)
    described = (schema, *format_.flat(schema))
    meaning = _cell(next((part["description"] for part in described if "description" in part), ""))
    return f"| `{key}` | {_cell(', '.join(filter(None, (value, bounds))))} | {default} | {meaning} |"


def _words(format_: Shape, schema: Schema) -> str:
    further = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), None)
    if schema.get("type") == "object" and "properties" not in schema and isinstance(further, dict):
        inner = listed(dict.fromkeys(filter(None, (format_.words(part) for part in format_.flat(further)))), "or")
        return f"a mapping of names to {inner or 'any value'}"
    return format_.words(schema).partition(" with its unit")[0]


def _bounds(field: FieldInfo, value: str) -> str:
    render: Callable[[Any], str] = str
    if value.startswith("a duration"):
        render = seconds
    elif value.startswith("a size"):
        render = size
    found = []
    for constraint in field.metadata:
        for name, words in _BOUNDS.items():
            limit = getattr(constraint, name, None)
            if limit is not None and not (name == "ge" and limit == 0):
                found.append(words.format(render(limit)))
    return " and ".join(found)


def _default(schema: Schema, field: FieldInfo) -> str:
    value = schema.get("default")
    if value is None and field.default_factory is not None:
        value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ("", [], {}) or (isinstance(value, dict) and "$ref" in json.dumps(schema)):
        return "–"
    if isinstance(value, BaseModel):
        return "–"  # a block's own section tells its defaults
    return f"`{_cell(value if isinstance(value, str) else json.dumps(value))}`"


def _field(model: type[BaseModel], key: str) -> FieldInfo:
    fields = model.model_fields
    return fields[key] if key in fields else next(field for field in fields.values() if field.alias == key)


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """Every settings class below a type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from _models(field.annotation)
    else:
        for inner in get_args(kind):
            yield from _models(inner)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def write(docs: Path) -> None:
    """Writes both files. Raises OSError, and ValueError when the page has no markers."""
    page = docs / "configuration.md"
    page.write_text(with_reference(page.read_text(encoding="utf-8")), encoding="utf-8")
    (docs / "extauthz.schema.json").write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
