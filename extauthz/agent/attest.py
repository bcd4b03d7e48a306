"""Evidence: what the platform gives a workload to prove who it is, fetched anew for every attestation.

Evidence is a secret until it has been used: it is never logged and never part of an error.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz import strict_json
from extauthz.agent.settings import Instance, JoinToken, Kubernetes, Oidc
from extauthz.errors import ExtauthzError, OutboundError
from extauthz.outbound import Outbound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from extauthz.agent.settings import AttestationKind

    Fetch = Callable[[], Awaitable[str]]

MAX_EVIDENCE: Final = 16 * 1024
"""What the authority takes."""
_METADATA_TTL: Final = "60"
"""Seconds that a session with the metadata service lasts (IMDSv2)."""


class NoEvidence(ExtauthzError):
    """There is nothing to attest with now. The text says which source, never what it held."""


def evidence(kind: AttestationKind) -> Fetch:
    """What gets the evidence; each call asks the source again. It raises NoEvidence.

    A token in the environment or on standard input is read here, once, and kept in memory: both are gone afterwards.
    """
    if isinstance(kind, JoinToken):
        if kind.token_file is not None:
            return lambda: _file(kind.token_file)
        text = os.environ.pop(kind.token_env, "") if kind.token_env else sys.stdin.readline(MAX_EVIDENCE)
        return lambda: _kept(text.strip(), kind.token_env or "standard input")
    if isinstance(kind, Kubernetes):
        return lambda: _file(kind.token_file)
    if isinstance(kind, Instance):
        return (lambda: _file(kind.document_file)) if kind.url is None else (lambda: _instance(str(kind.url)))
    return (lambda: _file(kind.token_file)) if kind.url is None else (lambda: _oidc(kind))


async def _kept(text: str, source: str) -> str:
    return _usable(text, source)


async def _file(path: Path | None) -> str:
    def read() -> bytes:
        with open(str(path), "rb") as file:  # noqa: PTH123 - bounded
            return file.read(MAX_EVIDENCE + 1)

    try:
        return _usable((await asyncio.to_thread(read)).decode("ascii").strip(), str(path))
    except OSError as error:
        raise NoEvidence(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NoEvidence(f"{path} holds no evidence: not ASCII") from None


def _usable(text: str, source: str) -> str:
    if not text or len(text) > MAX_EVIDENCE:
        raise NoEvidence(f"{source} holds no evidence: empty or too large")
    return text


async def _instance(url: str) -> str:
    """The document with its signature, from the metadata service (AWS IMDSv2), as the authority's attestor takes it."""
    base = url.rstrip("/")
    outbound = Outbound([base], timeout=2.0, max_bytes=MAX_EVIDENCE)
    try:
        ttl = {"x-aws-ec2-metadata-token-ttl-seconds": _METADATA_TTL}
        session = await _ask(outbound, "PUT", f"{base}/latest/api/token", ttl)
        with_session = {"x-aws-ec2-metadata-token": session}
        folder = f"{base}/latest/dynamic/instance-identity"
        document = await _ask(outbound, "GET", f"{folder}/document", with_session)
        signature = await _ask(outbound, "GET", f"{folder}/signature", with_session)
    finally:
        await outbound.close()
    return _usable(orjson.dumps({"document": document, "signature": signature}).decode(), base)


async def _oidc(kind: Oidc) -> str:
    url = str(kind.url)
    outbound = Outbound([url], max_bytes=MAX_EVIDENCE)
    headers = {"authorization": f"Bearer {os.environ.get(kind.bearer_env, '')}"} if kind.bearer_env else {}
    try:
        text = (await _ask(outbound, "GET", url, headers)).strip()
    finally:
        await outbound.close()
    if text.startswith("{"):
        value = _member(text)
        text = value if isinstance(value, str) else ""
    return _usable(text, "the token's URL")


def _member(text: str) -> Any:
    try:
        root = strict_json.parse(text.encode(), max_bytes=MAX_EVIDENCE, max_depth=4).root
    except strict_json.NotStrict:
        return None
    return root.get("value") if isinstance(root, dict) else None


async def _ask(outbound: Outbound, method: str, url: str, headers: dict[str, str]) -> str:
    try:
        answer = await outbound.send(method, url, headers=headers)
        if answer.status != 200:  # noqa: PLR2004 - HTTP's OK
            raise NoEvidence(f"the source of evidence answered {answer.status}")
        return answer.body.decode("ascii")
    except OutboundError as error:
        raise NoEvidence(f"the source of evidence cannot be asked: {error}") from None
    except UnicodeDecodeError:
        raise NoEvidence("the source of evidence answered no text") from None
