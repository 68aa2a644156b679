"""What the table of networks says of one."""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Net:
    """One entry of `NETS`.

    location: "module:class", or a function that makes one, so that one line adds a network and
        listing them needs no PyTorch. Its keyword arguments are the recipe's `[net]` keys; forward
        (B,3,H,W) in [0,1] -> same shape, any size from 1x1.
    presets: named sets of arguments; "slim" is what a CPU can train in minutes (0.1 to 0.4 M
        parameters). tiny: arguments laid over any preset, so that a test takes moments.
    idle: regular expressions of the parameters that forward does not depend on (of published
        checkpoints, or of smaller outputs that only `restore_scales` returns): no gradient there.
    zoo: preset -> name of the published variant that it equals, state-dict names included.
    reproduces: the published numbers that the network stands for. licence: the terms of the
        published code and weights; what is here was written anew and is under this package's own.
    analysis: long side in pixels of the pictures that published weights were trained for; indoor
        RESIDE, which most are, has 620 x 460.
    """

    location: str
    title: str
    paper: str = "ours"
    reproduces: str = "nothing published"
    licence: str = "Apache-2.0"
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    tiny: dict[str, Any] = field(default_factory=dict)
    idle: tuple[str, ...] = ()
    analysis: int = 640
    zoo: dict[str, str] = field(default_factory=dict)

    @property
    def build(self) -> Callable[..., "nn.Module"]:
        """The class itself."""
        return pkgutil.resolve_name(self.location)
