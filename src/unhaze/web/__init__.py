"""Web page and HTTP API: `unhaze serve`."""

from unhaze.web.app import create_app
from unhaze.web.settings import Settings

__all__ = ["Settings", "create_app"]
