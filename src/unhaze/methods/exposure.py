"""Training of the exposure of net "cddgan"."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unhaze.data import PairedBatch
from unhaze.errors import UnhazeError
from unhaze.methods.adapted import Drawing, read_photos
from unhaze.methods.steps import (
    Setup,
    apply_gradients,
    average_gradients,
    require_finite,
    set_up_optimizer,
)
from unhaze.nets.cddgan import CDDGenerator


class Exposure:
    """Trains the layers that detect whether a picture was exposed for its haze, and no others.

    Drawn haze makes a scene brighter; a camera exposes shorter when it meets haze. The network is
    shown the hazy pictures of a dataset, which are not exposed for their haze, and as many real
    hazy photos, which are. total: binary cross-entropy.
    photos, names: as in `Adapted`. UnhazeError: the net has no exposure, or there are losses.
    """

    def __init__(self, setup: Setup, *, photos: str, names: Sequence[str] = ()):
        net = setup.net
        if not isinstance(net, CDDGenerator) or net.exposure is None or setup.forward is not net:
            raise UnhazeError(
                "method 'exposure' needs net.name = cddgan, net.exposed = true and"
                " hardware.compile = none"
            )
        if setup.losses:
            given = ", ".join(setup.losses)
            raise UnhazeError(f"method 'exposure' has its own loss; remove [losses] {given}")
        self.fabric, self.clip, self.net, self.head = setup.fabric, setup.clip, net, net.exposure
        self.photos = read_photos(photos, names)
        self.networks = {"restorer": net}
        self.optimizers = {"exposure": set_up_optimizer(self.fabric, self.head, setup.optimizer)}
        self.drawing = Drawing()
        self.memories = {"drawing": self.drawing}

    def step(self, batches: Sequence[PairedBatch], lr: float) -> dict[str, Tensor]:
        """One optimizer step. Returns "total" and the mean shares of drawn haze and of photos that
        are taken to be exposed for it."""
        (batch,) = batches
        real = self.drawing.draw(self.photos, len(batch.hazy)).to(batch.hazy)
        real = functional.interpolate(real, batch.hazy.shape[-2:], mode="bilinear", antialias=True)
        with torch.no_grad(), self.fabric.autocast():
            deep = self.net.translate(torch.cat((batch.hazy, real)), ()).deep
        logits = self.net.for_haze(deep)
        drawn, photos = torch.sigmoid(logits.detach()).view(2, -1).mean(1)
        labels = torch.arange(2, device=logits.device).repeat_interleave(len(real))[:, None]
        total = functional.binary_cross_entropy_with_logits(logits, labels.to(logits))
        terms = {"total": total, "drawn": drawn, "photos": photos}
        require_finite(terms)
        self.fabric.backward(total)
        average_gradients(self.fabric, self.head)
        apply_gradients(self.fabric, self.head, self.optimizers["exposure"], lr=lr, clip=self.clip)
        return terms | {"total": total.detach()}
