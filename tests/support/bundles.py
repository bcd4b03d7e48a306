"""Policy bundles for tests: small policies, keys, hostile archives, and a bundle server in this process."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
from typing import TYPE_CHECKING, Any

import orjson
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from extauthz.policy import archive, bundle, manifest, signing
from extauthz.policy.bundle_service import BundleService
from extauthz.tasks import Tasks
from extauthz.transport.choose import listen
from tests.support.engines import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

POLICY = """package demo

# METADATA
# entrypoint: true
default decision := {"allow": false, "reasons": [{"code": "role.denied"}]}

decision := {"allow": true} if input.subject.properties.role in data.demo.allowed
"""
CASES = """version: 1
entrypoint: demo/decision
cases:
  a_clerk_may:
    input: {subject: {properties: {role: clerk}}}
    expect: allow
  a_guest_may_not:
    input: {subject: {properties: {role: guest}}}
    expect: role.denied
"""


class Signer:
    """A key pair of its own."""

    def __init__(self, id_: str = "default") -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.id = id_
        self.signing = signing.SigningKey(id_, "ES256", self.private)
        self.verification = signing.VerificationKey(id_, "ES256", self.private.public_key())
        self.trust = bundle.Trust((self.verification,), required=True)

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def private_pem(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def files(**changes: Any) -> dict[str, bytes]:
    """The files of a bundle. `revision`, `sequence`, `roots` go into the manifest; `allowed` into the data; `extra`
    are more files, None takes one away."""
    made = {
        "demo/policy.rego": changes.get("rego", POLICY).encode(),
        "demo/data.json": orjson.dumps({"allowed": changes.get("allowed", ["clerk"])}),
        "demo/cases.yaml": changes.get("cases", CASES).encode(),
        ".manifest": manifest.Manifest(
            changes.get("revision", "r1"), changes.get("roots", ("demo",)), changes.get("sequence")
        ).dump(),
        **changes.get("extra", {}),
    }
    return {name: content for name, content in made.items() if content is not None}


def packed(signer: Signer | None = None, **changes: Any) -> bytes:
    made = files(**changes)
    if signer is not None:
        made[".signatures.json"] = signing.sign(made, signer.signing, changes.get("scope", ""))
    return archive.pack(made)


def tarred(entries: list[tuple[tarfile.TarInfo, bytes]], *, format_: int = tarfile.USTAR_FORMAT) -> bytes:
    """Any archive that the tar format can say, gzipped."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as tar:
        for entry, content in entries:
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(out.getvalue(), mtime=0)


def entry(name: str, content: bytes = b"", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def ordinary(contents: Mapping[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [entry(name, content) for name, content in contents.items()]


@contextlib.asynccontextmanager
async def served(directory: Path, *, token: str = "") -> AsyncIterator[tuple[str, BundleService]]:
    """Our own bundle server on an ephemeral port; the URL below which bundles are."""
    service = BundleService(directory, token=token)
    await service.look()
    tasks = Tasks()
    tasks.start(service.watch(), "policy bundles")
    listening = listen("127.0.0.1:0")
    server = uvicorn.Server(
        uvicorn.Config(service.application(), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]  # signals are pytest's
    running = tasks.start(server.serve(sockets=[listening]), "bundle server")
    await eventually(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/bundles", service
    finally:
        server.should_exit = True
        await running
        await tasks.close()
        listening.close()
