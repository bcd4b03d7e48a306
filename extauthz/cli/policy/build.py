"""`extauthz policy build`: a policy directory becomes a policy bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from extauthz.cli.policy.output import HERE, AsJson, Directory, print_json, refuse


def run(
    directory: Directory = HERE,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("policy.tar.gz"),
    revision: Annotated[str, typer.Option(help="Its name in every decision record. Without: its digest.")] = "",
    sequence: Annotated[int | None, typer.Option(help="Counts up; servers refuse to go back.", min=0)] = None,
    root: Annotated[list[str] | None, typer.Option(help="A part of data that it may define; repeatable.")] = None,
    sign_key: Annotated[Path | None, typer.Option(help="PEM private key to sign with.")] = None,
    sign_algorithm: Annotated[str, typer.Option(help="ES256, ES384, ES512, RS256 … PS512.")] = "ES256",
    sign_key_id: Annotated[str, typer.Option(help="The key's id in policy.bundle.keys.")] = "default",
    scope: Annotated[str, typer.Option(help="The scope that servers expect (policy.bundle.scope).")] = "",
    as_json: AsJson = False,
) -> None:
    """Build a policy bundle in OPA's format: rules, data, decision cases, manifest, signature.

    Its decision cases must pass first. Equal directories make equal bundles; only an ECDSA signature is random.
    """
    from extauthz.policy import signing  # noqa: PLC0415 - other verbs start faster
    from extauthz.policy.archive import BundleRefused  # noqa: PLC0415 - the same
    from extauthz.policy.authoring.bundling import BuildOptions, build  # noqa: PLC0415 - the same

    key = None
    if sign_key is not None:
        try:
            key = signing.signing_key(sign_key_id, sign_algorithm, sign_key.read_bytes())
        except OSError as error:
            refuse(f"{sign_key} cannot be read: {error.strerror}")
        except BundleRefused as error:
            refuse(f"{sign_key}: {error.reason} ({error.remedy})")
    options = BuildOptions(revision=revision, sequence=sequence, roots=tuple(root or ()), scope=scope, key=key)
    made = build(directory, options)
    try:
        temporary = output.with_name(f".{output.name}.new")
        temporary.write_bytes(made.packed)
        temporary.replace(output)
    except OSError as error:
        refuse(f"{output} cannot be written: {error.strerror}")
    facts = {
        "file": str(output),
        "revision": made.policy.revision,
        "sequence": made.sequence,
        "roots": made.policy.roots,
        "files": len(made.policy.files),
        "cases": len(made.cases),
        "signed_by": made.signed_by,
        "bytes": len(made.packed),
    }
    if as_json:
        print_json(facts)
        return
    print(f"{output}: revision {made.policy.revision}" + ("" if sequence is None else f", sequence {sequence}"))
    signed = f"signed by {made.signed_by}" if made.signed_by else "not signed: servers take it from a file only"
    print(f"{len(made.policy.files)} files, {len(made.cases)} decision cases passed, {signed}")
