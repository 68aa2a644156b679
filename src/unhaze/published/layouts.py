"""Layouts: names and shapes of tensors in published checkpoints that differ from those here."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


def same_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape; a single number, which is () here, is (1,) in all published files."""
    return shape or (1,)


def reshaped(stored: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Returns the stored numbers in another shape and the same order."""
    return stored.reshape(shape)


@dataclass(frozen=True)
class Layout:
    """One layout of the published weights of a network.

    renames: (pattern, replacement), applied in order to a name here, give the published one.
    aliases: the same from other published names to those. stored_shape, arrange: shape here ->
    published shape; published tensor, shape here -> tensor here.
    """

    title: str
    renames: tuple[tuple[str, str], ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    stored_shape: Callable[[tuple[int, ...]], tuple[int, ...]] = same_shape
    arrange: Callable[[Tensor, tuple[int, ...]], Tensor] = reshaped


def replaced(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    """Returns `name` after all replacements, applied in order."""
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


OWN = Layout("its own names")

# Entries that belong to no layer: counters of batch norms and of a common profiler.
UNUSED = r"(^|\.)(num_batches_tracked|total_ops|total_params)$"


def flattened(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Maps kernels (O,I,k,k) to (I,k*k,O), or (I,k*k) for one output; biases (O,) to (O,1)."""
    if len(shape) == 1:
        return (*shape, 1)
    outputs, inputs, height, width = shape
    return (inputs, height * width) if outputs == 1 else (inputs, height * width, outputs)


def column_major(stored: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Maps (I,k*k,O), with pixels of a kernel in MATLAB's column order, to (O,I,k,k)."""
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

# FFA-Net's feature attention block, which AECR-Net adopted with its names.
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

# The authors count from the finest level, this project in the order of use.
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
