"""`python -m extauthz.demo.services NAME FILE`: one service, with the JSON settings of FILE.

`listen` in the settings is `unix:///path` or `host:port`; with `certificate` and `private_key` (PEM files) it is https.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import uvicorn

from extauthz.demo.services import catalogue, feature_store, fraud_scorer, gateway, orchestrator

SERVICES: Final = {
    "gateway": gateway.app,
    "orchestrator": orchestrator.app,
    "fraud-scorer": fraud_scorer.app,
    "feature-store": feature_store.app,
    "catalogue": catalogue.app,
}


def main(name: str, file: str) -> None:
    settings = json.loads(Path(file).read_text())
    listen: str = settings["listen"]
    application = SERVICES[name](settings)
    if listen.startswith("unix://"):
        uvicorn.run(application, uds=listen.removeprefix("unix://"), log_level="warning", access_log=False)
    else:
        host, _, port = listen.rpartition(":")
        uvicorn.run(
            application,
            host=host,
            port=int(port),
            ssl_certfile=settings.get("certificate"),
            ssl_keyfile=settings.get("private_key"),
            log_level="warning",
            access_log=False,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
