"""`extauthz policy serve`: a bundle server for OPAs and for our own server."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated

import typer

from extauthz.cli.policy.output import refuse

if TYPE_CHECKING:
    from extauthz.policy.bundle_service import BundleService


def run(
    directory: Annotated[Path, typer.Argument(help="A directory with policy bundles (*.tar.gz).")],
    listen: Annotated[str, typer.Option(help="host:port, or unix:///path.")] = "127.0.0.1:8282",
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token that readers must send.")] = None,
) -> None:
    """Serve policy bundles as OPA's bundle service API asks for it: ETag and long polling.

    /bundles/<name>.tar.gz is the file of that name below the directory. A new file is published at once, a damaged
    one never. Bundles should be signed: this is HTTP without TLS, for one machine or behind a proxy.
    """
    from extauthz.errors import ExtauthzError  # noqa: PLC0415 - other verbs start faster
    from extauthz.policy.bundle_service import BundleService  # noqa: PLC0415 - the same
    from extauthz.telemetry import logs  # noqa: PLC0415 - the same

    if not directory.is_dir():
        refuse(f"{directory} is not a directory")
    token = ""
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            refuse(f"{token_file} cannot be read as ASCII text")
        if not token:
            refuse(f"{token_file} is empty: that would let nobody in")
    logs.setup()
    try:
        asyncio.run(_serve(BundleService(directory, token=token), listen))
    except ExtauthzError as error:
        refuse(str(error), 4)


async def _serve(service: BundleService, address: str) -> None:
    import uvicorn  # noqa: PLC0415 - other verbs start faster

    from extauthz.tasks import Tasks  # noqa: PLC0415 - the same
    from extauthz.transport.choose import listen  # noqa: PLC0415 - the same

    await service.look()
    listening = listen(address)
    config = uvicorn.Config(
        service.application(),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    tasks = Tasks()
    tasks.start(service.watch(), "policy bundles")
    shown = listening.getsockname()
    place = shown if isinstance(shown, str) else f"{shown[0]}:{shown[1]}"
    print(f"serving {len(service.etags)} policy bundles on {place}", flush=True)
    with listening:
        await server.serve(sockets=[listening])
    await tasks.close()
