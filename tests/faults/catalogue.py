"""Every row, in the order of SECURITY-TESTS D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.faults import bundles, clocks, engine, issuers, reloads, revocations, stops

if TYPE_CHECKING:
    from tests.faults.rows import Family

FAMILIES: Final[tuple[Family, ...]] = (
    *engine.FAMILIES,
    *issuers.FAMILIES,
    *clocks.FAMILIES,
    *revocations.FAMILIES,
    *bundles.FAMILIES,
    *stops.FAMILIES,
    *reloads.FAMILIES,
)
