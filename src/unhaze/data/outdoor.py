"""Outdoor photos without depth: haze is drawn with a random pseudo-depth for each sample.

The pseudo-depth is an assumption, not a measurement. It mixes, in random proportions, three cues
that hold in many outdoor pictures: points higher in the picture are farther, up to a horizon;
points with more aerial perspective are farther (by the dark channel: He, Sun and Tang, CVPR 2009);
regions of one colour have one distance. Sky is at the largest distance.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unhaze import photo
from unhaze.config import Augment
from unhaze.data import Pair, PairedBatch
from unhaze.data.collage import collage_batch
from unhaze.data.folders import as_tensor, read_all
from unhaze.data.pairing import list_pictures, some_of
from unhaze.data.transforms import crop_batch, generator_for, haze_batch
from unhaze.errors import UnhazeError
from unhaze.haze import HazeLaw
from unhaze.image import grey, guided_filter, lanczos, narrowed, to_float, to_u8, window_minimum
from unhaze.metrics.fog_density import fade

LONG_SIDE = 800  # pixels; larger photos are shrunk, so that all fit into memory
PATCH = 15  # of the dark channel, as in the paper
LAW = HazeLaw(
    beta=(0.1, 2.5),
    airlight=(0.6, 1.0),
    airlight_at_one=0.1,
    airlight_tint=0.15,
    clear_share=0.1,
    uneven=0.3,
)


class Outdoor:
    """PairedData over folders of clear photos (`roots`), held in memory with their depth cues.

    law: of the haze; in recipes, its fields are keys of the same table.
    collage: share of samples that are scenes of layers (`data/collage.py`).
    pictures: first and last-plus-one index in the list of all photos, for held-out splits.
    haziest: photos with more FADE than this are left out, because they contain haze; FADE is
        measured at long side 400.
    """

    def __init__(
        self,
        roots: Sequence[str],
        law: HazeLaw = LAW,
        *,
        collage: float = 0.0,
        pictures: tuple[int, int] | None = None,
        haziest: float | None = None,
    ):
        self.law = law
        if not 0 <= collage <= 1:
            raise UnhazeError(f"collage is {collage}; expected a share, 0 to 1")
        self.collage = collage
        found = [file for root in roots for file in list_pictures(Path(root))]
        where = ", ".join(f"'{root}'" for root in roots)
        if not found:
            raise UnhazeError(f"no pictures in {where}")
        self.files = some_of(found, pictures, "pictures", where)
        if haziest is not None:
            measured = read_all(own_haze, self.files, f"the haze in photos of {list(roots)}")
            self.files = [file for file, own in zip(self.files, measured) if own <= haziest]
            if not self.files:
                raise UnhazeError(
                    f"haziest is {haziest}: all pictures of {list(roots)} have more haze, "
                    f"the clearest {min(measured):.2f}"
                )
        self.images = read_all(read_with_cues, self.files, f"photos of {list(roots)}")

    def __len__(self) -> int:
        return len(self.files)

    def pair(self, index: int) -> Pair:
        """Returns photo `index` at full size, with depth and haze that depend on the index only."""
        generator = generator_for(index, 0)
        clear, cues = (each[None].float() / 255 for each in self.images[index])
        hazy = haze_batch(self.law, clear, pseudo_depth(cues, generator), generator)
        return Pair(self.files[index].stem, hazy[0], clear[0])

    def draw(
        self, seed: int, step: int, *, size: int, augment: Augment, device: torch.device
    ) -> PairedBatch:
        """Random photos, crops, depths and haze of this seed and step."""
        generator = generator_for(seed, step)
        chosen = torch.randint(len(self), (size,), generator=generator)
        images = [self.images[index] for index in chosen]
        clear, cues = crop_batch(images, augment, generator, device)
        depth = pseudo_depth(cues, generator)
        layered = 0
        if self.collage:
            layered = int((torch.rand(size, generator=generator) < self.collage).sum())
        whole = size - layered
        hazy = haze_batch(self.law, clear[:whole], depth[:whole], generator) if whole else clear[:0]
        if not layered:
            return PairedBatch(hazy, clear)
        made = collage_batch(self.law, clear[whole:], depth[whole:], generator)
        targets = torch.cat((clear[:whole], made.clear))
        return PairedBatch(torch.cat((hazy, made.hazy)), targets)


def pseudo_depth(cues: Tensor, generator: torch.Generator) -> Tensor:
    """(B,1,H,W) in [0,1] from cues (B,5,H,W); horizon and shares are random per picture."""
    count = len(cues)

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        drawn = torch.rand(count, channels, 1, 1, generator=generator)
        return (low + (high - low) * drawn).to(cues.device)

    height, aerial, colours = cues[:, :1], cues[:, 1:2], cues[:, 2:]
    horizon, steepness = uniform(0.4, 0.9), uniform(0.7, 2.5)
    ground = (height / horizon).clamp(0, 1) ** steepness
    regions = ((colours - 0.5) * uniform(-1, 1, 3)).sum(1, keepdim=True)
    near = uniform(0.0, 0.4)
    depth = near + uniform(0.2, 0.8) * ground + uniform(0.0, 0.6) * aerial + 0.6 * regions
    sky = ((aerial - 0.6) * 4).clamp(0, 1) * (height > 0.4)
    return torch.maximum(depth, sky).clamp(0, 1)


def read_shrunk(path: Path, long_side: int) -> np.ndarray:
    """A photo (H,W,3) uint8, its longer side at most `long_side`."""
    pixels = narrowed(photo.read_rgb(path))
    scale = long_side / max(pixels.shape)
    return lanczos(pixels, scale, scale) if scale < 1 else pixels


def own_haze(path: Path) -> float:
    """Returns the FADE of a photo."""
    return fade(to_float(read_shrunk(path, LONG_SIDE // 2)))


def read_with_cues(path: Path) -> tuple[Tensor, Tensor]:
    """A photo (3,H,W) and its cues (5,H,W), both uint8."""
    pixels = read_shrunk(path, LONG_SIDE)
    planes = to_float(pixels).transpose(2, 0, 1)
    cues = np.dstack([height_of(planes), aerial_perspective(planes), flattened(planes)])
    return as_tensor(pixels), as_tensor(to_u8(cues))


def height_of(planes: np.ndarray) -> np.ndarray:
    """(H,W) for (3,H,W): 0 at the lower edge, 1 at the upper."""
    height, width = planes.shape[1:]
    rows = np.linspace(1, 0, height, dtype=np.float32)
    return np.repeat(rows[:, None], width, axis=1)


def aerial_perspective(planes: np.ndarray) -> np.ndarray:
    """(H,W) in [0,1]: optical depth of (3,H,W) by the dark channel, its 99th percentile at 1.

    The minimum over patches is smoothed along the edges of the photo (a guided filter on luma).
    """
    dark = window_minimum(planes.min(0), PATCH)
    smooth = guided_filter(grey(planes), dark, radius=30, epsilon=1e-3)
    optical = -np.log(np.clip(1 - 0.95 * smooth, 0.05, 1))
    return optical / max(float(np.percentile(optical, 99)), 1e-3)


def flattened(planes: np.ndarray) -> np.ndarray:
    """(H,W,3) in [0,1]: colours without texture, with edges (a guided filter on itself)."""
    return np.dstack([guided_filter(each, each, radius=24, epsilon=0.1) for each in planes])
