"""Published layouts: a random checkpoint in the authors' names gives the authors' function.

Each reference below is the network written once more, in functional form, over the names and
shapes of the published state dictionary. Names: the authors' repositories.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unhaze.nets import NETS
from unhaze.published import import_weights
from unhaze.weights import load_weights

Names = dict[str, tuple[int, ...]]
State = dict[str, Tensor]


def conv_names(name: str, inputs: int, outputs: int, size: int) -> Names:
    return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}


def up_names(name: str, inputs: int, outputs: int, size: int) -> Names:
    return {f"{name}.weight": (inputs, outputs, size, size), f"{name}.bias": (outputs,)}


def conv(state: State, name: str, maps: Tensor, stride: int = 1, padding: int | None = None):
    weight = state[f"{name}.weight"]
    padding = weight.shape[-1] // 2 if padding is None else padding
    return functional.conv2d(maps, weight, state[f"{name}.bias"], stride, padding)


def up(state: State, name: str, maps: Tensor, padding: int, output_padding: int = 0) -> Tensor:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return functional.conv_transpose2d(maps, weight, bias, 2, padding, output_padding)


def attention_names(name: str, width: int) -> Names:
    """A feature attention block."""
    names = conv_names(f"{name}.conv1", width, width, 3) | conv_names(
        f"{name}.conv2", width, width, 3
    )
    names |= conv_names(f"{name}.calayer.ca.0", width, width // 8, 1)
    names |= conv_names(f"{name}.calayer.ca.2", width // 8, width, 1)
    return names | pixel_names(f"{name}.palayer", width)


def pixel_names(name: str, width: int) -> Names:
    return conv_names(f"{name}.pa.0", width, width // 8, 1) | conv_names(
        f"{name}.pa.2", width // 8, 1, 1
    )


def gate(state: State, first: str, second: str, maps: Tensor) -> Tensor:
    return torch.sigmoid(conv(state, second, conv(state, first, maps).relu()))


def attention(state: State, name: str, maps: Tensor) -> Tensor:
    inner = conv(state, f"{name}.conv1", maps).relu() + maps
    inner = conv(state, f"{name}.conv2", inner)
    pooled = inner.mean((2, 3), keepdim=True)
    inner = inner * gate(state, f"{name}.calayer.ca.0", f"{name}.calayer.ca.2", pooled)
    return inner * gate(state, f"{name}.palayer.pa.0", f"{name}.palayer.pa.2", inner) + maps


def ffanet_names(width: int = 64, blocks: int = 19) -> Names:
    names = conv_names("pre.0", 3, width, 3)
    for group in ("g1", "g2", "g3"):
        for block in range(blocks):
            names |= attention_names(f"{group}.gp.{block}", width)
        names |= conv_names(f"{group}.gp.{blocks}", width, width, 3)
    names |= conv_names("ca.1", 3 * width, width // 16, 1)
    names |= conv_names("ca.3", width // 16, 3 * width, 1)
    names |= pixel_names("palayer", width)
    return names | conv_names("post.0", width, width, 3) | conv_names("post.1", width, 3, 3)


def ffanet(state: State, hazy: Tensor) -> Tensor:
    mean = torch.tensor([0.64, 0.60, 0.58]).view(1, 3, 1, 1)
    normalised = (hazy - mean) / torch.tensor([0.14, 0.15, 0.152]).view(1, 3, 1, 1)
    maps = conv(state, "pre.0", normalised)
    results = []
    for group in ("g1", "g2", "g3"):
        inner = attention(state, f"{group}.gp.1", attention(state, f"{group}.gp.0", maps))
        maps = maps + conv(state, f"{group}.gp.2", inner)
        results.append(maps)
    together = torch.cat(results, 1)
    shares = gate(state, "ca.1", "ca.3", together.mean((2, 3), keepdim=True))
    fused = (shares * together).unflatten(1, (3, -1)).sum(1)
    fused = fused * gate(state, "palayer.pa.0", "palayer.pa.2", fused)
    return conv(state, "post.1", conv(state, "post.0", fused)) + normalised


def dense_names(name: str, width: int, growth: int) -> Names:
    names = {}
    for layer in range(4):
        layer_name = f"{name}.residual_dense_layers.{layer}.conv"
        names |= conv_names(layer_name, width + layer * growth, growth, 3)
    return names | conv_names(f"{name}.conv_1x1", width + 4 * growth, width, 1)


def dense(state: State, name: str, maps: Tensor) -> Tensor:
    gathered = maps
    for layer in range(4):
        new = conv(state, f"{name}.residual_dense_layers.{layer}.conv", gathered).relu()
        gathered = torch.cat([gathered, new], 1)
    return conv(state, f"{name}.conv_1x1", gathered) + maps


def griddehazenet_names(width: int = 16, growth: int = 16) -> Names:
    names = {"coefficient": (3, 6, 2, 4 * width)}
    names |= conv_names("conv_in", 3, width, 3) | conv_names("conv_out", width, 3, 3)
    names |= dense_names("rdb_in", width, growth) | dense_names("rdb_out", width, growth)
    for row in range(3):
        wide = width * 2**row
        for column in range(5):
            names |= dense_names(f"rdb_module.{row}_{column}", wide, growth)
        for column in range(3) if row < 2 else ():
            names |= conv_names(f"downsample_module.{row}_{column}.conv1", wide, wide, 3)
            names |= conv_names(f"downsample_module.{row}_{column}.conv2", wide, 2 * wide, 3)
            key = f"upsample_module.{row}_{column + 3}"
            names |= up_names(f"{key}.deconv", 2 * wide, 2 * wide, 3)
            names |= conv_names(f"{key}.conv", 2 * wide, wide, 3)
    return names


def griddehazenet(state: State, hazy: Tensor) -> Tensor:
    """Row by row on the left, then row by row upwards on the right."""

    def right(row: int, column: int) -> Tensor:
        return dense(state, f"rdb_module.{row}_{column - 1}", grid[row, column - 1])

    def down(row: int, column: int) -> Tensor:
        name = f"downsample_module.{row - 1}_{column}"
        halved = conv(state, f"{name}.conv1", grid[row - 1, column], stride=2).relu()
        return conv(state, f"{name}.conv2", halved).relu()

    def rise(row: int, column: int) -> Tensor:
        name = f"upsample_module.{row}_{column}"
        doubled = up(state, f"{name}.deconv", grid[row + 1, column], 1, 1).relu()
        return conv(state, f"{name}.conv", doubled).relu()

    def mixed(row: int, column: int, other: Tensor) -> Tensor:
        alpha, beta = state["coefficient"][row, column, :, : other.shape[1]].unbind(0)
        return alpha.view(1, -1, 1, 1) * right(row, column) + beta.view(1, -1, 1, 1) * other

    grid = {(0, 0): dense(state, "rdb_in", conv(state, "conv_in", (hazy - 0.5) / 0.5))}
    grid[0, 1] = right(0, 1)
    grid[0, 2] = right(0, 2)
    for row in (1, 2):
        grid[row, 0] = down(row, 0)
        grid[row, 1] = mixed(row, 1, down(row, 1))
        grid[row, 2] = mixed(row, 2, down(row, 2))
    for column in (3, 4, 5):
        grid[2, column] = right(2, column)
    for row in (1, 0):
        for column in (3, 4, 5):
            grid[row, column] = mixed(row, column, rise(row, column))
    return conv(state, "conv_out", dense(state, "rdb_out", grid[0, 5])).relu()


def aecr_names(width: int = 64) -> Names:
    names = conv_names("deconv", 3, 3, 3)
    names |= {"deconv.running_mean": (27,), "deconv.running_deconv": (27, 27)}
    names |= conv_names("down1.1", 3, width, 7)
    names |= conv_names("down2.0", width, 2 * width, 3)
    names |= conv_names("down3.0", 2 * width, 4 * width, 3)
    names |= attention_names("block", 4 * width)
    names |= conv_names("dcn_block.dcn", 4 * width, 4 * width, 3)
    names |= conv_names("dcn_block.dcn.conv_offset_mask", 4 * width, 27, 3)
    names |= up_names("up1.0", 4 * width, 2 * width, 3) | up_names("up2.0", 2 * width, width, 3)
    return names | conv_names("up3.1", width, 3, 7) | {"mix1.w": (1,), "mix2.w": (1,)}


def aecr(state: State, hazy: Tensor) -> Tensor:
    """For a checkpoint whose deformable convolution has no offsets, only its mask."""

    def seven(name: str, maps: Tensor) -> Tensor:
        return conv(state, name, functional.pad(maps, (3, 3, 3, 3), mode="reflect"), padding=0)

    def deformed(maps: Tensor) -> Tensor:
        name = "dcn_block.dcn"
        mask = torch.sigmoid(conv(state, f"{name}.conv_offset_mask", maps)[:, 18:])
        patches = functional.unfold(maps, 3, padding=1).unflatten(1, (maps.shape[1], 9))
        patches = patches * mask.flatten(2)[:, None]
        flat = state[f"{name}.weight"].flatten(1) @ patches.flatten(1, 2)
        return flat.unflatten(2, maps.shape[2:]) + state[f"{name}.bias"].view(1, -1, 1, 1)

    whitened = state["deconv.weight"].flatten(1) @ state["deconv.running_deconv"]
    bias = state["deconv.bias"] - whitened @ state["deconv.running_mean"]
    first = functional.conv2d(hazy, whitened.view(3, 3, 3, 3), bias, padding=1)
    down1 = seven("down1.1", first).relu()
    down2 = conv(state, "down2.0", down1, stride=2).relu()
    maps = down3 = conv(state, "down3.0", down2, stride=2).relu()
    for _ in range(6):
        maps = attention(state, "block", maps)
    share1, share2 = state["mix1.w"].sigmoid(), state["mix2.w"].sigmoid()
    maps = share1 * down3 + (1 - share1) * deformed(deformed(maps))
    maps = share2 * down2 + (1 - share2) * up(state, "up1.0", maps, 1, 1).relu()
    return seven("up3.1", up(state, "up2.0", maps, 1, 1).relu()).tanh()


def without_offsets(state: State) -> State:
    """Zero offsets and bias, so that the reference needs no sampling between pixels."""
    weight, bias = (state[f"dcn_block.dcn.conv_offset_mask.{part}"] for part in ("weight", "bias"))
    weight[:18], bias[:18] = 0, 0
    return state


def residual_names(name: str, width: int) -> Names:
    names = conv_names(f"{name}.conv1.conv2d", width, width, 3) | {f"{name}.relu.weight": (1,)}
    return names | conv_names(f"{name}.conv2.conv2d", width, width, 3)


def fusion_names(name: str, width: int, count: int, growing: bool) -> Names:
    """`count` steps away from a level of `width` channels, which grow (decoder) or shrink."""
    names = {}
    for step in range(count):
        near = width * 2**step if growing else width // 2**step
        far = 2 * near if growing else near // 2
        fine, coarse = (near, far) if growing else (far, near)
        names |= up_names(f"{name}.up_convs.{step}.deconv", coarse, fine, 4)
        names |= conv_names(f"{name}.down_convs.{step}.conv", fine, coarse, 4)
        names |= {f"{name}.{way}_convs.{step}.act.weight": (1,) for way in ("up", "down")}
    return names


def msbdn_names(width: int = 16, bottleneck: int = 18) -> Names:
    names = conv_names("conv_input.conv2d", 3, width, 11)
    names |= conv_names("conv_output.conv2d", width, 3, 3)
    for block in range(bottleneck):
        names |= residual_names(f"dehaze.res{block}", 16 * width)
    for level in range(5):
        wide = width * 2**level
        for block in range(3) if level < 4 else ():
            names |= residual_names(f"dense{level}.{block}", wide)
            names |= residual_names(f"dense_{level + 1}.{block}", wide)
        if level:
            names |= conv_names(f"conv{2**level}x.conv2d", wide // 2, wide, 3)
            names |= up_names(f"convd{2**level}x.conv2d", wide, wide // 2, 3)
            names |= fusion_names(f"fusion{level}", wide, level, False)
            names |= fusion_names(f"fusion_{level}", wide // 2, 5 - level, True)
    return names


def msbdn(state: State, hazy: Tensor) -> Tensor:
    def reflected(name: str, maps: Tensor, stride: int = 1) -> Tensor:
        side = state[f"{name}.conv2d.weight"].shape[-1] // 2
        padded = functional.pad(maps, (side,) * 4, mode="reflect")
        return conv(state, f"{name}.conv2d", padded, stride, 0)

    def residual(name: str, maps: Tensor) -> Tensor:
        inner = functional.prelu(reflected(f"{name}.conv1", maps), state[f"{name}.relu.weight"])
        return maps + 0.1 * reflected(f"{name}.conv2", inner)

    def three(name: str, maps: Tensor) -> Tensor:
        for block in range(3):
            maps = residual(f"{name}.{block}", maps)
        return maps

    def step(name: str, way: str, index: int, maps: Tensor) -> Tensor:
        name = f"{name}.{way}_convs.{index}"
        if way == "up":
            scaled = up(state, f"{name}.deconv", maps, 1)
        else:
            scaled = conv(state, f"{name}.conv", maps, 2, 1)
        return functional.prelu(scaled, state[f"{name}.act.weight"])

    def fuse(name: str, maps: Tensor, memory: list[Tensor], away: str, back: str) -> Tensor:
        for place, remembered in enumerate(memory):
            error = maps
            for index in range(len(memory) - place):
                error = step(name, away, index, error)
            error = error - remembered
            for index in reversed(range(len(memory) - place)):
                error = step(name, back, index, error)
            maps = maps + error
        return maps

    maps = reflected("conv_input", hazy)
    memory = [maps]
    skips = [maps := three("dense0", maps) + maps]
    for level in (1, 2, 3, 4):
        halved = reflected(f"conv{2**level}x", maps, 2)
        maps = fuse(f"fusion{level}", halved, memory, "up", "down")
        memory.append(maps)
        maps = maps if level == 4 else three(f"dense{level}", maps) + maps
        skips.append(maps)
    inner = 2 * maps
    for block in range(2):
        inner = residual(f"dehaze.res{block}", inner)
    maps = inner + 2 * maps - maps
    memory = [maps]
    for level in (4, 3, 2, 1):
        skip = skips[level - 1]
        doubled = up(state, f"convd{2**level}x.conv2d", maps, 0)
        doubled = functional.interpolate(doubled, skip.shape[2:], mode="bilinear")
        strong = doubled + skip
        maps = three(f"dense_{level}", strong) + strong - doubled
        maps = fuse(f"fusion_{level}", maps, memory, "down", "up")
        memory.append(maps)
    return reflected("conv_output", maps)


# Network: its names, arguments of a small one here and there, its function, what suits it.
Function = Callable[[State, Tensor], Tensor]
REFERENCES: dict[str, tuple[Callable[..., Names], dict, dict, Function]] = {
    "ffanet": (ffanet_names, {"width": 32, "blocks": 2}, {"width": 32, "blocks": 2}, ffanet),
    "griddehazenet": (
        griddehazenet_names,
        {"width": 4, "growth": 3},
        {"width": 4, "growth": 3},
        griddehazenet,
    ),
    "aecr": (aecr_names, {"width": 8}, {"width": 8}, aecr),
    "msbdn": (
        msbdn_names,
        {"width": 2, "bottleneck": 2},
        {"width": 2, "bottleneck_blocks": 2},
        msbdn,
    ),
}


def random_state(names: Names) -> State:
    random = torch.Generator().manual_seed(8)
    return {
        name: torch.randn(shape, generator=random) / max(1, shape[1:].numel()) ** 0.5
        for name, shape in ((name, torch.Size(shape)) for name, shape in names.items())
    }


@pytest.mark.parametrize("name", REFERENCES)
def test_the_import_computes_what_the_published_network_computes(name, tmp_path, monkeypatch):
    names, published, own, function = REFERENCES[name]
    state = random_state(names(**published))
    if name == "aecr":
        state = without_offsets(state)
    monkeypatch.setitem(NETS, name, replace(NETS[name], presets={"small": own}))
    torch.save(
        {"epoch": 3, "model": {f"module.{key}": each for key, each in state.items()}},
        tmp_path / "best.pk",
    )
    report = import_weights(tmp_path / "best.pk", tmp_path / "own.safetensors", net=name)
    assert (report.preset, report.unused) == ("small", ())
    hazy = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = function(state, hazy)
        restored = load_weights(tmp_path / "own.safetensors").net(hazy)
    assert expected.std() > 1e-3
    torch.testing.assert_close(restored, expected, rtol=1e-4, atol=1e-4 * expected.std().item())


@pytest.mark.parametrize(
    "names, count",
    [
        (ffanet_names(), 4_455_913),
        (ffanet_names(blocks=20), 4_682_356),
        (griddehazenet_names(), 958_051),
        (aecr_names(), 2_614_229 + 27 + 27 * 27),  # running statistics are no parameters
        (msbdn_names(), 31_353_061),
    ],
)
def test_the_references_have_the_published_counts(names, count):
    assert sum(torch.Size(shape).numel() for shape in names.values()) == count
