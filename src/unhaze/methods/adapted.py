"""Training on pairs, and on real hazy photos without ground truth."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from unhaze import photo
from unhaze.data import PairedBatch
from unhaze.data.folders import as_tensor, read_all
from unhaze.data.unpaired import pictures_in
from unhaze.errors import UnhazeError
from unhaze.image import to_float
from unhaze.losses.unpaired import contrast_lacking, sky_tint, tone
from unhaze.methods.steps import Pairs, Setup

SIDE = 256  # initial size of photos in pixels, until the crop size is known


class Adapted:
    """total = sum of weight * loss(restored, clear, hazy) over pairs, + tone * tone(real) +
    sky * sky_tint(real) + contrast * contrast_lacking(real) + steady * steadiness(real) over
    `share` times as many real photos.

    photos: folder of real hazy photos; names: those (without suffix) to train on, by default all.
    Each photo is resized as a whole to the size of the crops, because tone concerns the whole
    picture, and mirrored with probability 1/2. losses/unpaired.py has the first three terms.
    steadiness: mean |difference|, below the upper quarter, between the restored photo and the
    restored photo with a white upper quarter (a blown sky).
    """

    def __init__(
        self,
        setup: Setup,
        *,
        photos: str,
        names: Sequence[str] = (),
        share: float = 0.5,
        tone: float = 0.3,
        sky: float = 0.3,
        contrast: float = 0.0,
        steady: float = 0.0,
    ):
        self.pairs = Pairs(setup)
        self.priors = {"tone": tone, "sky": sky, "contrast": contrast, "steady": steady}
        if min(self.priors.values()) < 0 or not share > 0:
            raise UnhazeError(
                f"method 'adapted': share is {share}, weights are {self.priors}; expected a share "
                "over 0 and weights of at least 0"
            )
        self.share = share
        self.photos = read_photos(photos, names)
        self.networks, self.optimizers = self.pairs.networks, self.pairs.optimizers
        self.drawing = Drawing()
        self.memories = {"drawing": self.drawing}

    def step(self, batches: Sequence[PairedBatch], lr: float) -> dict[str, Tensor]:
        """One optimizer step over `batches` (more than one: accumulated). Returns mean terms."""
        return self.pairs.step(batches, lr, self.measure)

    def measure(self, batch: PairedBatch) -> dict[str, Tensor]:
        """Returns the losses of one batch, the terms of its share of real photos, and "total"."""
        pairs = len(batch.hazy)
        real = self.drawing.draw(self.photos, max(1, round(self.share * pairs))).to(batch.hazy)
        real = functional.interpolate(real, batch.hazy.shape[-2:], mode="bilinear", antialias=True)
        blown, top = real[: len(real) if self.priors["steady"] else 0].clone(), real.shape[-2] // 4
        blown[..., :top, :] = 1
        restored = self.pairs.restorer(torch.cat((batch.hazy, real, blown)))
        with self.pairs.setup.fabric.autocast():
            terms = self.pairs.weigh(restored[:pairs], batch)
            whole, under = restored[pairs:].float().split((len(real), len(blown)))
            priors = {"tone": tone(whole), "sky": sky_tint(whole, real)}
            if self.priors["contrast"]:
                priors["contrast"] = contrast_lacking(whole, real)
            if len(blown):
                # Both sides get gradients. With one side fixed, all pictures become darker.
                priors["steady"] = (under - whole)[..., top:, :].abs().mean()
        total = terms["total"] + sum(self.priors[name] * priors[name] for name in priors)
        return terms | priors | {"total": total}


class Drawing:
    """Random choice of photos; a Memory, so that a resumed run draws the same photos."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def draw(self, photos: Tensor, count: int) -> Tensor:
        """`count` of `photos` (N,3,H,W) uint8, some mirrored: (count,3,H,W) in [0,1]."""
        places = torch.randint(len(photos), (count,), generator=self.generator)
        mirrored = torch.rand(count, 1, 1, 1, generator=self.generator) < 0.5
        drawn = photos[places]
        return torch.where(mirrored, drawn.flip(3), drawn).float() / 255

    def state_dict(self) -> dict[str, Tensor]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        self.generator.set_state(tensors["generator"].cpu())


def read_photos(folder: str, names: Sequence[str]) -> Tensor:
    """Returns the photos of a method's arguments `photos` and `names`: (N,3,SIDE,SIDE) uint8."""
    files = pictures_in(Path(), folder, names, keys=("method.photos", "method.names"))

    def read(file: Path) -> Tensor:
        pixels = as_tensor(to_float(photo.read_rgb(file)))[None]
        squeezed = functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)
        return (255 * squeezed[0]).round().clamp(0, 255).to(torch.uint8)

    return torch.stack(read_all(read, files, "real photos"))
