"""Every row, in the order of SECURITY-TESTS D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.faults import (
    bundles,
    clocks,
    engine,
    floods,
    identities,
    issuers,
    reloads,
    revocations,
    stops,
    storms,
    trails,
)

if TYPE_CHECKING:
    from tests.faults.rows import Family

FAMILIES: Final[tuple[Family, ...]] = (
    *engine.FAMILIES,
    *issuers.FAMILIES,
    *identities.FAMILIES,
    *clocks.FAMILIES,
    *revocations.FAMILIES,
    *bundles.FAMILIES,
    *storms.FAMILIES,
    *floods.FAMILIES,
    *trails.FAMILIES,
    *stops.FAMILIES,
    *reloads.FAMILIES,
)
