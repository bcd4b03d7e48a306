"""`extauthz policy record`: what a running server decides becomes decision cases, or records to replay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extauthz.cli.policy.output import AsJson, print_json, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.policy.authoring.recording import Recording

LOOK = 0.2


def run(
    source: Annotated[Path, typer.Argument(help="The server's extauthz.yaml, or a file of decision records.")],
    cases: Annotated[Path | None, typer.Option(help="Write decision cases and inputs below this directory.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the records into this file, for replay.")] = None,
    limit: Annotated[int, typer.Option(help="Distinct questions to take.", min=1)] = 1000,
    follow: Annotated[float, typer.Option(help="Seconds to watch a running server; 0 takes what is there.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Take distinct questions and their answers from decision records that hold inputs.

    The server must record them: telemetry.records.input: projected, with telemetry.records.mask for what nobody may
    see. Exit code 1 when nothing could be taken.
    """
    from extauthz.policy.authoring.recording import Recording  # noqa: PLC0415 - other verbs start faster

    if cases is None and output is None:
        refuse("name --cases or --output, or both")
    file = _records(source)
    taken = Recording()
    try:
        for line in _lines(file, follow):
            taken.take(line)
            if len(taken.cases) >= limit:
                break
        if cases is not None and taken.cases:
            taken.write_cases(cases)
        if output is not None and taken.lines:
            output.write_bytes(b"".join(taken.lines))
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}")
    _tell(taken, file, as_json=as_json)
    raise typer.Exit(0 if taken.cases else 1)


def _tell(taken: Recording, file: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"file": str(file), "read": taken.read, "taken": len(taken.cases), "without_input": taken.skipped})
        return
    print(f"{file}: {taken.read:,} records read, {len(taken.cases):,} distinct questions taken")
    if taken.skipped:
        print(f"{taken.skipped:,} without an input: set telemetry.records.input to projected")


def _records(source: Path) -> Path:
    """The file that the server writes."""
    if source.suffix not in {".yaml", ".yml"}:
        return source
    from extauthz.config import load  # noqa: PLC0415 - only where a configuration is named

    records = load(source).telemetry.records
    if "/" not in records.output:
        refuse(f"{source}: telemetry.records.output is {records.output}; name the file that holds its lines instead")
    if records.input == "none":
        refuse(f"{source}: the server records no inputs (fix: telemetry.records.input: projected)")
    return Path(records.output)


def _lines(file: Path, follow: float) -> Iterator[bytes]:
    from extauthz.policy.authoring import recording, replaying  # noqa: PLC0415 - other verbs start faster

    return recording.tail(file, wait=_looks(follow)) if follow else replaying.lines([file])


def _looks(seconds: float) -> Iterator[None]:
    import time  # noqa: PLC0415 - one use

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(LOOK)
        yield
