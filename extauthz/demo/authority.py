"""The platform's authority, as its clients and its operator meet it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.demo.dev_ca import Identity, thumbprint
from extauthz.errors import ExtauthzError
from extauthz.keys.tls import load_chain
from extauthz.sts.answers import ACCESS_TOKEN, EXCHANGE, SIGN_IN

if TYPE_CHECKING:
    from pathlib import Path

    from extauthz.demo.admin import Admin

_TIMEOUT: Final = 10.0
_OK: Final = 200


class Refusal(ExtauthzError):
    """The authority said no. `status` and `code` are what it answered with."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"the authority refuses: {status} {code} {text}")
        self.status = status
        self.code = code


class Authority:
    """`url` is where it is reached from here; `trust` the PEM file with the certificates that vouch for it."""

    def __init__(self, url: str, trust: Path, admin: Admin) -> None:
        self.admin = admin
        self._url = url
        self._trust = trust

    async def believe(self) -> None:
        """Trust what its trust bundle says now: for the first time, and after a rotation."""
        pem = await self.admin.trust()
        beside = self._trust.with_suffix(".new")
        beside.write_text(pem)
        beside.replace(self._trust)

    async def sign_in(self, user: str, **form: str) -> str:
        """A user's token. `form`: `audience`, `purpose`, `scope`, `acr`, `auth_time`. Raises Refusal."""
        answer = await self._post("/token", data={"grant_type": SIGN_IN, "username": user, **form})
        return str(answer["access_token"])

    async def exchange(self, identity: Identity, subject: str, audience: str, **form: str) -> str:
        """A token for `audience` in exchange for `subject` (RFC 8693), bound to `identity`. Raises Refusal."""
        wanted = {"grant_type": EXCHANGE, "subject_token": subject, "subject_token_type": ACCESS_TOKEN}
        answer = await self._post("/token", identity, data={**wanted, "audience": audience, **form})
        return str(answer["access_token"])

    async def attest(self, attestor: str, evidence: str) -> Identity:
        """An SVID for what the evidence proves; the key is made here. Raises Refusal."""
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        csr = request.public_bytes(Encoding.PEM).decode()
        answer = await self._post("/v1/attest", json={"attestor": attestor, "evidence": evidence, "csr": csr})
        chain = str(answer["certificate_chain"]).encode()
        return Identity(
            chain,
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            thumbprint(x509.load_pem_x509_certificates(chain)[0]),
        )

    async def _post(self, path: str, identity: Identity | None = None, **body: Any) -> dict[str, Any]:
        context = ssl.create_default_context(cafile=str(self._trust))
        if identity is not None:
            load_chain(context, identity.certificate, identity.key)
        async with httpx.AsyncClient(verify=context, timeout=_TIMEOUT, trust_env=False) as client:
            response = await client.post(f"{self._url}{path}", **body)
        answer: dict[str, Any] = response.json()
        if response.status_code != _OK:
            # RFC 6749's errors have our own code in brackets.
            text = str(answer.get("error_description", answer.get("message", "")))
            _, bracket, code = text.rpartition("[")
            raise Refusal(response.status_code, code.rstrip("]") if bracket else str(answer.get("error")), text)
        return answer
