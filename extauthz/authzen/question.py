"""An AuthZEN request body → questions, strictly: what two readers may take differently is refused (`strict_json`).

1. content type `application/json`; a JSON object; bounded bytes and depth
2. `subject{type,id,properties?}`, `action{name,properties?}`, `resource{type,id,properties?}`, `context?`
3. unknown members are ignored
4. a batch: top-level values are defaults. A value of an evaluation replaces the default as a whole; only a required
   member that it leaves out (`type`, `id`, `name`) is taken from the default
5. no or an empty `evaluations`: the request is a single one

Source: Authorization API 1.0, sections 5 to 7 and 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from extauthz import strict_json
from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Mapping

Semantic: TypeAlias = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
SEMANTICS: Final[tuple[str, ...]] = get_args(Semantic)
MAX_DEPTH: Final = 16
MAX_TEXT: Final = 2048
_REQUIRED: Final = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}


class Malformed(ExtauthzError):
    """The request cannot be answered; the message is for the caller and repeats no value of the request."""


@dataclass(frozen=True, slots=True)
class Question:
    """One evaluation. Every mapping is the caller's, as sent."""

    subject: Mapping[str, Any]
    action: Mapping[str, Any]
    resource: Mapping[str, Any]
    context: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """`items` in the order of the request; a `Malformed` is one that cannot be asked."""

    items: tuple[Question | Malformed, ...]
    semantic: Semantic


def read(content_type: str, body: bytes, max_bytes: int) -> dict[str, Any]:
    """Step 1. Raises Malformed."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Malformed("the content type must be application/json")
    try:
        document = strict_json.parse(body, max_bytes=max_bytes, max_depth=MAX_DEPTH).root
    except strict_json.NotStrict as problem:
        raise Malformed(str(problem)) from None
    if not isinstance(document, dict):
        raise Malformed("the body must be a JSON object")
    return document


def single(document: Mapping[str, Any]) -> Question:
    """Steps 2 and 3. Raises Malformed."""
    context = document.get("context", {})
    if not isinstance(context, dict):
        raise Malformed("context must be an object")
    return Question(
        subject=_entity(document, "subject"),
        action=_entity(document, "action"),
        resource=_entity(document, "resource"),
        context=context,
    )


def batch(document: Mapping[str, Any], most: int) -> Batch | Question:
    """Steps 2 to 5. Raises Malformed for what is wrong with the request as a whole."""
    evaluations = document.get("evaluations", [])
    if not isinstance(evaluations, list):
        raise Malformed("evaluations must be an array")
    if len(evaluations) > most:
        raise Malformed(f"more than {most} evaluations in one request")
    semantic = _semantic(document.get("options", {}))
    if not evaluations:  # 5
        return single(document)
    for name in (*_REQUIRED, "context"):
        if name in document and not isinstance(document[name], dict):
            raise Malformed(f"{name} must be an object")
    return Batch(tuple(_item(document, evaluation) for evaluation in evaluations), semantic)


def _semantic(options: Any) -> Semantic:
    if not isinstance(options, dict):
        raise Malformed("options must be an object")
    wanted = options.get("evaluations_semantic", "execute_all")
    for semantic in get_args(Semantic):
        if wanted == semantic:
            return semantic  # type: ignore[no-any-return]  # one of the literals
    raise Malformed(f"options.evaluations_semantic must be one of {', '.join(SEMANTICS)}")


def _item(defaults: Mapping[str, Any], evaluation: Any) -> Question | Malformed:
    if not isinstance(evaluation, dict):
        return Malformed("an evaluation must be an object")
    merged: dict[str, Any] = {}
    for name in (*_REQUIRED, "context"):  # 4
        own, default = evaluation.get(name), defaults.get(name)
        if name not in evaluation:
            if default is not None:
                merged[name] = default
        elif isinstance(own, dict) and isinstance(default, dict) and name in _REQUIRED:
            merged[name] = {key: default[key] for key in _REQUIRED[name] if key in default} | own
        else:
            merged[name] = own
    try:
        return single(merged)
    except Malformed as problem:
        return problem


def _entity(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    if found is None:
        raise Malformed(f"{name} is missing")
    if not isinstance(found, dict):
        raise Malformed(f"{name} must be an object")
    for key in _REQUIRED[name]:
        value = found.get(key)
        if value is None:
            raise Malformed(f"{name}.{key} is missing")
        if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
            raise Malformed(f"{name}.{key} must be a text of 1 to {MAX_TEXT} characters")
    if not isinstance(found.get("properties", {}), dict):
        raise Malformed(f"{name}.properties must be an object")
    return found
