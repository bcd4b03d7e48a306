"""Adds the Go modules of the given binaries to the CycloneDX document on standard input.

Go writes into every binary which modules it was built from (`go version -m` shows it): tab-separated lines between two
magic markers of 16 bytes (runtime/debug, cmd/go/internal/modload).
"""  # noqa: INP001 - a script of the image, not a package

import json
import sys
from pathlib import Path
from typing import Any

START = bytes.fromhex("3077af0c9274080241e1c107e6d618e6")
END = bytes.fromhex("f932433186182072008242104116d8f2")


def modules(binary: Path) -> "dict[str, str]":
    """Module path → version. Raises ValueError for a file without build information."""
    content = binary.read_bytes()
    start, end = content.find(START), content.find(END)
    if not 0 <= start < end:
        raise ValueError(f"{binary} has no Go build information")
    rows = [line.split("\t") for line in content[start + 16 : end].decode().splitlines()]
    return {row[1]: row[2] for row in rows if row[0] in {"dep", "=>"} and row[2:]}


def component(name: str, version: str) -> "dict[str, Any]":
    reference = f"pkg:golang/{name}@{version}"
    return {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference}


def main(binaries: "list[str]") -> None:
    document = json.load(sys.stdin)
    found = {item for binary in binaries for item in modules(Path(binary)).items()}
    document.setdefault("components", []).extend(component(*item) for item in sorted(found))
    json.dump(document, sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
