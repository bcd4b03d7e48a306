"""The file with the API keys' rows: strict, bounded, and refused as a whole when one row is wrong.

1. strict YAML of the form that `ApiKeyFile` gives
2. no more rows than the settings allow, and no id twice
3. no key lives longer than a year from now: a key that nobody renews ends
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from extauthz import strict_yaml
from extauthz.authn.api_key_settings import ApiKeyFile
from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.authn.api_key_settings import ApiKeyRow

MAX_LIFE: Final = 366 * 86400.0


def parse(content: bytes, file: str, *, now: float, max_keys: int) -> tuple[ApiKeyRow, ...]:
    """The rows. Raises ConfigError with every problem; no problem repeats a value of the file."""
    tree = strict_yaml.parse(content, file)  # 1
    try:
        rows = ApiKeyFile.model_validate(tree.root.plain()).keys
    except ValidationError as error:
        raise ConfigError(
            tuple(
                ConfigProblem(
                    file,
                    tree.line(found["loc"]),
                    strict_yaml.dotted(found["loc"]),
                    found["msg"].removeprefix("Value error, "),
                    "see docs/api-keys.md",
                )
                for found in error.errors(include_url=False, include_context=False, include_input=False)
            )
        ) from None
    problems = tuple(
        ConfigProblem(file, tree.line(place), strict_yaml.dotted(place), message, remedy)
        for place, message, remedy in _problems(rows, now, max_keys)
    )
    if problems:
        raise ConfigError(problems)
    return rows


def _problems(
    rows: tuple[ApiKeyRow, ...], now: float, max_keys: int
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    if len(rows) > max_keys:  # 2
        yield ("keys",), f"there are more than {max_keys} keys", "remove some, or raise api_keys.max_keys"
        return
    seen: set[str] = set()
    for index, row in enumerate(rows):
        if row.id in seen:  # 2
            yield ("keys", index, "id"), f"two keys have the id {row.id}", "make a new key"
        seen.add(row.id)
        if row.expires > now + MAX_LIFE:  # 3
            yield ("keys", index, "expires"), "the key would live longer than a year", "write an earlier time"
