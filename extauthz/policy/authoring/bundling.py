"""A policy directory → a policy bundle. Equal directories and options make equal bytes, the signature aside.

1. Rego (without tests) and data are taken as `loader` takes them; data becomes one `data.json`, as `opa build` does.
2. The decision cases go with it, and the inputs that they name: they are asked before the bundle is activated.
3. OPA compiles it, and says what each declared entrypoint reads; that goes into the manifest, for reviewers.
4. All decision cases must pass: what its own cases refuse would be refused by every server.
5. Revision, roots and sequence are written down, everything is signed, and the result is opened again as a server
   would.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from extauthz import strict_yaml
from extauthz.errors import ConfigError, ConfigProblem
from extauthz.policy import archive, bundle, loader, manifest, projection, signing
from extauthz.policy.authoring.data import data_of
from extauthz.policy.authoring.evaluator import Evaluator
from extauthz.policy.case_files import is_case_file, read_cases
from extauthz.policy.loader import PolicyFiles, revision_of
from extauthz.policy.native import find_tool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from extauthz.policy.cases import Case


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """`revision` empty: the digest of what is built. `roots` empty: those of the directory's `.manifest`, else all."""

    revision: str = ""
    sequence: int | None = None
    roots: tuple[str, ...] = ()
    scope: str = ""
    key: signing.SigningKey | None = None
    limits: archive.Limits = field(default_factory=archive.Limits)


def build(root: Path, options: BuildOptions) -> bundle.PolicyBundle:
    """Raises ConfigError with every problem, and MissingPart. Blocks for about a second."""
    source = loader.load(root, max_bytes=options.limits.unpacked, max_files=options.limits.files)
    files = {name: text for name, text in source.files.items() if name.endswith(".rego")}  # 1
    if data := data_of(source):
        files["data.json"] = projection.canonical(data)
    declared = _declared(source.root, options)
    policy = PolicyFiles(source.root, files, options.revision or revision_of(files), declared.roots)
    cases, extra = _cases(source.root)  # 2
    report = projection.analyse(find_tool(), policy)  # 3
    with Evaluator(policy) as evaluator:
        failed = [result for result in evaluator.run(cases) if not result.passed]
    if failed:  # 4
        raise ConfigError(
            tuple(
                ConfigProblem(one.case.file, one.case.line, one.case.name, "; ".join(one.problems), "correct either")
                for one in failed
            )
        )
    described = manifest.Manifest(
        policy.revision, declared.roots, options.sequence, report.declared, _projection(report)
    )
    packed = {**files, **extra, signing.MANIFEST: described.dump()}
    try:
        if options.key is not None:
            packed[signing.SIGNATURES] = signing.sign(packed, options.key, options.scope)
        trust = bundle.Trust()
        if options.key is not None:
            key = signing.VerificationKey(options.key.id, options.key.algorithm, options.key.key.public_key())
            trust = bundle.Trust((key,), options.scope)
        return bundle.open_bundle(archive.pack(packed), str(root), trust=trust, limits=options.limits)  # 5
    except archive.BundleRefused as error:
        raise bundle.refused(str(root), error) from None


def _declared(root: Path, options: BuildOptions) -> manifest.Manifest:
    """The directory's `.manifest` may name the roots; revision and sequence are options of the build."""
    file = root / signing.MANIFEST
    try:
        found = manifest.read(file.read_bytes() if file.is_file() else None)
        wanted = manifest.Manifest(options.revision, options.roots or found.roots, options.sequence)
        return manifest.read(wanted.dump())
    except archive.BundleRefused as error:
        raise bundle.refused(str(root), error) from None
    except OSError as error:
        raise ConfigError((ConfigProblem(str(file), 0, "", f"cannot be read: {error.strerror}", ""),)) from None


def _cases(root: Path) -> tuple[list[Case], dict[str, bytes]]:
    """The cases, and every file that they were read from."""
    names = [
        file.relative_to(root).as_posix()
        for file in sorted(root.rglob("*cases.yaml"))
        if is_case_file(file.name) and not any(part.startswith(".") for part in file.relative_to(root).parts)
    ]
    files: dict[str, bytes] = {}

    def read(name: str) -> bytes:
        files[name] = strict_yaml.read(root / name)
        return files[name]

    return read_cases(names, read, str(root)), files


def _projection(report: projection.Report) -> dict[str, Any]:
    def dotted(paths: Sequence[Sequence[str]]) -> list[str]:
        return [".".join(("input", *path)) for path in paths]

    return {
        name: {"input": dotted(one.paths), "nondeterministic": one.nondeterministic}
        for name, one in report.analyses.items()
    }
