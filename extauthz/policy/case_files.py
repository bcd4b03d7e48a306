"""Reads decision cases: files called `cases.yaml` or `*_cases.yaml`, anywhere below a policy directory.

    version: 1
    entrypoint: extauthz/payments/decision        # of every case that names none
    cases:
      small_transfer_is_allowed:
        input: fixtures/transfer.json              # a file beside this one, or the input itself
        change: {resource.properties.amount: 10}   # replaces values of it, by dotted path
        remove: [subject.properties.acr]
        data: {limits: {clerk: 50}}                # replaces parts of the policy's data
        expect: allow                              # or a code, or {layer, code, codes}
        mask: [iban]                               # also headers, metadata: exactly these

An input is strict JSON or YAML. Every problem is told with file and line.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NoReturn

from extauthz import strict_json, strict_yaml
from extauthz.codes import POLICY_LAYERS, Layer
from extauthz.errors import ConfigError, ConfigProblem
from extauthz.policy.cases import Case, Expected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from extauthz.strict_yaml import Node

MAX_INPUT: Final = 1024 * 1024
MAX_DEPTH: Final = 64
_NAME: Final = re.compile(r"(?:.*_)?cases\.yaml")
_ENTRYPOINT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)+")
_CODE: Final = re.compile(r"[a-z]+\.[a-z0-9_]{1,64}")
_KEYS: Final = frozenset(
    {"entrypoint", "input", "change", "remove", "data", "expect", "mask", "headers", "metadata", "title"}
)
_EXPECT: Final = frozenset({"layer", "code", "codes"})
_LAYERS: Final = frozenset(layer.value for layer in (*POLICY_LAYERS, Layer.ENGINE))


def is_case_file(name: str) -> bool:
    """Whether a file of this name, or path, holds decision cases."""
    return _NAME.fullmatch(PurePosixPath(name).name) is not None


def load_cases(root: Path) -> list[Case]:
    """The cases of every case file below `root`, or of `root` itself when it is a file. Raises ConfigError.

    Hidden directories are not entered. Blocks.
    """
    files = [root] if root.is_file() else sorted(_below(root))
    base = root.parent if root.is_file() else root

    def read(name: str) -> bytes:
        return strict_yaml.read(base / name)

    return read_cases([file.relative_to(base).as_posix() for file in files], read, str(base))


def read_cases(names: Iterable[str], read: Callable[[str], bytes], root: str = "") -> list[Case]:
    """The cases of the files `names` (paths with slashes below a root), whose bytes `read` gives.

    So a bundle that was never unpacked can be read as well. `root` is only told in messages. Raises ConfigError.
    """
    cases: list[Case] = []
    problems: list[ConfigProblem] = []
    for name in names:
        try:
            cases += _File(name, f"{root}/{name}" if root else name, read).cases()
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))
    return cases


def _below(root: Path) -> Iterator[Path]:
    for file in root.rglob("*cases.yaml"):
        hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
        if is_case_file(file.name) and not hidden and file.is_file():
            yield file


class _File:
    def __init__(self, name: str, shown: str, read: Callable[[str], bytes]) -> None:
        self._name = name
        self._shown = shown
        self._read = read
        self._inputs: dict[str, Any] = {}

    def cases(self) -> list[Case]:
        root = strict_yaml.parse(
            self._read(self._name), self._shown, remedy="start with `version: 1` and `cases:`"
        ).root
        top = _mapping(root)
        if unknown := set(top) - {"version", "entrypoint", "cases"}:
            self._refuse(root.key_lines[min(unknown)], min(unknown), "unknown key", "version, entrypoint, cases")
        if "version" not in top or top["version"].value != 1:
            self._refuse(root.line, "version", "the format's version is missing or unknown", "write `version: 1`")
        default = self._entrypoint(top["entrypoint"], "entrypoint") if "entrypoint" in top else ""
        listed = top.get("cases")
        if listed is None or not isinstance(listed.value, dict) or not listed.value:
            self._refuse(root.line, "cases", "no case is listed", "write `cases:` with one key a case")
        problems: list[ConfigProblem] = []
        cases = []
        for name, node in _mapping(listed).items():
            try:
                cases.append(self._case(name, node, listed.key_lines[name], default))
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(tuple(problems))
        return cases

    def _case(self, name: str, node: Node, line: int, default: str) -> Case:
        key = strict_yaml.dotted(["cases", name])
        if not isinstance(node.value, dict):
            self._refuse(line, key, "a mapping is expected", "give the case `input` and `expect`")
        have = node.value
        for unknown in sorted(set(have) - _KEYS):
            self._refuse(
                node.key_lines[unknown], f"{key}.{unknown}", "unknown key", f"one of {', '.join(sorted(_KEYS))}"
            )
        entrypoint = self._entrypoint(have["entrypoint"], f"{key}.entrypoint") if "entrypoint" in have else default
        if not entrypoint:
            self._refuse(line, key, "the case names no entrypoint", "add `entrypoint: <package>/<rule>`")
        for needed in ("input", "expect"):
            if needed not in have:
                self._refuse(line, key, f"`{needed}` is missing", "see the format in docs/policies.md")
        data = have["data"].plain() if "data" in have else {}
        if not isinstance(data, dict):
            self._refuse(
                have["data"].line, f"{key}.data", "a mapping is expected", "write `data: {limits: {clerk: 50}}`"
            )
        document = self._changed(self._input(have["input"], key), have, key)
        return Case(name, self._shown, line, entrypoint, document, self._expected(have, key), data)

    def _entrypoint(self, node: Node, key: str) -> str:
        value = node.value
        if not isinstance(value, str) or not _ENTRYPOINT.fullmatch(value):
            self._refuse(
                node.line, key, "this is no entrypoint", "a rule's path below data: extauthz/payments/decision"
            )
        return value

    def _input(self, node: Node, key: str) -> Any:
        if not isinstance(node.value, str):
            return node.plain()
        wanted = node.value
        if wanted not in self._inputs:
            place = PurePosixPath(self._name).parent / wanted
            if PurePosixPath(wanted).is_absolute() or ".." in place.parts:
                self._refuse(node.line, f"{key}.input", "the file is not below this one", "move it beside the cases")
            try:
                data = self._read(place.as_posix())
                self._inputs[wanted] = strict_json.parse(data, max_bytes=MAX_INPUT, max_depth=MAX_DEPTH).root
            except (ConfigError, KeyError):
                self._refuse(node.line, f"{key}.input", f"{wanted} cannot be read", "name a JSON file beside this one")
            except strict_json.NotStrict as error:
                self._refuse(node.line, f"{key}.input", f"{wanted} is not strict JSON: {error}", "correct the file")
        return self._inputs[wanted]

    def _changed(self, document: Any, have: Mapping[str, Node], key: str) -> Any:
        if "change" not in have and "remove" not in have:
            return document
        changed = copy.deepcopy(document)
        if "change" in have:
            node = have["change"]
            if not isinstance(node.value, dict):
                self._refuse(node.line, f"{key}.change", "a mapping is expected", "{resource.properties.amount: 10}")
            for path, value in node.value.items():
                holder, last = self._holder(changed, path, value.line, f"{key}.change")
                holder[last] = value.plain()
        if "remove" in have:
            node = have["remove"]
            for path in self._texts(node, f"{key}.remove"):
                holder, last = self._holder(changed, path, node.line, f"{key}.remove")
                if last not in holder:
                    self._refuse(node.line, f"{key}.remove", f"the input has no {path}", "correct the path")
                del holder[last]
        return changed

    def _holder(self, document: Any, path: str, line: int, key: str) -> tuple[dict[str, Any], str]:
        """The object that holds the last part of a dotted path; objects on the way are made."""
        *parts, last = path.split(".")
        for part in parts:
            document = document.setdefault(part, {}) if isinstance(document, dict) else None
        if not isinstance(document, dict):
            self._refuse(line, key, f"{path} leads through something that is no object", "correct the path")
        return document, last

    def _expected(self, have: Mapping[str, Node], key: str) -> Expected:
        node = have["expect"]
        given = [name for name in ("mask", "headers", "metadata") if name in have]
        if node.value == "allow":
            mask = self._texts(have["mask"], f"{key}.mask") if "mask" in have else None
            return Expected(
                allow=True,
                mask=mask,
                headers=self._object(have, "headers", key),
                metadata=self._object(have, "metadata", key),
            )
        if given:
            self._refuse(have[given[0]].line, f"{key}.{given[0]}", "a denial has no obligations", "remove it")
        if isinstance(node.value, str):
            return Expected(allow=False, code=self._code(node, f"{key}.expect"))
        if not isinstance(node.value, dict) or not node.value or set(node.value) - _EXPECT:
            self._refuse(node.line, f"{key}.expect", "not understood", "allow, a code, or {layer, code, codes}")
        return self._denial(node.value, f"{key}.expect")

    def _denial(self, have: Mapping[str, Node], key: str) -> Expected:
        layer = str(have["layer"].value) if "layer" in have else ""
        if layer and layer not in _LAYERS:
            self._refuse(have["layer"].line, f"{key}.layer", "no such layer", f"one of {', '.join(sorted(_LAYERS))}")
        code = self._code(have["code"], f"{key}.code") if "code" in have else ""
        codes = self._texts(have["codes"], f"{key}.codes") if "codes" in have else ()
        return Expected(allow=False, layer=layer, code=code, codes=codes)

    def _code(self, node: Node, key: str) -> str:
        value = node.value
        if not isinstance(value, str) or not _CODE.fullmatch(value) or value.partition(".")[0] not in _LAYERS:
            self._refuse(
                node.line, key, "neither `allow` nor a code", "a code is <layer>.<what>: attribute.amount_limit"
            )
        return value

    def _texts(self, node: Node, key: str) -> tuple[str, ...]:
        value = node.plain()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self._refuse(node.line, key, "a list of texts is expected", "write [a, b]")
        return tuple(value)

    def _object(self, have: Mapping[str, Node], name: str, key: str) -> Mapping[str, Any] | None:
        if name not in have:
            return None
        value = have[name].plain()
        if not isinstance(value, dict):
            self._refuse(have[name].line, f"{key}.{name}", "a mapping is expected", "write {name: value}")
        return value

    def _refuse(self, line: int, key: str, message: str, remedy: str) -> NoReturn:
        raise ConfigError((ConfigProblem(self._shown, line, key, message, remedy),))


def _mapping(node: Node) -> dict[str, Node]:
    return node.value if isinstance(node.value, dict) else {}
