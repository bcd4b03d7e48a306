"""The Check server under test: started as a real `extauthz serve`, or one that runs already."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import orjson

from extauthz.check.messages import SERVICE
from extauthz.demo.layout import short_folder
from extauthz.demo.processes import Part, stop
from extauthz.demo.tokens import LIFETIME
from extauthz.errors import ExtauthzError
from extauthz.testing.answers import Answer, Question, read
from extauthz.testing.folder import TLS_NAME, Folder, prepare
from extauthz.testing.records import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from extauthz.testing.credentials import Credentials, Peer
    from extauthz.testing.folder import Change

_START: Final = 60.0
"""Seconds that a server may take until it is ready: OPA compiles the policy first, perhaps on a busy machine."""
_POLL: Final = 0.02
_TIMEOUT: Final = 10.0


class CheckServer:
    """A running Check server, a client of it, and credentials that it trusts."""

    def __init__(self, address: str, folder: Folder | None, last_words: Callable[[], str] = str) -> None:
        self.address = address
        """`host:port` or `unix:///path`."""
        self.last_words = last_words
        """The end of the server's log; empty for a server that was not started here."""
        self._folder = folder
        self._credentials: Credentials | None = folder.credentials() if folder else None
        self._records = Records(folder.records) if folder else None
        self._channel = _channel(address, folder.client() if folder else None)
        self._call = self._channel.unary_unary(f"/{SERVICE}/Check")

    def check(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        caller: Peer | str | None = None,
        json: Any = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        host: str = "localhost",
        scheme: str = "https",
        route: str = "",
    ) -> Answer:
        """Asks what Envoy would ask for this request. Raises ExtauthzError when the server does not answer.

        `path` may hold a query. `caller` is the workload that calls (its SPIFFE ID, or a `Peer` of `workload`); without
        one the client showed no certificate. `json` becomes the body with its content type, `body` is sent as it is.
        `route` is Envoy's `context_extensions.route`; without it extauthz matches host, method and path.
        """
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if json is not None:
            body = orjson.dumps(json)
            sent.setdefault("content-type", "application/json")
        peer = self.workload(caller) if isinstance(caller, str) else caller
        return self.ask(Question(method, path, host, scheme, route, token, peer, sent, body))

    def ask(self, question: Question) -> Answer:
        """The same for a question made by hand. Raises ExtauthzError when the server does not answer."""
        try:
            message = self._call(question.message(), timeout=_TIMEOUT, wait_for_ready=True)
        except grpc.RpcError as error:
            said = f"{error.code().name}: {error.details()}"
            words = self.last_words()
            raise ExtauthzError(
                f"the Check server at {self.address} did not answer: {said}" + (f"\n{words}" if words else "")
            ) from None
        return read(question, message, self)

    def token(
        self,
        subject: str,
        *,
        audience: str,
        issuer: str = "",
        lifetime: float = LIFETIME,
        bound_to: Peer | str | None = None,
        header: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """An access token that the server trusts, signed with ES256.

        `issuer` is the name in extauthz.yaml, and may be left out when there is one. `lifetime` is in seconds; a
        negative one makes an expired token. `bound_to` binds it to a workload's certificate (RFC 8705). `claims` and
        `header` add to the token, or replace what is there.
        """
        peer = self.workload(bound_to) if isinstance(bound_to, str) else bound_to
        return self._own("token").token(
            subject, audience=audience, issuer=issuer, lifetime=lifetime, bound_to=peer, header=header, claims=claims
        )

    def workload(self, spiffe_id: str, *, lifetime: float | None = None) -> Peer:
        """A workload with a certificate (X.509-SVID); `lifetime` in seconds, a negative one makes an expired one."""
        return self._own("workload").peer(spiffe_id, lifetime)

    def record(self, decision_id: str) -> dict[str, Any] | None:
        """The decision record (docs/telemetry.md), waited for at most 2 s; None where the records cannot be read."""
        return self._records.find(decision_id) if self._records is not None else None

    def claims(self, token: str) -> Mapping[str, Any] | None:
        """What a token says that was minted here."""
        return self._credentials.claims(token) if self._credentials is not None else None

    def remedy(self, code: str) -> str:
        """What the policy's data says against a code of the policy's own; empty when it says nothing."""
        return self._folder.remedy(code) if self._folder is not None else ""

    def close(self) -> None:
        """Ends the connection, not the server."""
        self._channel.close()

    def _own(self, what: str) -> Credentials:
        if self._credentials is None:
            raise ExtauthzError(
                f"{what}() needs the keys that the server at {self.address} trusts: run it from a folder made by "
                "`python -m extauthz.testing prepare`, and name the folder with --extauthz-folder"
            )
        return self._credentials


@contextmanager
def serving(config: Path, *, engine: str = "", change: Change | None = None) -> Iterator[CheckServer]:
    """Runs `extauthz serve` on a test copy of `config` (see `folder`) until the block ends.

    Raises ConfigError for a configuration that is refused, ExtauthzError with the log's end when it does not start.
    """
    root = Path(tempfile.mkdtemp(prefix="xt-", dir=short_folder()))
    (root / "t").mkdir()
    try:
        listen, http = root / "check.sock", root / "http.sock"
        # Plain Python starts in half the time; both transports pass one contract suite.
        server = {"listen": f"unix://{listen}", "http": f"unix://{http}", "transport": "grpcio"}
        folder = prepare(config, root / "f", server=server, engine=engine, change=change)
        command = [sys.executable, "-m", "extauthz", "serve", str(folder.settings)]
        part = Part("extauthz serve", command, root / "serve.log", root / "t")
        try:
            part.start()
            _until_ready(part, http)
            check_server = CheckServer(f"unix://{listen}", folder, part.last_words)
            try:
                yield check_server
            finally:
                check_server.close()
        finally:
            stop([part])
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def connect(address: str, folder: Path | None = None) -> Iterator[CheckServer]:
    """A server that runs already, on `host:port` or `unix:///path`.

    `folder` is what it was prepared from; without one there are no tokens, certificates and records.
    """
    check_server = CheckServer(address, Folder(folder) if folder else None)
    try:
        yield check_server
    finally:
        check_server.close()


def _channel(address: str, client: tuple[bytes, bytes, bytes] | None) -> grpc.Channel:
    # The authority of a Unix socket is its path, which no HTTP/2 server takes for a host.
    options = [("grpc.default_authority", "extauthz")]
    if client is None:
        return grpc.insecure_channel(address, options)
    named = [("grpc.ssl_target_name_override", TLS_NAME)]
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(*client), named)


def _until_ready(part: Part, http: Path) -> None:
    deadline = time.monotonic() + _START
    while not _ready(http):
        if not part.running:
            raise part.failed()
        if time.monotonic() > deadline:
            raise ExtauthzError(f"{part.name} was not ready after {_START:.0f} s\n{part.last_words()}")
        time.sleep(_POLL)


def _ready(http: Path) -> bool:
    # Not httpx: it leaves the socket of a refused connection to the garbage collector, which warns in our users' tests.
    with socket.socket(socket.AF_UNIX) as connected, closing(HTTPConnection("extauthz")) as connection:
        connected.settimeout(1.0)
        try:
            connected.connect(str(http))
            connection.sock = connected
            connection.request("GET", "/readyz")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
