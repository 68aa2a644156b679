"""How the published checkpoints name and store what our networks hold under other names."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


def same_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A single number, which is () here, is stored as (1,) by all that was published."""
    return shape or (1,)


def reshaped(stored: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The stored numbers, in the same order."""
    return stored.reshape(shape)


@dataclass(frozen=True)
class Layout:
    """One way in which weights of a network are published.

    renames: (pattern, replacement), applied in turn to our tensor's name, give the published one.
    aliases: the same from other published names to those.
    stored_shape, arrange: our shape -> the published shape; published tensor, our shape -> ours.
    """

    title: str
    renames: tuple[tuple[str, str], ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    stored_shape: Callable[[tuple[int, ...]], tuple[int, ...]] = same_shape
    arrange: Callable[[Tensor, tuple[int, ...]], Tensor] = reshaped


def replaced(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    """`name` after all replacements, one after the other."""
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


OWN = Layout("its own names")

# Entries that belong to no layer: counters of batch norms and of a popular profiler.
UNUSED = r"(^|\.)(num_batches_tracked|total_ops|total_params)$"


def flattened(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Kernels (O,I,k,k) -> (I,k*k,O), or (I,k*k) for one output; biases (O,) -> (O,1)."""
    if len(shape) == 1:
        return (*shape, 1)
    outputs, inputs, height, width = shape
    return (inputs, height * width) if outputs == 1 else (inputs, height * width, outputs)


def column_major(stored: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(I,k*k,O) with the pixels of a kernel column by column, as MATLAB counts -> (O,I,k,k)."""
    if len(shape) == 1:
        return stored.reshape(shape)
    outputs, inputs, height, width = shape
    kernels = stored.reshape(inputs, width, height, outputs)
    return kernels.permute(3, 0, 2, 1)


DEHAZENET = Layout(
    "dehaze.mat of the authors",
    renames=(
        (r"^features\.", "conv1."),
        (r"^mapping(\d)\.", r"conv\1x\1."),
        (r"^last\.", "ip."),
        (r"^(.+)\.weight$", r"weights_\1"),
        (r"^(.+)\.bias$", r"biases_\1"),
    ),
    stored_shape=flattened,
    arrange=column_major,
)

AODNET = Layout("the authors' Caffe model as arrays")
AODNET_PORT = Layout("PyTorch port by MayankSingal", renames=((r"^", "e_"),))

GRIDDEHAZENET = Layout(
    "state dictionary of the authors' code",
    renames=(
        (r"^first\.", "conv_in."),
        (r"^last\.", "conv_out."),
        (r"^attention$", "coefficient"),
        (r"^dense_", "rdb_"),
        (r"^across\.", "rdb_module."),
        (r"^down\.", "downsample_module."),
        (r"^up\.(\w+)\.conv1\.", r"upsample_module.\1.deconv."),
        (r"^up\.(\w+)\.conv2\.", r"upsample_module.\1.conv."),
        (r"\.convs\.(\d)\.", r".residual_dense_layers.\1.conv."),
        (r"\.squeeze\.", ".conv_1x1."),
    ),
)

# The feature attention block of FFA-Net, which AECR-Net took over with its names.
FA_BLOCK = (
    (r"\.channel_attention\.1\.", ".calayer.ca.0."),
    (r"\.channel_attention\.3\.", ".calayer.ca.2."),
    (r"\.pixel_attention\.", ".palayer.pa."),
)

FFANET = Layout(
    "checkpoint of the authors' code",
    renames=(
        *FA_BLOCK,
        (r"^first\.", "pre.0."),
        (r"^group(\d)\.", r"g\1.gp."),
        (r"^fusion_attention\.", "ca."),
        (r"^pixel_attention\.", "palayer.pa."),
        (r"^last\.", "post."),
    ),
)

AECR = Layout(
    "state dictionary of the authors' code",
    renames=(
        *FA_BLOCK,
        (r"^whitening\.running_whitening$", "deconv.running_deconv"),
        (r"^whitening\.(conv\.)?", "deconv."),
        (r"^(down1|up3)\.", r"\1.1."),
        (r"^(down2|down3|up1|up2)\.", r"\1.0."),
        (r"^fa_block\.", "block."),
        (r"^dfe\.offset_and_mask\.", "dcn_block.dcn.conv_offset_mask."),
        (r"^dfe\.", "dcn_block.dcn."),
        (r"^(mix\d)$", r"\1.w"),
    ),
    # The released NH-HAZE checkpoint numbers its two mixups 4 and 5.
    aliases=((r"^mix4\.", "mix1."), (r"^mix5\.", "mix2.")),
)

# Numbered from the finest level by the authors, in the order of their use by us.
MSBDN = Layout(
    "state dictionary of the authors' code",
    renames=(
        (r"\.activation\.", ".relu."),
        (r"\.conv([12])\.", r".conv\1.conv2d."),
        (r"^first\.", "conv_input.conv2d."),
        (r"^first_blocks\.", "dense0."),
        (r"^bottleneck\.", "dehaze.res"),
        (r"^last\.", "conv_output.conv2d."),
        (r"^(encoder\.\d\.fusion)\.away\.(\d)\.", r"\1.up_convs.\2."),
        (r"^(encoder\.\d\.fusion)\.back\.(\d)\.", r"\1.down_convs.\2."),
        (r"^(decoder\.\d\.fusion)\.away\.(\d)\.", r"\1.down_convs.\2."),
        (r"^(decoder\.\d\.fusion)\.back\.(\d)\.", r"\1.up_convs.\2."),
        (r"\.up_convs\.(\d)\.0\.", r".up_convs.\1.deconv."),
        (r"\.down_convs\.(\d)\.0\.", r".down_convs.\1.conv."),
        (r"convs\.(\d)\.1\.", r"convs.\1.act."),
        *(
            rename
            for level in range(4)
            for rename in (
                (rf"^encoder\.{level}\.down\.", f"conv{2 ** (level + 1)}x.conv2d."),
                (rf"^encoder\.{level}\.blocks\.", f"dense{level + 1}."),
                (rf"^encoder\.{level}\.fusion\.", f"fusion{level + 1}."),
                (rf"^decoder\.{level}\.up\.", f"convd{2 ** (4 - level)}x.conv2d."),
                (rf"^decoder\.{level}\.blocks\.", f"dense_{4 - level}."),
                (rf"^decoder\.{level}\.fusion\.", f"fusion_{4 - level}."),
            )
        ),
    ),
)

LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "aecr": (AECR,),
    "dehazenet": (DEHAZENET,),
    "aodnet": (AODNET, AODNET_PORT),
    "griddehazenet": (GRIDDEHAZENET,),
    "ffanet": (FFANET,),
    "msbdn": (MSBDN,),
}
