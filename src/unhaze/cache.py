"""The cache folder: downloads, translated networks, compiled kernels."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder named by UNHAZE_CACHE, else `~/.cache/unhaze`; it may not exist yet."""
    return Path(os.environ.get("UNHAZE_CACHE") or "~/.cache/unhaze").expanduser()
