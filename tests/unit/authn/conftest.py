"""Property tests here have no time limit an example: a busy machine is not a failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("authn", deadline=None)
settings.load_profile("authn")
