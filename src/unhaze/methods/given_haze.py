"""The haze that a hazer is given to add, in place of what it would choose itself."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unhaze.errors import UnhazeError
from unhaze.nets.cddgan import CDDGenerator, Haze
from unhaze.processes import drawn

AIRLIGHT_CHANGE = 0.2
AIRLIGHTS = (0.5, 1.0)
LEAST_DEPTH = 0.05  # otherwise a restorer that finds no haze would never be shown any


class GivenHaze:
    """Chooses it from the haze that the restorer found in a batch.

    densities: two factors of the optical depth of other pictures' haze; empty: no haze is given.
    found: weight of what the restorer finds of it (`missed`). UnhazeError: densities are no
    range, are needed and empty, or `net` does not predict haze.
    """

    def __init__(self, net: CDDGenerator, densities: Sequence[float], found: float):
        self.densities = tuple(densities)
        if not self.densities:
            if found:
                raise UnhazeError("method.haze needs haze that is given: set method.densities")
            return
        if net.head != "haze":
            raise UnhazeError("method.densities needs a net that predicts haze: net.head = 'haze'")
        low, high = densities[0], densities[-1]
        if len(densities) != 2 or not 0 < low <= high < math.inf:
            given = f"method.densities is {list(densities)}"
            raise UnhazeError(f"{given}; expected two factors over 0, the smaller one first")

    def __call__(self, found: Haze | None) -> tuple[Haze | None, Haze | None, Haze | None]:
        """Returns `found` itself, for the cycle; haze for clear pictures: that of the next picture
        of the batch, changed at random and without gradient; and none at all."""
        if found is None or not self.densities:
            return None, None, None
        depth, airlight = found.depth.detach(), found.airlight.detach()
        low, high = self.densities
        factor = low * (high / low) ** drawn(torch.rand, *depth.shape, like=depth)
        other = factor * depth.roll(1, 0).clamp(min=LEAST_DEPTH)
        change = AIRLIGHT_CHANGE * (2 * drawn(torch.rand, *depth.shape, like=depth) - 1)
        colour = (airlight.roll(1, 0) + change).clamp(*AIRLIGHTS)
        return found, Haze(other, colour), Haze(torch.zeros_like(depth), airlight)


def missed(given: Haze | None, found: Haze | None) -> Tensor:
    """Returns mean |difference| of the transmission plus that of the airlight, with a gradient to
    `found` only: `given` is the target."""
    assert given is not None and found is not None  # GivenHaze has checked the net
    assert given.transmission is not None and found.transmission is not None  # both are predicted
    through = (found.transmission - given.transmission.detach()).abs().mean()
    return through + (found.airlight - given.airlight.detach()).abs().mean()
