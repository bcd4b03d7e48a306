"""Hands TCP connections on: `way_in.py PORT=HOST:PORT …`. Runs in a container; the standard library only."""

import asyncio
import contextlib
import sys

CHUNK = 65536


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def serve(port: int, host: str, target: int) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(host, target)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(copy(reader, back), copy(there, writer))
        back.close()
        writer.close()

    listening = await asyncio.start_server(accept, "0.0.0.0", port)  # noqa: S104 - in a container of its own
    async with listening:
        await listening.serve_forever()


async def main(rules: list[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for rule in rules:
            port, _, rest = rule.partition("=")
            host, _, target = rest.rpartition(":")
            group.create_task(serve(int(port), host, int(target)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
