"""`extauthz serve`: the parent of the workers. It decides nothing; workers answer Checks without it."""

from extauthz.supervisor.server import Shared, Supervisor

__all__ = ["Shared", "Supervisor"]
