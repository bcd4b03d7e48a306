"""A policy bundle → the files of a policy. Each step assumes that the one before it held.

1. The container is read strictly and within limits (`archive`).
2. The signature over all files is verified, where keys are configured (`signing`). Nothing is interpreted before it.
3. The manifest is read (`manifest`): revision, roots, sequence.
4. Only Rego and `data.json` become the policy; `*_test.rego` does not. What OPA would interpret and we do not support
   is refused by name: delta bundles, Wasm, plans, YAML data.
5. Data nests within bounds; Rego nests within bounds and has no catastrophic expression (`source_checks`).
6. The bundle's decision cases are read; they are asked before the policy is activated (`canary`).

That every rule and every datum stays below the roots is checked by OPA when it loads the policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.errors import ConfigError, ConfigProblem
from extauthz.policy import archive, manifest, signing, source_checks
from extauthz.policy.archive import BundleRefused, Limits
from extauthz.policy.case_files import is_case_file, read_cases
from extauthz.policy.loader import PolicyFiles, revision_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.policy.bundle_settings import BundleKeySettings, BundleSettings
    from extauthz.policy.cases import Case

REFUSED: Final = {
    "patch.json": "a delta, and only whole bundles are taken",
    "policy.wasm": "Wasm",
    "plan.json": "a plan",
    "data.yaml": "YAML data",
    "data.yml": "YAML data",
}
MAX_SIGNATURE_KEY: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Trust:
    """`required`: an unsigned bundle is refused; with keys it always is."""

    keys: tuple[signing.VerificationKey, ...] = ()
    scope: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class PolicyBundle:
    """`packed` are the bytes as they came; `signed_by` is the key's id, empty when nobody vouches for it."""

    packed: bytes
    policy: PolicyFiles
    sequence: int | None
    signed_by: str
    cases: tuple[Case, ...]

    def follows(self, known: PolicyBundle | None) -> None:
        """Whether this one may come after `known`. Raises BundleRefused."""
        if known is None or self.packed == known.packed:
            return
        same = self.policy.digest == known.policy.digest
        lowest = None if known.sequence is None else known.sequence + (not same)
        if lowest is not None and (self.sequence is None or self.sequence < lowest):
            shown = "none" if self.sequence is None else str(self.sequence)
            raise BundleRefused(
                f"is a rollback: its sequence is {shown}, and {known.sequence} has been active",
                "build the older policy again with a higher --sequence",
            )
        if self.policy.revision == known.policy.revision and not same:
            raise BundleRefused(
                f"calls itself {self.policy.revision}, which was something else", "give it a new --revision"
            )


def trust_of(settings: BundleSettings) -> Trust:
    """Reads the key files. Raises ConfigError."""
    return Trust(tuple(map(_key, settings.keys)), settings.scope, bool(settings.url) and not settings.unsafe_unsigned)


def _key(settings: BundleKeySettings) -> signing.VerificationKey:
    file = str(settings.file)
    try:
        with settings.file.open("rb") as opened:
            pem = opened.read(MAX_SIGNATURE_KEY)
        return signing.verification_key(settings.id, settings.algorithm, pem)
    except OSError as error:
        raise _problem(file, f"cannot be read: {error.strerror}", "correct policy.bundle.keys") from None
    except BundleRefused as error:
        raise _problem(file, error.reason, error.remedy) from None


def read_file(path: Path, *, trust: Trust, limits: Limits) -> PolicyBundle:
    """Raises ConfigError."""
    try:
        with path.open("rb") as opened:
            packed = opened.read(limits.packed + 1)
    except OSError as error:
        raise _problem(str(path), f"cannot be read: {error.strerror}", "check policy.bundle.file") from None
    return open_bundle(packed, str(path), trust=trust, limits=limits)


def open_bundle(packed: bytes, source: str, *, trust: Trust, limits: Limits) -> PolicyBundle:
    """`source` is told in messages. Raises ConfigError whose problems name what is wrong, and nothing else."""
    try:
        return _open(packed, source, trust, limits)
    except BundleRefused as error:
        raise _problem(source, f"the policy bundle is refused: it {_sentence(error.reason)}", error.remedy) from None


def refused(source: str, error: BundleRefused) -> ConfigError:
    return _problem(source, f"the policy bundle is refused: it {_sentence(error.reason)}", error.remedy)


def _sentence(reason: str) -> str:
    verb = reason.partition(" ")[0]
    return reason if verb in {"has", "holds", "is", "lacks", "calls", "ends", "must", "does"} else f"is wrong: {reason}"


def _open(packed: bytes, source: str, trust: Trust, limits: Limits) -> PolicyBundle:
    files = archive.unpack(packed, limits)  # 1
    signed_by = ""
    if trust.keys:
        signed_by = signing.verify(files, trust.keys, trust.scope)  # 2
    elif trust.required:
        raise BundleRefused("is not verified: no keys are configured", "name them in policy.bundle.keys")
    declared = manifest.read(files.get(signing.MANIFEST))  # 3
    kept = _policy(files)  # 4
    for name, content in kept.items():  # 5
        if name.endswith(".json"):
            signing.structured(name, content)
    source_checks.check(kept)
    names = sorted(filter(is_case_file, files))
    cases = read_cases(names, files.__getitem__, source)  # 6
    policy = PolicyFiles(Path(source), kept, declared.revision or revision_of(kept), declared.roots)
    return PolicyBundle(packed, policy, declared.sequence, signed_by, tuple(cases))


def _policy(files: Mapping[str, bytes]) -> dict[str, bytes]:
    kept = {}
    for name in sorted(files):
        last = name.rpartition("/")[2]
        if last in REFUSED or last.endswith(".wasm"):
            raise BundleRefused(f"holds {name}: {REFUSED.get(last, 'Wasm')}", "build it with `extauthz policy build`")
        if last.startswith(".") and name not in {signing.MANIFEST, signing.SIGNATURES}:
            raise BundleRefused(f"holds the hidden file {name}")
        hidden = any(part.startswith(".") for part in name.split("/"))
        if not hidden and (last == "data.json" or (last.endswith(".rego") and not last.endswith("_test.rego"))):
            kept[name] = files[name]
    if not any(name.endswith(".rego") for name in kept):
        raise BundleRefused("has no .rego file")
    return kept


def _problem(file: str, message: str, remedy: str) -> ConfigError:
    return ConfigError((ConfigProblem(file, 0, "", message, remedy),))
