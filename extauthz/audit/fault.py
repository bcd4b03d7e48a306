"""The one fault of the audit trail."""

from __future__ import annotations

from extauthz.errors import ExtauthzError


class AuditError(ExtauthzError):
    """A record cannot be had, or the trail cannot be read. What a record is needed for must not happen then."""
