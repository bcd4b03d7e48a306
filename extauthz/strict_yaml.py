"""Strict YAML: bytes in, a tree with positions out, or every problem found.

What is accepted is small on purpose: one document of mappings, sequences and scalars. Laws of this file:

1. Nothing is built but dict, list, str, int, float, bool and None; no tag of the document is ever looked at.
2. Plain scalars follow the YAML 1.2 core schema (section 10.3.2): `yes`, `no`, `on`, `off`, dates and `12:30` are
   strings. A number with a leading zero, an infinity and a NaN are refused: readers disagree about them.
3. A key that comes twice, an anchor, an alias, a merge key and a tag are refused: what is written is what counts.
4. Bytes, depth and count are bounded before anything is built.
5. Nothing in the text is substituted. Secrets come as files.

The parser is PyYAML's pure Python one, driven event by event, so that the same file gives the same answer on every
machine and nothing recurses while reading.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from extauthz.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 100_000
MAX_PROBLEMS: Final = 200
"""More are of no use to anybody; the rest is told at the next try."""

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_BASED: Final = re.compile(r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_LEADING_ZERO: Final = re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?")
_LONG_INTEGER: Final = re.compile(r"[-+]?[1-9][0-9]{18,}|0o[0-7]{21,}|0x[0-9a-fA-F]{16,}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Escapes in quotes can spell what YAML forbids elsewhere; nothing that we configure holds these."""
_KEY_SHOWN: Final = 64
_PLAIN_KEY: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{_KEY_SHOWN}}}")
_SECRET_KEY: Final = re.compile(
    r"(?i)passw|passphrase|secret|api[_-]?key|private[_-]?key|authorization|bearer|cookie|credentials|(^|[_-])(token|pin)$"
)


_BLOCKS: Final = frozenset({"token"})
"""Blocks of the format whose names look like a secret's."""


@dataclass(slots=True, eq=False)
class Node:
    """A value and the line that it starts on (from 1). `key_lines` is filled for mappings."""

    line: int
    value: str | int | float | bool | dict[str, Node] | list[Node] | None
    key_lines: dict[str, int] = field(default_factory=dict)

    def plain(self) -> Any:
        """The value without positions."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value


@dataclass(frozen=True, slots=True)
class Tree:
    """One file, read. `digest` is SHA-256 over its bytes, hex."""

    file: str
    root: Node
    digest: str

    def line(self, location: Sequence[str | int]) -> int:
        """The line of the deepest part of `location` that the file has: of its key inside a mapping."""
        line = 0
        for _, line, _ in self.walk(location):  # noqa: B007 - the last one counts
            pass
        return line

    def walk(self, location: Sequence[str | int]) -> Iterator[tuple[str | int, int, Node]]:
        """(part, line, node) for each part of `location` that the file has; other parts are skipped.

        Pydantic puts names of union members between the parts; those are never in the file.
        """
        node = self.root
        for part in location:
            value = node.value
            if isinstance(value, dict) and isinstance(part, str) and part in value:
                line, node = node.key_lines[part], value[part]
            elif isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value):
                node = value[part]
                line = node.line
            else:
                continue
            yield part, line, node


def looks_secret(key: str) -> bool:
    """Whether what stands under this key may be a secret, so that no message may repeat it."""
    return _SECRET_KEY.search(key) is not None and not key.endswith("_file")


def dotted(location: Sequence[str | int]) -> str:
    """`routes[2].credential`, `workload.trust_domains["bank.example"]`; one printable line of bounded length."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part if len(part) <= _KEY_SHOWN else part[:_KEY_SHOWN] + '...')}]"
    return text


