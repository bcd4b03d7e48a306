"""The one error of the CA."""

from __future__ import annotations

from extauthz.errors import ExtauthzError


class CaFault(ExtauthzError):
    """The CA cannot do what it was asked, for a reason on our side. The text is for operators."""
