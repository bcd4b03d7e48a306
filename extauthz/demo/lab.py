"""The hands of the runner: tokens, certificates and requests, honest ones and forged ones."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

import httpx

from extauthz.demo.authority import Refusal
from extauthz.demo.people import hop_claims, user_claims
from extauthz.demo.zones import BY_NAME, EDGE, MODEL, ORCHESTRATION, Zone
from extauthz.keys.tls import load_chain
from extauthz.telemetry import trace_context

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extauthz.demo.dev_ca import Identity
    from extauthz.demo.stage import Stage
    from extauthz.demo.tokens import Mint

TIMEOUT: Final = 15.0
"""Seconds after which a request counts as hanging; every timeout of the Envoys is shorter."""
_ALERT: Final = 1.0
"""Seconds that a TLS alert may take."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `status` 0: no HTTP at all, `code` says why (`tls.refused`, `connection.failed`, `hang`)."""

    status: int
    layer: str = ""
    code: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Lab:
    """Builds requests against a running platform. One object a run; `close` it."""

    def __init__(self, platform: Stage) -> None:
        self.platform = platform
        self._chance = random.SystemRandom()
        self._edge = httpx.AsyncClient(verify=self._trust(), timeout=TIMEOUT, trust_env=False, http2=False)
        self._former: list[httpx.AsyncClient] = []
        """Clients with older trust, which requests may still be using."""

    async def close(self) -> None:
        for client in (self._edge, *self._former):
            await client.aclose()

    async def believe(self) -> None:
        """Trust what the authority's trust bundle says now."""
        await self.platform.authority.believe()
        self._former.append(self._edge)
        self._edge = httpx.AsyncClient(verify=self._trust(), timeout=TIMEOUT, trust_env=False, http2=False)

    @property
    def mint(self) -> Mint:
        """The key of the lab's issuer: for tokens that the authority would not give out."""
        return self.platform.credentials.mint

    # tokens

    async def sign_in(self, name: str = "alice", **form: str) -> str:
        """A user's token, from the authority. `form`: `audience`, `purpose`, `scope`, `acr`, `auth_time`."""
        return await self.platform.authority.sign_in(name, **{"audience": EDGE.audience, **form})

    # identities, from the authority

    async def attest(self, attestor: str, evidence: str) -> Identity:
        return await self.platform.authority.attest(attestor, evidence)

    async def refused_attestation(self, attestor: str, evidence: str) -> Answer:
        """What the authority says to evidence that must be refused; status 200 when it is not."""
        try:
            await self.platform.authority.attest(attestor, evidence)
        except Refusal as refusal:
            return Answer(refusal.status, refusal.code.partition(".")[0], refusal.code)
        return Answer(200)

    async def refused_exchange(self, identity: Identity, subject: str, audience: str) -> Answer:
        """The same for an exchange."""
        try:
            await self.platform.authority.exchange(identity, subject, audience)
        except Refusal as refusal:
            return Answer(refusal.status, refusal.code.partition(".")[0], refusal.code)
        return Answer(200)

    def user(self, name: str = "alice", **claims: Any) -> str:
        """A user's token for the edge, of the lab's issuer; `claims` replace."""
        return self.mint.sign({**user_claims(name, EDGE.audience), **claims})

    def hop(
        self, caller: Zone, target: Zone, identity: Identity | None = None, user: str = "alice", **claims: Any
    ) -> str:
        """A token of the lab's issuer, by `caller` for `target`, bound to `identity`, else `svid(caller)`."""
        svid = identity or self.platform.credentials.svids[caller.name]
        subject = user_claims(user, caller.audience)
        narrowed = hop_claims(subject, {"id": caller.id, "certificate_sha256": svid.sha256}, target.audience)
        return self.mint.sign({**narrowed, **claims}, lifetime=60)

    # bodies

    def transfer(self, **fields: Any) -> dict[str, Any]:
        """A small wire transfer of acme, never twice the same: no decision of the run is an earlier one's."""
        amount = round(self._chance.uniform(100, 900), 2)
        usual = {
            "tenant": "acme",
            "region": "eu",
            "amount": amount,
            "currency": "EUR",
            "transaction_type": "wire",
            "counterparty": "acme-party-07",
        }
        return {**usual, **fields}

    # requests

    async def edge(
        self,
        token: str | None,
        content: Any = None,
        *,
        path: str = "/v1/transfers",
        method: str = "POST",
        headers: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """A client's request at the edge. `content` is JSON, or bytes as they are."""
        return await self._send(self._edge, EDGE, method, path, token, content, headers)

    async def zone(
        self,
        target: Zone,
        identity: Identity,
        token: str | None = None,
        content: Any = None,
        *,
        path: str,
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """A request straight at a zone's Envoy, with a client certificate of one's own."""
        async with self.connection(identity) as client:
            return await self._send(client, target, method, path, token, content, headers)

    async def handshake(self, target: Zone, identity: Identity) -> Answer | None:
        """The TLS handshake alone: why Envoy refuses the certificate, None when it does not.

        With TLS 1.3 a server judges the client's certificate after the client's own handshake is done: the alert comes
        with the first read. A server that is content says nothing until it is asked.
        """
        context, port = self._context(identity), self.platform.layout.zone(target).port
        writer = None
        try:
            async with asyncio.timeout(_ALERT):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=context, server_hostname=target.host
                )
                await reader.read(1)
        except ssl.SSLError as error:
            return Answer(0, "transport", "tls.refused", {"alert": error.reason})
        except TimeoutError:
            return None
        except OSError:
            return Answer(0, code="connection.failed")
        finally:
            if writer is not None:
                writer.transport.abort()
        return Answer(0, code="connection.failed")

    def connection(self, identity: Identity) -> httpx.AsyncClient:
        """A client that shows `identity`, and keeps its connection open."""
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60.0)
        return httpx.AsyncClient(verify=self._context(identity), timeout=TIMEOUT, trust_env=False, limits=limits)

    async def over(self, client: httpx.AsyncClient, target: Zone, token: str | None, path: str) -> Answer:
        """A GET over an open connection."""
        return await self._send(client, target, "GET", path, token, None, ())

    async def features(
        self, identity: Identity, token: str, path: str = "/v1/features/acme/wire", **more: Any
    ) -> Answer:
        return await self.zone(more.get("target", BY_NAME["storage"]), identity, token, path=path)

    async def score(self, identity: Identity, token: str, path: str = "/v1/score") -> Answer:
        return await self.zone(MODEL, identity, token, self.transfer(), path=path, method="POST")

    async def decide(self, identity: Identity, token: str, **fields: Any) -> Answer:
        content = {"id": "T-lab", **self.transfer(**fields)}
        return await self.zone(ORCHESTRATION, identity, token, content, path="/v1/transfers", method="POST")

    def svid(self, zone: Zone) -> Identity:
        """A certificate of the lab's authority with the SPIFFE ID of a zone's workload."""
        return self.platform.credentials.svids[zone.name]

    async def _send(
        self,
        client: httpx.AsyncClient,
        target: Zone,
        method: str,
        path: str,
        token: str | None,
        content: Any,
        headers: Sequence[tuple[str, str]],
    ) -> Answer:
        port = self.platform.layout.zone(target).port
        sent = [("host", target.host), *headers]
        if all(name != trace_context.HEADER for name, _ in headers):
            sent.append((trace_context.HEADER, trace_context.traceparent(token_hex(16), token_hex(8), sampled=True)))
        if token is not None:
            sent.append(("authorization", f"Bearer {token}"))
        if content is not None:
            sent.append(("content-type", "application/json"))
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
        # The path goes out as it is written: httpx would tidy it up.
        request = client.build_request(
            method,
            f"https://127.0.0.1:{port}/",
            headers=sent,
            content=content,
            extensions={"sni_hostname": target.host, "target": path.encode()},
        )
        try:
            return _answer(await client.send(request))
        except httpx.TimeoutException:
            return Answer(0, code="hang")
        except (httpx.NetworkError, httpx.ProtocolError):
            return Answer(0, code="connection.failed")

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.platform.layout.trust))

    def _context(self, identity: Identity) -> ssl.SSLContext:
        context = self._trust()
        context.check_hostname = False  # an SVID names a workload by URI, not a host
        load_chain(context, identity.certificate, identity.key)
        return context


def _answer(response: httpx.Response) -> Answer:
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    layer, code = body.get("layer"), body.get("code")
    return Answer(
        response.status_code,
        layer if isinstance(layer, str) else "",
        code if isinstance(code, str) else "",
        body,
        response.headers.get("x-request-id", ""),
        dict(response.headers),
    )
