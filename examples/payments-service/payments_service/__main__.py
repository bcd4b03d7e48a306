"""`python -m payments_service [PORT]`: takes payments, and says for whom."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Payments(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, {"status": "up"})

    def do_POST(self) -> None:
        payment = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        self._answer(201, {"for": self.headers.get("x-extauthz-subject", ""), "amount": payment.get("amount")})

    def log_message(self, *_arguments: object) -> None:
        """Envoy writes the access log."""

    def _answer(self, status: int, value: dict[str, object]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), Payments).serve_forever()
