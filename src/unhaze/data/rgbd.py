"""Clear pictures with depth: haze is drawn at every step, on the training device."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from unhaze import photo
from unhaze.config import Augment
from unhaze.data import Pair, PairedBatch
from unhaze.data.folders import as_tensor, read_all
from unhaze.data.pack import cut, is_pack, read_pack
from unhaze.data.pairing import find_scenes, some_of
from unhaze.data.transforms import crop_batch, generator_for, haze_batch
from unhaze.errors import UnhazeError
from unhaze.haze import HazeLaw
from unhaze.image import narrowed

LAW = HazeLaw(beta=(0.5, 1.8), airlight_at_one=0.5)


class RGBD:
    """PairedData over scenes held in memory as uint8; haze by the law of RESIDE indoor.

    root: a folder with clear/ and depth/ (8 or 16 bit, larger is farther), or a pack of one.
    law: of the haze, for depth divided by its maximum in the picture; in recipes, its fields are
        keys of the same table.
    border: pixels cut from every side (NYU has a white frame of 10).
    scenes: first and last-plus-one index in the sorted list of scenes, for held-out splits.
    resident: keep the scenes on the training device, so that no step waits for transfers.
    """

    def __init__(
        self,
        root: str | Path,
        law: HazeLaw = LAW,
        *,
        border: int = 0,
        scenes: tuple[int, int] | None = None,
        resident: bool = False,
    ):
        self.law = law
        self.resident = resident
        if is_pack(root):
            self.names, self.clear, self.depth = unpack(Path(root), border, scenes)
            self.deepest = torch.ones(len(self.names))  # the depth of a pack is already scaled
        else:
            self.names, self.clear, self.depth = read_scenes(Path(root), border, scenes)
            self.deepest = torch.stack([depth.max() for depth in self.depth]).float() / 255

    def __len__(self) -> int:
        return len(self.names)

    def pair(self, index: int) -> Pair:
        """Returns scene `index` at full size, with haze that depends on the index only."""
        generator = generator_for(index, 0)
        clear = self.clear[index].float() / 255
        depth = self.depth[index].float() / 255 / self.deepest[index]
        hazy = haze_batch(self.law, clear[None], depth[None], generator)
        return Pair(self.names[index], hazy[0], clear)

    def draw(
        self, seed: int, step: int, *, size: int, augment: Augment, device: torch.device
    ) -> PairedBatch:
        """Random scenes, crops, beta and airlight of this seed and step."""
        generator = generator_for(seed, step)
        scenes = torch.randint(len(self), (size,), generator=generator)
        if self.resident and self.clear[0].device != device:
            self.clear = [clear.to(device) for clear in self.clear]
            self.depth = [depth.to(device) for depth in self.depth]
        images = [(self.clear[scene], self.depth[scene]) for scene in scenes]
        clear, depth = crop_batch(images, augment, generator, device)
        deepest = self.deepest[scenes].to(device).view(-1, 1, 1, 1)
        return PairedBatch(haze_batch(self.law, clear, depth / deepest, generator), clear)


def read_scenes(
    root: Path, border: int, scenes: tuple[int, int] | None
) -> tuple[list[str], list[Tensor], list[Tensor]]:
    """Returns names, clear (3,H,W) uint8 and depth (1,H,W) uint8 of the scenes under `root`."""
    files = {scene.name: scene for scene in find_scenes(root)}
    names = some_of(list(files), scenes, "scenes", f"'{root}'")

    def read(name: str) -> tuple[Tensor, Tensor]:
        return read_u8(files[name].clear, border), read_u8(files[name].depth, border)[:1]

    scenes_read = read_all(read, names, f"scenes of '{root}'")
    for name, (colours, distances) in zip(names, scenes_read):
        if colours.shape[1:] != distances.shape[1:]:
            raise UnhazeError(f"scene '{name}': clear and depth differ in size")
        if distances.max() == 0:
            raise UnhazeError(f"scene '{name}': its depth is zero everywhere")
    clear, depth = map(list, zip(*scenes_read))
    return names, clear, depth


def unpack(
    pack: Path, border: int, scenes: tuple[int, int] | None
) -> tuple[list[str], list[Tensor], list[Tensor]]:
    """Like `read_scenes`, from a pack, whose depth has half the size and is upsampled."""
    names, clear, depth = read_pack(pack, scenes=scenes, border=border)
    size = clear.shape[-2:]
    full = [
        functional.interpolate(each[None].float(), size=size, mode="bilinear")[0].round().byte()
        for each in depth
    ]
    return names, list(clear), full


def read_u8(path: Path, border: int) -> Tensor:
    """The image as (3,H,W) uint8, `border` pixels cut from every side."""
    return as_tensor(narrowed(cut(photo.read_rgb(path), border, path)))
