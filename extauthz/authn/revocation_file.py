"""A file that says what has been revoked before its time: JSON or YAML; every list may be absent.

jti: [one token's id]
sub: [a subject, all tokens] or {subject: unix seconds, tokens issued up to then}
kid: [a signing key's id]
workload: [a SPIFFE ID, or a certificate's x5t#S256]
token: [SHA-256 of a token in lower-case hex]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from extauthz.authn.files import file_error
from extauthz.authn.revocation_index import FOREVER, Index

if TYPE_CHECKING:
    from pathlib import Path

_NAMES: Final = frozenset({"jti", "sub", "kid", "workload", "token"})


def read(content: bytes, path: Path) -> Index:
    """Parse a file of revocations. Raises ConfigError."""
    try:
        # JSON is YAML; the C loader keeps a large list fast.
        tree = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError):
        raise file_error(path, "is neither JSON nor YAML", "write the lists jti, sub, kid, workload, token") from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict) or not _NAMES.issuperset(tree):
        raise file_error(path, "has other members than jti, sub, kid, workload, token", "remove them")
    return Index.of(
        token=_strings(tree, "token", path),
        jti=_strings(tree, "jti", path),
        subject=_subjects(tree.get("sub"), tree, path),
        workload=_strings(tree, "workload", path),
        key=_strings(tree, "kid", path),
    )


def _strings(tree: dict[str, Any], name: str, path: Path) -> frozenset[str]:
    values = tree.get(name)
    if values is None:
        return frozenset()
    if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
        raise file_error(path, f"{name} is not a list of strings", "quote every entry")
    return frozenset(values)


def _subjects(values: Any, tree: dict[str, Any], path: Path) -> dict[str, float]:
    if not isinstance(values, dict):
        return dict.fromkeys(_strings(tree, "sub", path), FOREVER)
    # Neither true nor NaN: both would quietly revoke nothing.
    if not all(isinstance(k, str) and k and type(v) in {int, float} and v >= 0 for k, v in values.items()):
        raise file_error(path, "sub does not map subjects to unix seconds", "write a list, or subject: seconds")
    return {subject: float(until) for subject, until in values.items()}
