"""A policy directory → one immutable bundle that both engines load, named by the digest of what is in it.

Taken: `*.rego` without `*_test.rego`, and OPA's data files (`data.json`, `data.yaml`, `data.yml`), which stand at the
path of their directory. Left out: hidden files and directories, and everything else. The bytes are read once; what is
digested is what is loaded, whatever happens to the directory meanwhile.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import orjson

from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_DEPTH: Final = 16
DATA_FILES: Final = frozenset({"data.json", "data.yaml", "data.yml"})
REVISION_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """The files of a policy by their path below its directory (with slashes), in order.

    `revision` is what decisions are recorded under: the one that a policy bundle declares, else the digest.
    `roots` are the parts of `data` that the policy may define; OPA refuses a policy that goes beyond them.
    """

    root: Path
    files: Mapping[str, bytes]
    revision: str
    roots: tuple[str, ...] = ("",)

    @property
    def digest(self) -> str:
        """The first 32 hex digits of SHA-256 over the sorted names and contents."""
        return revision_of(self.files)

    def bundle(self) -> bytes:
        """A tar.gz as OPA's bundle API serves it; equal files make equal bytes."""
        manifest = {"revision": self.revision, "roots": self.roots, "rego_version": 1}
        out = io.BytesIO()
        with (
            gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=1) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name, content in {".manifest": orjson.dumps(manifest), **self.files}.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return out.getvalue()


def revision_of(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{len(name.encode())}:{name}:{len(files[name])}:".encode())
        digest.update(files[name])
    return digest.hexdigest()[:REVISION_DIGITS]


def load(path: Path, *, max_bytes: int = 16 * 1024**2, max_files: int = 2000) -> PolicyFiles:
    """Reads the directory. Raises ConfigError with the file and what to do.

    Symbolic links to files are followed as long as they stay below the directory (Kubernetes mounts volumes so);
    links to directories are not entered.
    """
    try:
        root = path.resolve(strict=True)
        files: dict[str, bytes] = {}
        left = max_bytes
        for file in sorted(_candidates(root)):
            if not file.resolve(strict=True).is_relative_to(root):
                _refuse(file, "is a link that leaves the policy directory", "copy the file into the directory")
            if len(files) == max_files:
                _refuse(path, f"has more than {max_files} files", "raise policy.max_files")
            with file.open("rb") as opened:
                content = opened.read(left + 1)
            left -= len(content)
            if left < 0:
                _refuse(path, f"has more than {max_bytes} bytes", "raise policy.max_bytes")
            files[file.relative_to(root).as_posix()] = content
    except (OSError, RuntimeError, UnicodeError) as error:  # RuntimeError: a loop of links
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            (ConfigProblem(str(path), 0, "", f"cannot be read: {reason}", "check policy.path"),)
        ) from None
    if not any(name.endswith(".rego") for name in files):
        _refuse(path, "has no .rego file", "check policy.path")
    return PolicyFiles(root, files, revision_of(files))


def _refuse(file: Path, message: str, remedy: str) -> NoReturn:
    raise ConfigError((ConfigProblem(str(file), 0, "", message, remedy),))


def _candidates(root: Path) -> Iterator[Path]:
    for directory, below, names in os.walk(root, onerror=_raise):
        place = Path(directory)
        below[:] = [name for name in below if not name.startswith(".")]
        if len(place.relative_to(root).parts) >= MAX_DEPTH and below:
            _refuse(place, f"is nested deeper than {MAX_DEPTH} directories", "move the policy up")
        for name in names:
            if name in DATA_FILES or (
                name.endswith(".rego") and not name.endswith("_test.rego") and not name.startswith(".")
            ):
                yield place / name


def _raise(error: OSError) -> None:
    raise error
