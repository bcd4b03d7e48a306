"""What has been revoked before its time: a snapshot file, swapped atomically, with an epoch that grows on each change.

The file is JSON or YAML; every list may be absent:

    jti: [one token's id]
    sub: [a subject, all tokens] or {subject: unix seconds, tokens issued up to then}
    kid: [a signing key's id]
    workload: [a SPIFFE ID, or a certificate's x5t#S256]
    token: [SHA-256 of a token in lower-case hex]
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from extauthz.authn.files import WatchedFile, file_error
from extauthz.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from extauthz.authn.settings import RevocationSettings
    from extauthz.model import Workload

log = logging.getLogger(__name__)
_NAMES = frozenset({"jti", "sub", "kid", "workload", "token"})
_FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of the file. `sub` maps a subject to the last `iat` that is revoked."""

    jti: frozenset[str] = frozenset()
    sub: Mapping[str, float] = field(default_factory=dict)
    kid: frozenset[str] = frozenset()
    workload: frozenset[str] = frozenset()
    token: frozenset[str] = frozenset()


class Revocations:
    """The snapshot in force. Raises ConfigError when made with a file that cannot be used.

    A file that breaks later changes nothing: what was revoked stays revoked, and `problem` says what is wrong.
    """

    __slots__ = ("_file", "_snapshot", "epoch", "problem")

    def __init__(self, settings: RevocationSettings) -> None:
        self._file = None if settings.file is None else WatchedFile(settings.file)
        self._snapshot = Snapshot() if self._file is None else read(self._file.changed() or b"", self._file.path)
        self.epoch = 0
        self.problem = ""

    def reload(self) -> bool:
        if self._file is None:
            return False
        try:
            content = self._file.changed()
            if content is None:
                return False
            snapshot = read(content, self._file.path)
        except ConfigError as error:
            self.problem = str(error)
            log.error("revocations kept as they were: %s", error)  # noqa: TRY400 - the message says all
            return False
        # Snapshot first: who sees the new epoch sees the new snapshot.
        self._snapshot = snapshot
        self.epoch += 1
        self.problem = ""
        return True

    def token(self, *, digest: str, jti: str, sub: str, kid: str, issued_at: float) -> bool:
        """Whether a verified token is revoked. `digest` is lower-case hex; `issued_at` 0 counts as always revoked."""
        snapshot = self._snapshot
        return (
            jti in snapshot.jti
            or kid in snapshot.kid
            or digest in snapshot.token
            or (sub in snapshot.sub and issued_at <= snapshot.sub[sub])
        )

    def workload(self, workload: Workload) -> bool:
        revoked = self._snapshot.workload
        return bool(revoked) and (workload.id in revoked or workload.certificate_sha256 in revoked)


def read(content: bytes, path: Path) -> Snapshot:
    """Parse a snapshot file. Raises ConfigError."""
    try:
        # JSON is YAML; the C loader keeps a large list fast.
        tree = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError):
        raise file_error(path, "is neither JSON nor YAML", "write the lists jti, sub, kid, workload, token") from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict) or not _NAMES.issuperset(tree):
        raise file_error(path, "has other members than jti, sub, kid, workload, token", "remove them")
    return Snapshot(
        jti=_strings(tree, "jti", path),
        sub=_subjects(tree.get("sub"), tree, path),
        kid=_strings(tree, "kid", path),
        workload=_strings(tree, "workload", path),
        token=_strings(tree, "token", path),
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
        return dict.fromkeys(_strings(tree, "sub", path), _FOREVER)
    # Neither true nor NaN: both would quietly revoke nothing.
    if not all(isinstance(k, str) and k and type(v) in {int, float} and v >= 0 for k, v in values.items()):
        raise file_error(path, "sub does not map subjects to unix seconds", "write a list, or subject: seconds")
    return {subject: float(until) for subject, until in values.items()}
