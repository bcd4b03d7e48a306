"""A client of any SPIFFE Workload API: our agent's, or SPIRE's.

A stream that ends is opened again after a pause that doubles up to a bound, with full jitter, so that many workloads do
not come back as one. INVALID_ARGUMENT is not tried again (Workload API section 4.4).
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final

import grpc

from extauthz.workload_api import jwt_svid, messages
from extauthz.workload_api.identity import IdentityError, X509Context, parse_der, parse_key, svid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from extauthz.workload_api.jwt_svid import JwtSvid

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 3.0
"""Short, because the socket is local: who missed a renewal for long would show a certificate that has ended."""
MAX_DOMAINS: Final = 256
_SCHEME: Final = "spiffe://"


class WorkloadApiClient:
    """`address`: `unix:///path` (SPIFFE_ENDPOINT_SOCKET's form)."""

    def __init__(
        self,
        address: str,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._sleep = sleep
        self._jitter = jitter
        self._channel = grpc.aio.insecure_channel(
            address,
            options=(
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_receive_message_length", 4 * 1024 * 1024),
                ("grpc.initial_reconnect_backoff_ms", 250),
                ("grpc.max_reconnect_backoff_ms", 2_000),
            ),
        )

    async def close(self) -> None:
        await self._channel.close(None)

    async def x509_contexts(self) -> AsyncIterator[X509Context]:
        """The SVID with its trust bundles, now and after every change; never ends by itself.

        While there is none (nothing attested, nobody on the socket) it waits; an answer that cannot be used is logged
        and passed over, so what came before stays in force. Raises IdentityError when the API refuses the call's form.
        """
        async for message in self._stream("FetchX509SVID", messages.X509SvidRequest()):
            try:
                yield x509_context(message)
            except IdentityError as error:
                log.error("the Workload API's answer is refused: %s", error)  # noqa: TRY400 - the message says all

    async def jwt_svid(self, audience: Sequence[str], timeout: float = 5.0) -> JwtSvid:
        """A JWT-SVID for these audiences. Raises IdentityError."""
        request = messages.JwtSvidRequest(audience=list(audience))
        call = self._channel.unary_unary(f"/{messages.SERVICE}/FetchJWTSVID")
        try:
            raw = await call(request.SerializeToString(), timeout=timeout, metadata=(messages.SECURITY_HEADER,))
            answer = messages.JwtSvidResponse.FromString(raw)
        except grpc.aio.AioRpcError as error:
            raise IdentityError(f"the Workload API gives no JWT-SVID: {error.code().name}") from None
        except messages.DecodeError:
            raise IdentityError("the Workload API's answer cannot be read") from None
        found = jwt_svid.read(answer.svids[0].svid) if answer.svids else "the answer is empty"
        if isinstance(found, str):
            raise IdentityError(f"the Workload API gave no JWT-SVID: {found}")
        return found

    async def _stream(self, method: str, request: Any) -> AsyncIterator[bytes]:
        call = self._channel.unary_stream(f"/{messages.SERVICE}/{method}")
        pause = FIRST_PAUSE
        while True:
            try:
                async for message in call(request.SerializeToString(), metadata=(messages.SECURITY_HEADER,)):
                    pause = FIRST_PAUSE
                    yield message
                ended = "the stream ended"
            except grpc.aio.AioRpcError as error:
                ended = error.code().name
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    raise IdentityError("the Workload API refuses the call") from None
            log.warning("Workload API: %s; trying again", ended)
            await self._sleep(pause * self._jitter())
            pause = min(2 * pause, LONGEST_PAUSE)


def x509_context(message: bytes) -> X509Context:
    """A serialized X509SVIDResponse; the first SVID is the workload's default one. Raises IdentityError."""
    try:
        answer = messages.X509SvidResponse.FromString(message)
    except messages.DecodeError:
        raise IdentityError("not an X509SVIDResponse") from None
    if not answer.svids or len(answer.federated_bundles) > MAX_DOMAINS:
        raise IdentityError("no SVID, or too many trust domains")
    first = answer.svids[0]
    own = svid(parse_der(first.x509_svid), parse_key(first.x509_svid_key))
    if own.spiffe_id != first.spiffe_id:
        raise IdentityError("the certificate names another workload than the answer")
    return X509Context(own, {**_bundles(answer.federated_bundles), own.trust_domain: parse_der(first.bundle)})


def _bundles(found: Mapping[str, bytes]) -> dict[str, Any]:
    return {name.removeprefix(_SCHEME).rstrip("/"): parse_der(der) for name, der in found.items()}
