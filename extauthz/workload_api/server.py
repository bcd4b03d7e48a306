"""The SPIFFE Workload API, served: every stream is told at once what holds, and again whenever that changes.

Laws (SPIFFE Workload API sections 4 to 6): a call without the security header is INVALID_ARGUMENT; a caller for whom
there is no identity is PERMISSION_DENIED, also when an identity that it had is gone; a caller is told only of changes
in what it asked for. Whoever can open the socket is the workload: file rights are the credential.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc

from extauthz.errors import ExtauthzError
from extauthz.workload_api import jwt_svid, messages
from extauthz.workload_api.identity import to_der
from extauthz.workload_api.trust_bundle import jwks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from extauthz.clock import Clock
    from extauthz.workload_api.identity import Identity

    Render = Callable[[Identity], Any]

MAX_AUDIENCE: Final = 512
"""Characters of one audience."""
_Code: Final = grpc.StatusCode


class JwtSvids(Protocol):
    """Who gets JWT-SVIDs for the workload."""

    async def jwt_svid(self, audience: tuple[str, ...]) -> str:
        """A JWT-SVID for these audiences. Raises ExtauthzError when there is none to be had."""


class WorkloadApi:
    """`progress` is called whenever a stream has been sent a newer trust sequence, or has gone."""

    def __init__(self, jwt_svids: JwtSvids, clock: Clock, progress: Callable[[], None] = lambda: None) -> None:
        self._jwt_svids = jwt_svids
        self._clock = clock
        self._progress = progress
        self._published: Identity | None = None
        self._changed = asyncio.Event()
        self._sent: dict[object, int] = {}

    def publish(self, identity: Identity | None) -> None:
        """What holds from now on; None: there is no identity any more."""
        self._published = identity
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def _identity(self) -> Identity | None:
        """None as well once its certificate has ended, whether or not that has been published."""
        found = self._published
        return found if found is not None and self._clock.now() < found.svid.not_after else None

    @property
    def streams(self) -> int:
        """Callers that are being kept up to date."""
        return len(self._sent)

    def acknowledged(self) -> int | None:
        """The oldest trust sequence that a connected caller was sent last; None: nobody is connected."""
        return min(self._sent.values(), default=None)

    def methods(self) -> dict[str, Any]:
        """Handlers by the method's full name."""
        streams = {
            "FetchX509SVID": (_x509_svid, messages.X509SvidRequest),
            "FetchX509Bundles": (_x509_bundles, messages.X509BundlesRequest),
            "FetchJWTBundles": (_jwt_bundles, messages.JwtBundlesRequest),
        }
        unary = {"FetchJWTSVID": self._fetch_jwt_svid, "ValidateJWTSVID": self._validate_jwt_svid}
        return {
            f"/{messages.SERVICE}/{name}": handler
            for name, handler in (
                *((name, grpc.unary_stream_rpc_method_handler(self._stream(*how))) for name, how in streams.items()),
                *((name, grpc.unary_unary_rpc_method_handler(method)) for name, method in unary.items()),
            )
        }

    def _stream(self, render: Render, kind: Any) -> Any:
        async def fetch(message: bytes, context: Any) -> AsyncIterator[bytes]:
            await _request(kind, message, context)
            stream = object()
            try:
                async for identity, answer in self._answers(render):
                    if answer:
                        yield answer
                    self._sent[stream] = identity.sequence
                    self._progress()
            finally:
                if self._sent.pop(stream, None) is not None:
                    self._progress()
            await context.abort(_Code.PERMISSION_DENIED, "no identity issued")

        return fetch

    async def _answers(self, render: Render) -> AsyncIterator[tuple[Identity, bytes]]:
        """Every identity until there is none, with the answer for it; empty where that would repeat the last one."""
        last = b""
        while True:
            changed = self._changed
            if (identity := self._identity) is None:
                return
            answer = render(identity).SerializeToString(deterministic=True)
            yield identity, answer if answer != last else b""
            last = answer
            await changed.wait()

    async def _fetch_jwt_svid(self, message: bytes, context: Any) -> bytes:
        request = await _request(messages.JwtSvidRequest, message, context)
        audience = tuple(dict.fromkeys(request.audience))
        if not 0 < len(audience) <= jwt_svid.MAX_AUDIENCES or not all(
            0 < len(name) <= MAX_AUDIENCE for name in audience
        ):
            await context.abort(_Code.INVALID_ARGUMENT, "between one and 16 audiences of bounded length are expected")
        identity = self._identity
        if identity is None or request.spiffe_id not in {"", identity.svid.spiffe_id}:
            await context.abort(_Code.PERMISSION_DENIED, "no identity issued")
            raise AssertionError  # abort has raised
        try:
            token = await self._jwt_svids.jwt_svid(audience)
        except ExtauthzError as error:
            await context.abort(_Code.UNAVAILABLE, f"no JWT-SVID can be had: {error}")
            raise
        answer = messages.JwtSvidResponse()
        answer.svids.add(spiffe_id=identity.svid.spiffe_id, svid=token)
        return answer.SerializeToString()  # type: ignore[no-any-return]  # protobuf has no types here

    async def _validate_jwt_svid(self, message: bytes, context: Any) -> bytes:
        request = await _request(messages.ValidateJwtSvidRequest, message, context)
        identity = self._identity
        if identity is None:
            await context.abort(_Code.PERMISSION_DENIED, "no identity issued")
            raise AssertionError  # abort has raised
        found = jwt_svid.validate(request.svid, request.audience, identity.trust, self._clock.now())
        if isinstance(found, str):
            await context.abort(_Code.INVALID_ARGUMENT, found)
            raise AssertionError  # noqa: TRY004 - the same
        answer = messages.ValidateJwtSvidResponse(spiffe_id=found.spiffe_id)
        answer.claims.update(found.claims)
        return answer.SerializeToString()  # type: ignore[no-any-return]  # the same


async def _request(kind: Any, message: bytes, context: Any) -> Any:
    """The request of a caller that knows what it calls; ends the call otherwise."""
    if messages.SECURITY_HEADER not in {(name, value) for name, value in context.invocation_metadata()}:
        await context.abort(_Code.INVALID_ARGUMENT, "security header missing from request")
    try:
        return kind.FromString(message)
    except messages.DecodeError:
        await context.abort(_Code.INVALID_ARGUMENT, "not the message of this method")


def _x509_svid(identity: Identity) -> Any:
    own = identity.trust.get(identity.svid.trust_domain)
    answer = messages.X509SvidResponse()
    answer.svids.add(
        spiffe_id=identity.svid.spiffe_id,
        x509_svid=identity.svid.chain_der(),
        x509_svid_key=identity.svid.key_der(),
        bundle=to_der(own.authorities) if own else b"",
    )
    for name, bundle in identity.trust.items():
        if name != identity.svid.trust_domain:
            answer.federated_bundles[f"spiffe://{name}"] = to_der(bundle.authorities)
    return answer


def _x509_bundles(identity: Identity) -> Any:
    bundles = {f"spiffe://{name}": to_der(bundle.authorities) for name, bundle in identity.trust.items()}
    return messages.X509BundlesResponse(bundles=bundles)


def _jwt_bundles(identity: Identity) -> Any:
    bundles = {f"spiffe://{name}": jwks(bundle.jwt_keys) for name, bundle in identity.trust.items()}
    return messages.JwtBundlesResponse(bundles=bundles)
