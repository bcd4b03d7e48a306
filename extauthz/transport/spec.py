"""What a worker is told by the supervisor that starts it: one environment variable, plain values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from extauthz.errors import ExtauthzError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "EXTAUTHZ_WORKER"


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything is checked already; paths are absolute."""

    index: int
    service: str
    """`module:attribute`, called with the run directory and `transport=`; returns a `Service`."""
    run_dir: str
    listen: str
    max_check: int
    max_concurrent: int
    certificate: str = ""
    private_key: str = ""
    client_ca: str = ""
    lifeline: int = -1
    """A file descriptor that ends when the supervisor does; -1 for a worker on its own."""

    @property
    def control(self) -> str:
        """The control socket."""
        return f"{self.run_dir}/worker-{self.index}.sock"

    @property
    def admin(self) -> str:
        """The admin socket of the Envoy that hosts the worker."""
        return f"{self.run_dir}/envoy-{self.index}.sock"

    def environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self)), "EXTAUTHZ_RUN_DIR": self.run_dir}

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> WorkerSpec:
        """Raises ExtauthzError when the process was not started by a supervisor."""
        try:
            return cls(**json.loads(environ[VARIABLE]))
        except (KeyError, ValueError, TypeError):
            raise ExtauthzError(f"{VARIABLE} is not set: workers are started by `extauthz serve`") from None
