"""The configuration: `extauthz.yaml`, read strictly, checked as a whole, frozen.

`load` gives a `Config` or raises `errors.ConfigError` with every problem found. An empty file is valid and denies
everything.
"""

from extauthz.config.loader import Report, inspect, load, load_text
from extauthz.config.model import Config

__all__ = ["Config", "Report", "inspect", "load", "load_text"]
