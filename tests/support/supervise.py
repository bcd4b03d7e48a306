"""Runs a supervisor with fake parts: `python -m tests.support.supervise CONFIG`."""

import asyncio
import logging
import sys
from pathlib import Path

from extauthz.clock import SystemClock
from extauthz.errors import ExtauthzError
from extauthz.supervisor import Supervisor
from tests.support.fake_service import FACTORY, FakeShared


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    config = Path(sys.argv[1])
    supervisor = Supervisor(
        config=config,
        make_shared=lambda run_dir: FakeShared(config, run_dir),
        service=FACTORY,
        clock=SystemClock(),
    )
    try:
        asyncio.run(supervisor.run())
    except ExtauthzError as error:
        logging.getLogger("supervise").info("refused: %s", error)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
