"""The input document of opa-envoy-plugin, version 3, from Envoy's CheckRequest.

1. `attributes` is the message with lowerCamel names and only what is set: close to protojson, but 64-bit integers and
   enums are numbers, a Timestamp is `{seconds, nanos}`, an Any stays `{typeUrl, value}`, a Struct is plain JSON.
2. `parsed_path`: the query cut off, percent-decoded, then all leading slashes trimmed, then split; nothing normalised.
3. `parsed_query`: lists by name. An escape that is none makes the request `Unreadable`, as in the plugin.
4. `parsed_body` and `truncated_body`, unless the configuration skips them (`compat.body`).
5. `source_principal`, only where there is one.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor

from extauthz.check.compat import body
from extauthz.check.compat.go_text import path_unescape, query

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.check.compat.descriptors import Descriptors

VERSION: Final = {"ext_authz": "v3", "encoding": "protojson"}
_STRUCT: Final = "google.protobuf.Struct"
_EXACT: Final = 1e21
"""Below it Go writes a whole float64 without an exponent."""

_fields: dict[str, dict[int, tuple[str, Callable[[Any], Any]]]] = {}
"""How each message type is written; made once a type."""


def build(message: Any, *, descriptors: Descriptors | None = None, skip_body: bool = False) -> dict[str, Any]:
    """`message` is a parsed CheckRequest. Raises Unreadable."""
    document = plain(message)  # 1
    attributes = message.attributes
    http = attributes.request.http
    path, _, raw_query = http.path.partition("?")
    parsed_path = path_unescape(path).lstrip("/").split("/")  # 2
    document["version"] = VERSION
    document["parsed_path"] = parsed_path
    document["parsed_query"] = query(raw_query)  # 3
    if not skip_body:  # 4
        found = body.read(http.headers, http.body, http.raw_body, parsed_path, descriptors)
        document["parsed_body"] = found.value
        document["truncated_body"] = found.truncated
    if principal := attributes.source.principal:  # 5
        document["source_principal"] = principal
    return document


def plain(message: Any) -> dict[str, Any]:
    """Step 1: what is set of a message, by its JSON names."""
    descriptor = message.DESCRIPTOR
    known = _fields.get(descriptor.full_name)
    if known is None:
        known = _fields[descriptor.full_name] = {
            field.number: (field.json_name, _writer(field)) for field in descriptor.fields
        }
    document = {}
    for field, value in message.ListFields():
        name, write = known[field.number]
        document[name] = write(value)
    return document


def _writer(field: Any) -> Callable[[Any], Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        one = _single(kind.fields_by_name["value"])
        return lambda value: {str(key): one(item) for key, item in value.items()}
    one = _single(field)
    return (lambda value: [one(item) for item in value]) if field.is_repeated else one


def _single(field: Any) -> Callable[[Any], Any]:
    if field.message_type is not None:
        return struct if field.message_type.full_name == _STRUCT else plain
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    return lambda value: value


def struct(message: Any) -> dict[str, Any]:
    """A google.protobuf.Struct as JSON."""
    return {name: _value(value) for name, value in message.fields.items()}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return struct(value.struct_value)
    if kind == "list_value":
        return [_value(one) for one in value.list_value.values]
    if kind == "number_value":
        return _number(value.number_value)
    return None if kind in {None, "null_value"} else getattr(value, kind)


def _number(number: float) -> Any:
    """Whole numbers without a fraction; what JSON has no number for as protojson names it."""
    if math.isfinite(number):
        return int(number) if number.is_integer() and abs(number) < _EXACT else number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
