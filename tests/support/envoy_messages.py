"""`envoy-data-plane`, imported quietly: its generated code warns about pydantic's future while it loads."""

import importlib
import warnings
from typing import Any


def module(package: str) -> Any:
    """The messages of a protobuf package, for example `envoy.service.auth.v3`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"envoy_data_plane.{package}")


core: Any = module("envoy.config.core.v3")
auth: Any = module("envoy.service.auth.v3")
