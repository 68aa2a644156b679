"""unhaze clears haze from photos and videos, and trains the networks that do so.

Importing it is instant: every public name loads its module when it is first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unhaze.api import dehaze
    from unhaze.config import load_config
    from unhaze.errors import UnhazeError
    from unhaze.evaluation import evaluate
    from unhaze.exporting import export
    from unhaze.nets import create_net, list_nets
    from unhaze.restore.models import list_models
    from unhaze.restore.restorer import Restorer
    from unhaze.restore.video import restore_frames, restore_video
    from unhaze.training import train

    __version__: str

# ONNX Runtime's wheels for Linux report to Microsoft unless this is set before their import; who
# wants to report sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Public name: the module that defines it. No module has a public name: importing it would put the
# module in the place of the function.
PUBLIC = {
    "Restorer": "unhaze.restore.restorer",
    "UnhazeError": "unhaze.errors",
    "create_net": "unhaze.nets",
    "dehaze": "unhaze.api",
    "evaluate": "unhaze.evaluation",
    "export": "unhaze.exporting",
    "list_models": "unhaze.restore.models",
    "list_nets": "unhaze.nets",
    "load_config": "unhaze.config",
    "restore_frames": "unhaze.restore.video",
    "restore_video": "unhaze.restore.video",
    "train": "unhaze.training",
}

__all__ = [
    "Restorer",
    "UnhazeError",
    "__version__",
    "create_net",
    "dehaze",
    "evaluate",
    "export",
    "list_models",
    "list_nets",
    "load_config",
    "restore_frames",
    "restore_video",
    "train",
]


def __getattr__(name: str) -> Any:
    """Loads a public name; UnhazeError if it needs an extra that is not installed."""
    if name == "__version__":
        from importlib.metadata import version

        return version("unhaze")
    if name not in PUBLIC:
        raise AttributeError(f"module 'unhaze' has no attribute '{name}'")
    try:
        value = getattr(import_module(PUBLIC[name]), name)
    except ModuleNotFoundError as error:
        from unhaze.extras import explain_missing

        missing = explain_missing(error, f"unhaze.{name}")
        if missing is None:
            raise
        raise missing from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
