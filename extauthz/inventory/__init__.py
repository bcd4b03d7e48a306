"""Who may reach what, with which credential, by whose word: worked out of configurations, and held against records.

Nothing here asks anybody: configurations and the files that they name are read, records are streamed. What could not be
seen is said (`Inventory.gaps`), so that an incomplete list is never taken for a complete one.
"""

from extauthz.inventory.build import build
from extauthz.inventory.files import Source, read
from extauthz.inventory.model import Inventory
from extauthz.inventory.observed import observe

__all__ = ["Inventory", "Source", "build", "observe", "read"]
