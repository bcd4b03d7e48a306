"""Every row, in the order of SECURITY-TESTS D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.faults import engine

if TYPE_CHECKING:
    from tests.faults.rows import Family

FAMILIES: Final[tuple[Family, ...]] = (*engine.FAMILIES,)
