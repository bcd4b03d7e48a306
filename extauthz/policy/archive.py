"""A policy bundle's container: a gzipped tar, read as if its writer meant harm, and written the same way every time.

A reader that follows the tar format everywhere would meet links, devices, sparse files and sizes in three notations.
A policy bundle needs none of that, so what is not a plain file or directory is refused:

1. gzip: one member, whole, its checksum right, nothing behind it; unpacked no further than the limit (zip bombs).
2. Every header's checksum is right; sizes are octal; links, devices, sparse files and global headers are refused.
3. A name is relative once the one leading `/` or `./` that OPA writes is gone; no `..`, no empty part, no backslash,
   no control character; bounded in length and depth.
4. No name comes twice, none is both a file and a directory.
5. The end is marked, and nothing but zeros follows: a half-written archive is not a smaller one.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK: Final = 512
MAX_NAME: Final = 255
MAX_DEPTH: Final = 16
MAX_PAX: Final = 64 * 1024
_FILE: Final = frozenset({b"0", b"\0"})
_DIRECTORY: Final = b"5"
_PAX: Final = b"x"
_OCTAL: Final = re.compile(rb"[ 0]*([0-7]{0,12})[ \0]*")
_PAX_RECORD: Final = re.compile(rb"([1-9][0-9]{0,5}) ")
_KINDS: Final = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}


class BundleRefused(ExtauthzError):
    """Why a policy bundle is refused; `remedy` is for whoever built it."""

    def __init__(self, reason: str, remedy: str = "build it again with `extauthz policy build`") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Limits:
    """`packed` and `unpacked` are bytes; `files` counts directories, too."""

    packed: int = 16 * 1024**2
    unpacked: int = 16 * 1024**2
    files: int = 2000


def unpack(packed: bytes, limits: Limits) -> dict[str, bytes]:
    """Name → content of every file, in the archive's order. Raises BundleRefused and nothing else."""
    if len(packed) > limits.packed:
        raise BundleRefused(f"has more than {limits.packed} bytes packed", "raise policy.max_bytes, or make it smaller")
    room = limits.unpacked + (limits.files + 2) * 3 * BLOCK  # contents, and for each file its headers
    tar = _inflated(packed, room, limits.unpacked)  # 1
    files: dict[str, bytes] = {}
    directories: set[str] = set()
    at, long_name, total = 0, "", 0
    while any(header := tar[at : at + BLOCK]):
        kind, name, size = _header(header)  # 2
        content = tar[at + BLOCK : at + BLOCK + size]
        if len(content) < size:
            raise BundleRefused("ends in the middle of a file")
        at += BLOCK + -(-size // BLOCK) * BLOCK
        if kind == _PAX:
            long_name = _pax_name(content)
            continue
        name, long_name = _name(long_name or name), ""  # 3
        if kind == _DIRECTORY:
            directories.add(name)
        else:
            if name in files:  # 4
                raise BundleRefused(f"holds {name} twice")
            files[name] = content
            total += size
        if len(files) + len(directories) > limits.files:
            raise BundleRefused(f"has more than {limits.files} files", "raise policy.max_files, or split it")
        if total > limits.unpacked:
            raise BundleRefused(f"has more than {limits.unpacked} bytes unpacked", "raise policy.max_bytes")
    if len(tar) - at < BLOCK or any(tar[at:]) or long_name:  # 5
        raise BundleRefused("has no end: it is truncated, or something follows it")
    _no_file_is_a_directory(files, directories)  # 4
    return files


def pack(files: Mapping[str, bytes]) -> bytes:
    """Equal files make equal bytes. `.signatures.json` and `.manifest` come first, then the names in order."""
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(files, key=lambda name: (name not in {".signatures.json", ".manifest"}, name)):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            tar.addfile(entry, io.BytesIO(files[name]))
    return out.getvalue()


def _inflated(packed: bytes, room: int, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=31)  # gzip and nothing else
    try:
        tar = inflater.decompress(packed, room)
    except zlib.error:
        raise BundleRefused("is not gzip, or it is damaged") from None
    if inflater.unconsumed_tail or len(tar) >= room:
        raise BundleRefused(f"has more than {limit} bytes unpacked", "raise policy.max_bytes, or make it smaller")
    if not inflater.eof:
        raise BundleRefused("is truncated: the gzip stream does not end")
    if inflater.unused_data:
        raise BundleRefused("has something behind the gzip stream")
    return tar


def _header(header: bytes) -> tuple[bytes, str, int]:
    """Kind, name and size of one entry (POSIX.1-1988 ustar)."""
    if len(header) < BLOCK:
        raise BundleRefused("is truncated: the archive has no end")
    stored = _octal(header[148:156])
    if stored != sum(header) - sum(header[148:156]) + 8 * 32 or header[257:262] != b"ustar":
        raise BundleRefused("has a damaged header")
    kind = header[156:157]
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and (prefix := header[345:500].split(b"\0", 1)[0]):
        name = prefix + b"/" + name
    if kind not in _FILE and kind not in {_DIRECTORY, _PAX}:
        shown = _KINDS.get(kind, f"an entry of type {kind!r}")
        raise BundleRefused(f"holds {shown}; only plain files belong there")
    size = _octal(header[124:136])
    if kind == _DIRECTORY and size:
        raise BundleRefused("holds a directory with contents of its own")
    return kind, _text(name), size


def _octal(field: bytes) -> int:
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise BundleRefused("has a number in a header that is not octal")
    return int(match[1] or b"0", 8)


def _pax_name(records: bytes) -> str:
    """The `path` of a pax header; times and owners mean nothing here, everything else is refused (a size, a link)."""
    if len(records) > MAX_PAX:
        raise BundleRefused("has an extended header that is too large")
    name = ""
    while records:
        match = _PAX_RECORD.match(records)
        length = int(match[1]) if match else 0
        record = records[match.end() : length] if match else b""
        key, _, value = record.removesuffix(b"\n").partition(b"=")
        if not record.endswith(b"\n") or length > len(records):
            raise BundleRefused("has a damaged extended header")
        if key == b"path":
            name = _text(value)
        elif key not in {b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname"}:
            raise BundleRefused("has an extended header that changes more than a name")
        records = records[length:]
    return name


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise BundleRefused("has a name that is not UTF-8") from None


def _name(name: str) -> str:
    plain = name.removesuffix("/")
    plain = plain.removeprefix("./") if plain.startswith("./") else plain.removeprefix("/")
    if plain == ".":
        return plain
    parts = plain.split("/")
    if (
        any(part in {"", ".", ".."} for part in parts)
        or "\\" in plain
        or ":" in plain
        or not plain.isprintable()
        or len(plain.encode()) > MAX_NAME
        or len(parts) > MAX_DEPTH
    ):
        raise BundleRefused(f"has a name that leads elsewhere or cannot be used: {name[:80]!a}")
    return plain


def _no_file_is_a_directory(files: Mapping[str, bytes], directories: set[str]) -> None:
    for name in files:
        parts = name.split("/")
        directories.update("/".join(parts[:end]) for end in range(1, len(parts)))
    if both := directories & files.keys():
        raise BundleRefused(f"holds {min(both)} as a file and as a directory")
