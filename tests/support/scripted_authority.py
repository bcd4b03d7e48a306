"""An authority that does what a test says: real TLS, real certificates, one request a connection, faults on demand."""

import asyncio
import base64
import contextlib
import json
import ssl
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.agent.settings import AgentSettings
from extauthz.clock import SystemClock
from extauthz.keys.jwk import public_jwk
from tests.support.certs import BOTH_EKU
from tests.support.identities import Domain


class Authority:
    """`domain` issues. `faults` maps a path to what is done instead: a status, bytes, or an async function."""

    def __init__(self, domain, path="/authority"):
        self.domain = domain
        self.path = path
        self.sequence = 1
        self.life = 3600.0
        self.join_tokens = {"xjt_good": "/app"}
        self.faults = {}
        self.calls = []
        self.acknowledged = []
        self.changed = asyncio.Event()
        self.issued = []
        self.port = 0
        self._server = None

    def spoil(self, path, fault):
        self.faults[path] = fault

    def next_trust(self):
        self.sequence += 1
        self.changed.set()
        self.changed = asyncio.Event()

    def trust(self):
        bundle = self.domain.bundle()
        certificates = [
            {
                **public_jwk(one.public_key()),
                "use": "x509-svid",
                "x5c": [base64.b64encode(one.public_bytes(Encoding.DER)).decode()],
            }
            for one in bundle.authorities
        ]
        keys = [{**key, "use": "jwt-svid"} for key in bundle.jwt_keys]
        return {"sequence": self.sequence, "trust_domains": {self.domain.name: {"keys": certificates + keys}}}

    def grant(self, csr, path, ca=None):
        request = x509.load_pem_x509_csr(csr.encode())
        assert request.is_signature_valid
        now = SystemClock().now()

        class Key:
            public_key = staticmethod(request.public_key)

        leaf = (ca or self.domain.ca).leaf(
            f"spiffe://{self.domain.name}{path}", not_before=now - 60, not_after=now + self.life, key=Key
        )
        self.issued.append(leaf.certificate)
        return {
            "spiffe_id": leaf.uris[0],
            "certificate_chain": leaf.pem,
            "expires_at": int(now + self.life),
            "trust": self.trust(),
        }

    async def answer(self, method, target, body, peer):
        path = urlsplit(target).path
        self.calls.append(path)
        fault = self.faults.get(path)
        if isinstance(fault, int):
            return fault, {"error": "made.up", "message": "no", "remedy": "none"}
        if isinstance(fault, bytes):
            return 200, fault
        if fault is not None:
            return await fault(body, peer)
        return await self.usual(path, urlsplit(target).query, body, peer)

    async def usual(self, path, query, body, peer):
        """What a good authority answers."""
        if path == "/v1/attest":
            sent = json.loads(body)
            found = self.join_tokens.pop(sent["evidence"], None)
            if found is None:
                return 403, {"error": "attestation.join_token", "message": "unknown", "remedy": "ask for another"}
            return 200, self.grant(sent["csr"], found)
        if peer is None:
            return 401, {"error": "workload.missing", "message": "no certificate", "remedy": ""}
        if path == "/v1/renew":
            return 200, self.grant(json.loads(body)["csr"], _path(peer))
        if path == "/v1/jwt-svid":
            token = self.domain.token(_path(peer), json.loads(body)["audience"])
            return 200, {"token": token, "expires_at": 0}
        return await self.poll({name: values[0] for name, values in parse_qs(query).items()})

    async def poll(self, query):
        self.acknowledged.append(int(query["acknowledged"]))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(query["wait"])):
                while int(query["after"]) == self.sequence:
                    await self.changed.wait()
        return 200, self.trust()

    async def start(self):
        now = SystemClock().now()
        leaf = self.domain.ca.leaf(
            f"spiffe://{self.domain.name}{self.path}", not_before=now - 60, not_after=now + 36000, eku=BOTH_EKU
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        anchors = "".join(ca.pem for ca in (*self.domain.old, self.domain.ca))
        context.load_verify_locations(cadata=anchors)
        key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with tempfile.NamedTemporaryFile() as file:
            file.write(leaf.pem.encode() + key)
            file.flush()
            context.load_cert_chain(file.name)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            lengths = [line.split(":")[1] for line in head.lower().split("\r\n") if line.startswith("content-length:")]
            body = await reader.readexactly(int(lengths[0])) if lengths else b""
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            peer = x509.load_der_x509_certificate(der) if der else None
            status, answer = await self.answer(method, target, body, peer)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(content)))
            writer.write(content)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def _path(peer):
    san = peer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uri = san.get_values_for_type(x509.UniformResourceIdentifier)[0]
    return "/" + uri.removeprefix("spiffe://").partition("/")[2]


def settings(authority, folder, **more):
    """An agent's settings for this authority; the bootstrap bundle and the join token are files in `folder`."""
    folder = Path(folder)
    (folder / "bootstrap.pem").write_text("".join(ca.pem for ca in (*authority.domain.old, authority.domain.ca)))
    token = folder / "join-token"
    token.write_text("xjt_good\n")
    given = {
        "authority": f"https://127.0.0.1:{authority.port}",
        "trust_bundle": folder / "bootstrap.pem",
        "attestation": {"kind": "join_token", "token_file": token},
        "socket": f"unix://{folder}/agent.sock",
        "timeout": "2s",
        **more,
    }
    return AgentSettings(**given)


@asynccontextmanager
async def running(domain=None):
    authority = Authority(domain or Domain())
    await authority.start()
    try:
        yield authority
    finally:
        await authority.stop()
