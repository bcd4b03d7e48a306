"""The authority, as an agent calls it: over TLS, to nobody but the authority, with the newest certificate we have.

1. Every call opens its own connection: what is shown and what is believed are those of this moment, and no connection
   outlives a certificate.
2. The server must be `spiffe://<trust domain>/authority`, which is known before a byte of evidence leaves
   (`workload_api.tls`). Who may vouch for it: the trust bundle in force, and the bootstrap file alone while there is
   none. Once there is one, the file counts only where it was replaced since: what stood in it at the start may have
   been distrusted, and its key be a thief's, while a newer file is the operator's newer word.
3. Answers are bounded, strict JSON; a refusal is a value with the authority's own words, anything else is a fault.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from extauthz import strict_json
from extauthz.agent import grant
from extauthz.errors import ExtauthzError
from extauthz.outbound import Outbound
from extauthz.workload_api.identity import IdentityError, parse_pem
from extauthz.workload_api.tls import client_context

if TYPE_CHECKING:
    import ssl

    from extauthz.agent.grant import Trust
    from extauthz.agent.settings import AgentSettings
    from extauthz.clock import Clock
    from extauthz.keys.signer import PrivateKey
    from extauthz.workload_api.identity import Identity

MAX_ANSWER: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 12
_OK: Final = 200
_CLIENT_ERROR: Final = range(400, 500)
_LATER: Final = frozenset({408, 425, 429})
"""4xx that say nothing about us."""
_POLL_MARGIN: Final = 10.0


class AuthorityFault(ExtauthzError):
    """The authority could not be asked, or answered what cannot be used. The text holds no secret."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The authority's no, in its own words, cut and printable."""

    status: int
    code: str
    message: str
    remedy: str

    def __str__(self) -> str:
        remedy = f" (fix: {self.remedy})" if self.remedy else ""
        return f"{self.code or self.status}: {self.message}{remedy}"


class Authority:
    """Every method raises AuthorityFault."""

    def __init__(self, settings: AgentSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._instance = secrets.token_hex(16)
        """Tells this process from others of the same SPIFFE ID, also over a renewal. No secret."""
        self._bootstrap = b""
        """The bootstrap file as it was when there was nothing else to believe."""

    async def attest(
        self, evidence: str, csr: str, key: PrivateKey, before: Identity | None = None
    ) -> Identity | Refusal:
        """`before`: the identity that is replaced. Its certificate is not shown; its trust is believed."""
        body = orjson.dumps({"attestor": self._settings.attestor, "evidence": evidence, "csr": csr})
        path, time = "/v1/attest", self._settings.timeout
        return self._granted(await self._call("POST", path, body, before, time, anonymous=True), key)

    async def renew(self, identity: Identity, csr: str, key: PrivateKey) -> Identity | Refusal:
        answer = self._granted(await self._post("/v1/renew", {"csr": csr}, identity), key)
        if not isinstance(answer, Refusal) and answer.svid.spiffe_id != identity.svid.spiffe_id:
            raise AuthorityFault("the authority renewed our certificate as another workload's")
        return answer

    async def jwt_svid(self, identity: Identity, audience: tuple[str, ...]) -> str | Refusal:
        answer = await self._post("/v1/jwt-svid", {"audience": list(audience)}, identity)
        if isinstance(answer, Refusal):
            return answer
        token = answer.get("token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise AuthorityFault("the authority answered no token")
        return token

    async def trust(self, identity: Identity, acknowledged: int) -> Trust | Refusal:
        """Waits until there is another version than `identity` has, or `poll` seconds have passed."""
        wait = self._settings.poll
        query = f"after={identity.sequence}&wait={round(wait)}&acknowledged={acknowledged}&instance={self._instance}"
        answer = await self._call("GET", f"/v1/trust?{query}", None, identity, wait + _POLL_MARGIN)
        if isinstance(answer, Refusal):
            return answer
        try:
            return await asyncio.to_thread(grant.trust, answer)
        except IdentityError as error:
            raise AuthorityFault(str(error)) from None

    def _granted(self, answer: Any, key: PrivateKey) -> Identity | Refusal:
        if isinstance(answer, Refusal):
            return answer
        try:
            return grant.grant(answer, key, self._settings.trust_domain, self._clock.now())
        except IdentityError as error:
            raise AuthorityFault(f"the authority's answer is refused: {error}") from None

    async def _post(self, path: str, body: Any, identity: Identity) -> Any:
        return await self._call("POST", path, orjson.dumps(body), identity, self._settings.timeout)

    async def _call(
        self,
        method: str,
        path: str,
        content: bytes | None,
        identity: Identity | None,
        time: float,
        *,
        anonymous: bool = False,
    ) -> Any:
        base = self._settings.authority
        context = await asyncio.to_thread(self._context, identity, anonymous=anonymous)  # 1, 2
        outbound = Outbound([base], timeout=time, max_bytes=MAX_ANSWER, verify=context)
        headers = {"accept": "application/json"} | ({"content-type": "application/json"} if content else {})
        try:
            answer = await outbound.send(method, base + path, content=content, headers=headers)
        except ExtauthzError as error:
            raise AuthorityFault(f"the authority cannot be asked: {error}") from None
        finally:
            await outbound.close()
        document = _parse(answer.body)  # 3
        if answer.status == _OK and document is not None:
            return document
        if answer.status in _CLIENT_ERROR and answer.status not in _LATER:
            return _refusal(answer.status, document)
        raise AuthorityFault(f"the authority answered {answer.status}" + ("" if document else ", and no JSON"))

    def _context(self, identity: Identity | None, *, anonymous: bool) -> ssl.SSLContext:
        """Raises AuthorityFault. Blocks: reads the bootstrap bundle."""
        path = self._settings.trust_bundle
        domain = self._settings.trust_domain or (identity.svid.trust_domain if identity else "*")
        try:
            content = path.read_bytes()
            authorities = identity.trust[identity.svid.trust_domain].authorities if identity else ()
            if identity is None:
                self._bootstrap = content
            if identity is None or content != self._bootstrap:
                authorities += parse_pem(content)
            shown = identity.svid if identity and not anonymous else None
            return client_context(shown, authorities, f"spiffe://{domain}/authority")
        except OSError as error:
            raise AuthorityFault(f"{path} cannot be read: {error.strerror}") from None
        except IdentityError as error:
            raise AuthorityFault(f"no connection to the authority can be made: {error}") from None


def _parse(body: bytes) -> Any:
    try:
        return strict_json.parse(body, max_bytes=MAX_ANSWER, max_depth=MAX_DEPTH).root
    except strict_json.NotStrict:
        return None


def _refusal(status: int, document: Any) -> Refusal:
    fields = document if isinstance(document, dict) else {}

    def text(name: str) -> str:
        value = fields.get(name)
        printable = isinstance(value, str) and value.isprintable()
        return str(value)[:256] if printable else ""

    return Refusal(status, text("error"), text("message") or f"HTTP {status}", text("remedy"))
