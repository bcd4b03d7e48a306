"""How a worker's parts are put together: the one place where the objects of a Check meet."""

from extauthz.assembly.active import Active
from extauthz.assembly.assembly import Assembly

__all__ = ["Active", "Assembly"]