def read(path: Path) -> bytes:
    """The bytes of a file. Raises ConfigError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _refusal(str(path), 0, "this is not a regular file", "name the YAML file itself")
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "the path is not usable"
        raise _refusal(str(path), 0, f"cannot be read: {reason}", "check path and permissions") from None


def parse(data: bytes, file: str, *, remedy: str = "start with `version: 1`") -> Tree:
    """Raises ConfigError with every problem that can be told apart, never anything else.

    `remedy` is what to do when the file holds no mapping.
    """
    builder = _Builder(file)
    _feed(builder, _decoded(data, file))
    if builder.problems:
        raise ConfigError(tuple(sorted(builder.problems, key=lambda problem: problem.line)))
    root = builder.root or Node(1, None)
    if root.value is None:
        root = Node(1, {})
    if not isinstance(root.value, dict):
        raise _refusal(file, root.line, "a mapping of settings is expected", remedy)
    return Tree(file, root, hashlib.sha256(data).hexdigest())


def _decoded(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise _refusal(file, 0, f"the file is larger than {MAX_BYTES // 1024} KiB", "move data into their own files")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refusal(file, line, "the text is not UTF-8", "save the file as UTF-8") from None


def _feed(builder: _Builder, text: str) -> None:
    with suppress(_Stop):
        _feed_events(builder, text)


def _feed_events(builder: _Builder, text: str) -> None:
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        builder.problem(line, error.problem or error.context or "not YAML", "correct the YAML")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        builder.problem(line, "a character that YAML does not allow", "remove the control character")
    except (yaml.YAMLError, ValueError, IndexError, AttributeError, RecursionError):
        # PyYAML leaks a few of its own (a `%YAML` directive with huge numbers, an escape above U+10FFFF).
        builder.problem(0, "not YAML", "correct the YAML")


def _refusal(file: str, line: int, message: str, remedy: str) -> ConfigError:
    return ConfigError((ConfigProblem(file, line, "", message, remedy),))


class _Stop(Exception):
    """A bound is passed; the rest is not read."""


@dataclass(slots=True, eq=False)
class _Frame:
    node: Node
    key: str | None = None
    key_line: int = 0
    wants_key: bool = False


class _Builder:
    """Takes events, keeps the open collections on a stack."""

    def __init__(self, file: str) -> None:
        self.problems: list[ConfigProblem] = []
        self.root: Node | None = None
        self._file = file
        self._open: list[_Frame] = []
        self._nodes = 0
        self._documents = 0

    def problem(self, line: int, message: str, remedy: str) -> None:
        self.problems.append(ConfigProblem(self._file, line, self._where(), message, remedy))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stop

    def _where(self) -> str:
        parts: list[str | int] = []
        for frame in self._open:
            if isinstance(frame.node.value, list):
                parts.append(len(frame.node.value))
            elif frame.key is not None:
                parts.append(frame.key)
                if looks_secret(frame.key) and frame.key not in _BLOCKS:
                    break  # a secret may have been taken for a mapping
        return dotted(parts)

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self.problem(line, "a second document", "keep one document in a file")
                raise _Stop
        elif isinstance(event, yaml.AliasEvent):
            self._node(Node(line, None))
            self.problem(line, "aliases (*name) are not accepted", "write the value out")
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()

    def _start(self, event: yaml.CollectionStartEvent, line: int) -> None:
        self._properties(event.anchor, event.tag, line)
        if len(self._open) >= MAX_DEPTH:
            self.problem(line, f"nested deeper than {MAX_DEPTH} levels", "flatten the structure")
            raise _Stop
        if self._open and self._open[-1].wants_key:
            self.problem(line, "a key must be a plain word", "use a string as key")
            raise _Stop
        mapping = isinstance(event, yaml.MappingStartEvent)
        node = Node(line, {} if mapping else [])
        self._node(node)
        self._open.append(_Frame(node, wants_key=mapping))

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        self._properties(event.anchor, event.tag, line)
        if _UNPRINTABLE.search(event.value):
            self.problem(line, "an escaped control character or lone surrogate", "remove it")
            raise _Stop
        frame = self._open[-1] if self._open else None
        if frame is not None and frame.wants_key:
            self._key(frame, event.value, line)
            return
        plain = event.style is None
        self._node(Node(line, self._resolve(event.value, line) if plain else event.value))

    def _key(self, frame: _Frame, name: str, line: int) -> None:
        frame.key, frame.key_line, frame.wants_key = name, line, False
        if name == "<<":
            self.problem(line, "merge keys (<<) are not accepted", "write the keys out")
        elif not name:
            self.problem(line, "an empty key", "name the setting")
        elif name in frame.node.key_lines:
            first = frame.node.key_lines[name]
            self.problem(line, f"the key comes twice, first on line {first}", "keep one of them")

    def _node(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self.problem(node.line, f"more than {MAX_NODES} values", "move data into their own files")
            raise _Stop
        if not self._open:
            self.root = node
            return
        frame = self._open[-1]
        if isinstance(frame.node.value, list):
            frame.node.value.append(node)
        elif isinstance(frame.node.value, dict):
            if frame.wants_key:  # an alias as a key; reported by the caller
                frame.key, frame.key_line, frame.wants_key = "*", node.line, False
                return
            key = frame.key or ""
            frame.node.value[key] = node
            frame.node.key_lines.setdefault(key, frame.key_line)
            frame.wants_key = True

    def _properties(self, anchor: str | None, tag: str | None, line: int) -> None:
        if anchor is not None:
            self.problem(line, "anchors (&name) are not accepted", "write the value out where it is needed")
        if tag is not None:
            self.problem(line, "tags (!name) are not accepted", "quote the value when it is a string")

    def _resolve(self, text: str, line: int) -> str | int | float | bool | None:
        """A plain scalar's value under the YAML 1.2 core schema."""
        if text in _NULL:
            return None
        if text in _BOOLEAN:
            return _BOOLEAN[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _BASED.fullmatch(text):
            return int(text, 0)
        if _LEADING_ZERO.fullmatch(text):
            self.problem(line, "a number with a leading zero", "quote it, or write 0o for an octal number")
        elif _LONG_INTEGER.fullmatch(text):
            self.problem(line, "a number of more than 18 digits", "quote it if it is a string")
        elif _NOT_FINITE.fullmatch(text):
            self.problem(line, "a number that is not finite", "write a finite number")
        elif _FLOAT.fullmatch(text):
            number = float(text)
            if number - number == 0:
                return number
            self.problem(line, "a number that is not finite", "write a finite number")
        return text
