"""CDD-GAN, reconstructed: Unpaired Deep Image Dehazing Using Contrastive Disentanglement Learning
(Chen et al., ECCV 2022).

arXiv:2203.07677. The paper was not available and no code was published: the networks are those of
NEGCUT (Wang et al., ICCV 2021), on which it builds, and of CycleGAN. docs/cddgan.md lists which
choices are stated and which are inferred. Reproduces: no published number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.haze import add_haze, remove_haze
from unhaze.nets.blocks import bias_of, pad_to_multiple
from unhaze.nets.clearing import bent, mean_of
from unhaze.validation import one_of

HEADS = ("tanh", "haze", "veil")
DEEPEST = 3.0  # bound of the predicted optical depth
NORMS = ("instance", "early", "none")
AIRLIGHTS = ("free", "brightest")
CELL = 16  # side in pixels of the places of which the brightest one is taken


@dataclass(frozen=True)
class Haze:
    """Haze of pictures: mean optical depth (B,1,1,1), airlight (B,3,1,1) in [0,1], and, of haze
    that a network predicted, transmission (B,1,H,W)."""

    depth: Tensor
    airlight: Tensor
    transmission: Tensor | None = None


@dataclass(frozen=True)
class Translation:
    """picture (B,3,H,W); features, see `CDDGenerator.encode`; haze that was removed or added; deep:
    features (B,C,h,w) of the last block."""

    picture: Tensor
    features: list[Tensor]
    haze: Haze | None
    deep: Tensor


class CDDGenerator(nn.Module):
    """ResNet generator with anti-aliased sampling: 4x down, residual blocks, 4x up.

    hazy (B,3,H,W) in [0,1], any H and W from 1 -> restored, same shape, in [0,1] (head "tanh").

    width: channels of the first convolution. blocks: residual blocks at quarter size.
    norm: "instance", without parameters, after every convolution except the last, as in NEGCUT and
        CycleGAN. Differs: it removes the level and contrast of the picture, which haze changes;
        "early" has none in the last third of the blocks and after them, "none" has none.
    head: "tanh", the picture itself. Differs: "haze" predicts the optical depth of the haze and one
        airlight A per picture, t = exp(-depth), restored = (hazy - A) / t + A; "veil", for the
        other direction, adds such haze, or as much as `translate` is given.
    airlight: Differs, for "haze" and "veil": "brightest", A is predicted relative to the brightest
        place of the picture; "free", without it. Clear pictures alone hardly tell A.
    exposed: Differs, for "haze": `forward` brightens what it restored as far as the network finds
        that the input was exposed for its haze, as photos are, in contrast to haze that is drawn;
        trained by the method "exposure". Otherwise restored photos are darker than their inputs.
    toe: Differs, for `exposed`: restored values within this of black are compressed instead of
        clipped, in [0,0.2] (`bent` in nets/clearing.py).
    shrink: Differs: the network sees and returns pictures as blocks of shrink x shrink pixels
        (pixel unshuffle), and haze as one value per block; 1 is NEGCUT's, 2 costs a quarter.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        blocks: int = 9,
        norm: str = "instance",
        head: str = "tanh",
        airlight: str = "free",
        exposed: bool = False,
        toe: float = 0.0,
        shrink: int = 1,
    ):
        super().__init__()
        one_of("net 'cddgan': norm", norm, NORMS)
        one_of("net 'cddgan': head", head, HEADS)
        one_of("net 'cddgan': airlight", airlight, AIRLIGHTS)
        if exposed and head != "haze":
            raise ValueError(f"exposed needs head 'haze', not '{head}'")
        if not 0 <= toe <= (0.2 if exposed else 0):
            raise ValueError(f"toe is {toe}; expected 0 to 0.2, 0 unless exposed")
        for name, value in (("width", width), ("blocks", blocks), ("shrink", shrink)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        self.width, self.norm, self.head, self.shrink = width, norm, head, shrink
        self.airlight, self.toe = airlight, toe
        early, late = norm != "none", norm == "instance"
        plain = 0 if late else -(-blocks // 3)
        outputs = 3 * shrink**2 if head == "tanh" else 4
        self.stem = conv(3 * shrink**2, width, 7, padding=0, normalized=early)
        self.down1 = conv(width, 2 * width, 3, normalized=early)
        self.down2 = conv(2 * width, 4 * width, 3, normalized=early)
        self.blocks = nn.ModuleList(
            ResidualBlock(4 * width, normalized=early and index < blocks - plain)
            for index in range(blocks)
        )
        self.up1 = conv(4 * width, 2 * width, 3, normalized=late)
        self.up2 = conv(2 * width, width, 3, normalized=late)
        self.last = conv(width, outputs, 7, padding=0, normalized=True)
        if head != "tanh":
            # Start near "little haze, bright airlight" and not at half of everything.
            light = 2.0 if airlight == "free" else 0.0
            bias_of(self.last).data = torch.tensor([0.1, light, light, light])
        self.exposure = exposure_head(4 * width) if exposed else None

    def forward(self, hazy: Tensor) -> Tensor:
        translated = self.translate(hazy, ())
        restored = translated.picture
        if self.exposure is None:
            return restored
        if self.toe:
            restored = bent(restored, hazy, self.toe)
        share = torch.sigmoid(self.for_haze(translated.deep)).view(-1, 1, 1, 1)
        return brightened(restored.clamp(0, 1), hazy, share)

    def for_haze(self, deep: Tensor) -> Tensor:
        """Returns logits (B,1) of a picture's being exposed for its haze; deep: see `Translation`.

        Only for `exposed`.
        """
        assert self.exposure is not None
        statistics = deep.float().mean((2, 3)), deep.float().std((2, 3))
        return self.exposure(torch.cat(statistics, 1))

    def translate(
        self, hazy: Tensor, layers: Sequence[int], haze: Haze | None = None
    ) -> Translation:
        """haze: for head "veil": the haze to add, of which the network predicts only the place."""
        height, width = hazy.shape[-2:]
        padded = self.pad(hazy)
        deep, found = self.walk(padded, layers, whole=True)
        late = self.norm == "instance"
        features = activate(self.up1(blur_up(deep)), late)
        features = activate(self.up2(blur_up(features)), late)
        last = self.last(reflect(features, 3)).float()
        picture, haze = self.restored(padded, last, haze)
        return Translation(picture[..., :height, :width], found, haze, deep)

    def encode(self, image: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Returns features (B,C,h,w) of `image` (B,3,H,W) in [0,1], up to the last of `layers`.

        Layers are numbered as in NEGCUT's code: 0 the padded picture, 4 and 8 the second and
        third convolution before their norm, 12 the first residual block, 13 the second, ...
        """
        return self.walk(self.pad(image), layers, whole=False)[1]

    def channels(self, layer: int) -> int:
        """Returns the channels of `layer`. ValueError if the network has no such layer."""
        known = {0: 3 * self.shrink**2, 4: 2 * self.width, 8: 4 * self.width}
        known |= {12 + index: 4 * self.width for index in range(len(self.blocks))}
        if layer not in known:
            there = ", ".join(map(str, known))
            raise ValueError(f"the generator has no layer {layer} to contrast; there are {there}")
        return known[layer]

    def opposite(self) -> "CDDGenerator":
        """Returns a generator with the same arguments for clear to hazy, with random weights."""
        return CDDGenerator(
            width=self.width,
            blocks=len(self.blocks),
            norm=self.norm,
            head="tanh" if self.head == "tanh" else "veil",
            airlight=self.airlight,
            shrink=self.shrink,
        )

    def pad(self, image: Tensor) -> Tensor:
        """Pads to sides that can be halved twice and leave two pixels for the last reflection."""
        smallest = max(8 * self.shrink, CELL if self.airlight == "brightest" else 0)
        return pad_to_multiple(image, 4 * self.shrink, smallest=smallest)

    def walk(
        self, padded: Tensor, layers: Sequence[int], *, whole: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Runs the encoder and the blocks; unless `whole`, only up to the last of `layers`."""
        early = self.norm != "none"
        end = 12 + len(self.blocks) if whole else max(layers)
        features = 2 * padded - 1
        if self.shrink > 1:
            features = functional.pixel_unshuffle(features, self.shrink)
        features = reflect(features, 3)
        found = {0: features}
        if end > 0:
            features = self.down1(activate(self.stem(features), early))
            found[4] = features
        if end > 4:
            features = self.down2(blur_down(activate(features, early)))
            found[8] = features
        if end > 8:
            features = blur_down(activate(features, early))
        for index, block in enumerate(self.blocks):
            if end >= 12 + index:
                features = block(features)
                found[12 + index] = features
        return features, [found[layer] for layer in layers]

    def restored(
        self, padded: Tensor, last: Tensor, haze: Haze | None = None
    ) -> tuple[Tensor, Haze | None]:
        """Computes the picture from the output of the last convolution, in float32."""
        if self.head == "tanh":
            return (torch.tanh(functional.pixel_shuffle(last, self.shrink)) + 1) / 2, None
        if self.shrink > 1:
            # Smooth: with one value per pixel, generators paint textures for the critics.
            last = functional.interpolate(
                last, scale_factor=self.shrink, mode="bilinear", align_corners=False
            )
        # One airlight per picture: with one per pixel, generators paint lakes.
        airlight = last[:, 1:].mean((2, 3), keepdim=True)
        if self.airlight == "brightest":
            places = functional.avg_pool2d(padded, CELL)
            airlight = airlight + torch.logit(places.amax((2, 3), keepdim=True), 0.02)
        airlight = torch.sigmoid(airlight)
        if haze is None:
            # With a bound of 0, generators that do nothing would never leave their perfect cycles.
            depth = functional.leaky_relu(last[:, :1], 0.1)
        else:
            shares = 0.1 + functional.softplus(last[:, :1])
            depth = haze.depth * shares / shares.mean((2, 3), keepdim=True)
            airlight = haze.airlight
        depth = DEEPEST * torch.tanh(depth / DEEPEST)  # 1/t under 20
        change = remove_haze if self.head == "haze" else add_haze
        through = torch.exp(-depth)
        picture = change(padded, through, airlight)
        mean = depth.mean((2, 3), keepdim=True).clamp(min=0.0)
        return picture, Haze(mean, airlight, through)


class ResidualBlock(nn.Module):
    """features + (conv, norm, ReLU, conv, norm)(features); (B,C,H,W), H and W at least 2."""

    def __init__(self, channels: int, *, normalized: bool):
        super().__init__()
        self.normalized = normalized
        self.conv1 = conv(channels, channels, 3, padding=0, normalized=normalized)
        self.conv2 = conv(channels, channels, 3, padding=0, normalized=normalized)
        if not normalized:
            # Otherwise the features would grow with every block.
            self.conv2.weight.data *= 0.1

    def forward(self, features: Tensor) -> Tensor:
        inner = activate(self.conv1(reflect(features, 1)), self.normalized)
        inner = self.conv2(reflect(inner, 1))
        return features + (instance_norm(inner) if self.normalized else inner)


def conv(before: int, after: int, size: int, *, normalized: bool, padding: int = 1) -> nn.Conv2d:
    """A convolution initialised as in NEGCUT (Xavier, gain 0.02, bias 0) if a norm compensates
    for the small gain; otherwise with the gain for ReLU."""
    layer = nn.Conv2d(before, after, size, padding=padding)
    if normalized:
        nn.init.xavier_normal_(layer.weight, gain=0.02)
    else:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(bias_of(layer))
    return layer


def exposure_head(channels: int) -> nn.Sequential:
    """Mean and deviation of `channels` -> one logit; starts at "not exposed for its haze"."""
    leave = nn.Linear(channels, 1)
    nn.init.zeros_(leave.weight)
    nn.init.constant_(leave.bias, -4.0)
    return nn.Sequential(
        nn.BatchNorm1d(2 * channels), nn.Linear(2 * channels, channels), nn.ReLU(), leave
    )


def brightened(restored: Tensor, hazy: Tensor, share: Tensor) -> Tensor:
    """Returns J + a J (1 - J) of `restored` J in [0,1], with the a in [0,1] that gives back `share`
    (B,1,1,1) of the mean that it has less than `hazy`; both (B,3,H,W)."""
    room = restored * (1 - restored)
    lacking, mean = (mean_of(each).mean(1, keepdim=True) for each in (hazy - restored, room))
    return restored + share * (lacking / mean.clamp(min=1e-3)).clamp(0.0, 1.0) * room


def activate(features: Tensor, normalized: bool) -> Tensor:
    """ReLU, after instance norm if `normalized`."""
    return torch.relu(instance_norm(features) if normalized else features)


def reflect(features: Tensor, amount: int) -> Tensor:
    """Mirrors all four sides by `amount` pixels."""
    return functional.pad(features, (amount, amount, amount, amount), mode="reflect")


def blur_down(features: Tensor) -> Tensor:
    """Every second pixel after the binomial filter 1 2 1 (Zhang, arXiv:1904.11486)."""
    # 1 2 1 is 1 1 convolved with 1 1, and the second average can do the sampling.
    averaged = functional.avg_pool2d(reflect(features, 1), 2, stride=1)
    return functional.avg_pool2d(averaged, 2, stride=2)


def blur_up(features: Tensor) -> Tensor:
    """Doubles the size with the filter 1 3 3 1, which is bilinear interpolation."""
    return functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def instance_norm(features: Tensor) -> Tensor:
    """Without parameters. Flat features become exactly 0, without amplified rounding errors."""
    return functional.instance_norm(features - features[..., :1, :1])
