"""What a decision record holds of the policy input: the projection, with the values that must not be seen replaced.

Without a mask the bytes that the engine was asked with go into the record as they are. A masked value becomes
`masked:<digest>`, keyed anew in every process: equal values can be told to be equal, and nothing else of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MASKED: Final = "masked:"
_DIGEST: Final = 8


def recorded_input(mask: Iterable[str]) -> Callable[[bytes], Any]:
    """`mask`: dotted paths below the input. The function takes the projection as JSON and gives what orjson writes."""
    paths = tuple(tuple(path.split(".")) for path in mask)
    if not paths:
        return orjson.Fragment
    key = os.urandom(16)

    def masked(projected: bytes) -> Any:
        try:
            document = orjson.loads(projected)
        except orjson.JSONDecodeError:  # an integer beyond 64 bits
            document = json.loads(projected)
        for path in paths:
            holder = document
            for part in path[:-1]:
                holder = holder.get(part) if isinstance(holder, dict) else None
            if isinstance(holder, dict) and path[-1] in holder:
                text = json.dumps(holder[path[-1]], sort_keys=True).encode()
                holder[path[-1]] = MASKED + hashlib.blake2b(text, digest_size=_DIGEST, key=key).hexdigest()
        return document

    return masked
