"""`python -m benchmarks.train`: training steps a second, and the share of the machine's peak.

The step of a recipe, forwards, losses, backwards, optimizer and averaging, on a batch that is drawn
before: eager float32 as a straightforward loop would do it, then with channels last, compiled, in
bf16, and all of these. The peak is what a large matrix product reaches in the same process and
precision, or what `--peak-tflops` says; that of convolutions is what one of 256 channels reaches,
forwards. On a GPU where there is one. Two minutes on two cores. `--aecr`: AECR-Net at its published
size, crops of 128, batch 8, without and with contrastive regularization, the deformable convolution
tap by tap and the others as PyTorch has them ("before"), and by the CPU's kernels; four minutes.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, Row, repeated, table, write_record
from benchmarks.rows import given_options, row_alone, with_ratios
from unhaze.restore.resources import usable_cores

# By name: precision, layout, compilation.
WAYS = {
    "eager float32": ("32-true", False, "none"),
    "channels-last": ("32-true", True, "none"),
    "compiled": ("32-true", False, "default"),
    "bf16": ("bf16-mixed", False, "none"),
    "compiled bf16 channels-last": ("bf16-mixed", True, "default"),
    "the same with CUDA graphs": ("bf16-mixed", True, "reduce-overhead"),
}
# Of `--aecr`: whether the kernels serve, and torch.compile's mode.
AECR_WAYS = {
    "eager, tap by tap": (False, "none"),
    "eager, kernels": (True, "none"),
    "compiled, tap by tap": (False, "default"),
    "compiled, kernels": (True, "default"),
}
AECR = ["net.preset=code", "net.width=64", "net.fa_blocks=6", "augment.crop=128"]
AECR += ["augment.scale=[1.1, 1.1]", "schedule.batch=8"]
CR = ["losses.contrastive.weight=0.1", "losses.contrastive.weights=random"]
SQUARE = {"cpu": 2048, "cuda": 8192}  # side of the matrices that show the peak
BACKWARD = 3  # a step takes the multiplications of a forward pass three times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "tiny_paired.toml")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--ways", nargs="+", choices=[*WAYS, *AECR_WAYS])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--peak-tflops", type=float, help="of the device, in bf16 and float32")
    parser.add_argument("--aecr", action="store_true", help="AECR-Net at its published size")
    given = given_options(parser, measure)
    threads = given.threads or usable_cores()
    task = {"recipe": str(given.recipe), "changes": given.changes, "steps": given.steps}
    task |= {"threads": threads, "peak": given.peak_tflops}
    if given.aecr:
        rows = aecr_rows(task, [way for way in AECR_WAYS if way in (given.ways or AECR_WAYS)])
    else:
        ways = given.ways or WAYS
        rows = [{"way": way} | row_alone("benchmarks.train", task | {"way": way}) for way in ways]
        rows = with_ratios(rows, "ms", lambda row: row["way"] == "eager float32")
    print(table(rows))
    numbers: Row = {"recipe": given.recipe.name, "changes": given.changes, "steps": given.steps}
    numbers |= {"rows": rows, "threads": threads, "load_before": given.load_before}
    name = "benchmark-train-aecr.json" if given.aecr else "benchmark-train.json"
    write_record(given.result or ROOT / "results" / name, "train", numbers)


def aecr_rows(task: Row, ways: list[str]) -> list[Row]:
    """Both losses in each way; the ratio is to the first way of the same losses."""
    rows = []
    for losses, changes in (("L1", []), ("L1 + 0.1 CR", CR)):
        some = []
        for way in ways:
            asked = task | {"way": way, "changes": [*AECR, *changes, *task["changes"]]}
            some.append({"losses": losses, "way": way} | row_alone("benchmarks.train", asked))
        rows += with_ratios(some, "ms", lambda row: row["way"] == ways[0])
    return of_one_peak(rows)


def of_one_peak(rows: list[Row]) -> list[Row]:
    """The largest peak measured counts for all rows: other programs can only make it smaller."""
    peak = max(row["peak_tflops"] for row in rows)
    return [
        row | {"peak_tflops": peak, "share_of_peak": round(row["tflops"] / peak, 3)} for row in rows
    ]


def measure(row: Row) -> Row:
    """In the process of its own: one way to train."""
    import torch

    from unhaze.convolution import layers
    from unhaze.exporting.facts import count_macs
    from unhaze.nets import create_net, deform_conv

    torch.set_num_threads(row["threads"])
    if row["way"] in AECR_WAYS:
        kernels, mode = AECR_WAYS[row["way"]]
        way = ("bf16-mixed", True, mode)
        if not kernels:
            deform_conv.built = lambda: False
            layers.usable = lambda features: False
    else:
        way = WAYS[row["way"]]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and way[2] == "reduce-overhead":
        return {"ms": None, "device": device, "skipped": "CUDA graphs need a GPU"}
    recipe = read_recipe(row, way)
    step = one_step(recipe)
    step()  # compiles
    times = repeated(step, row["steps"], patience=30)
    crop, batch = recipe.augment.crop, recipe.schedule.batch
    net = create_net(recipe.net.name, **recipe.net.arguments).eval()
    flops = 2 * BACKWARD * count_macs(net, crop, crop) * batch
    peak = (row["peak"] or peak_tflops(device, way[0])) * 1e12
    rates = {
        "steps_per_second": round(1 / times.seconds, 3),
        "crops_per_second": round(batch / times.seconds, 2),
        "tflops": round(flops / times.seconds / 1e12, 4),
        "peak_tflops": round(peak / 1e12, 3),
        "share_of_peak": round(flops / times.seconds / peak, 3),
        "share_of_convolutions": round(
            flops / times.seconds / convolution_flops(device, way[0]), 3
        ),
    }
    memory = {}
    if device == "cuda":
        memory = {"device_mb": round(torch.cuda.max_memory_allocated() / 1e6, 1)}
    return times.facts() | rates | memory | {"device": device}


def read_recipe(row: Row, way: tuple[str, bool, str]) -> Any:
    """The recipe with the changes and the way's hardware."""
    from unhaze.config import load_config

    recipe = load_config(Path(row["recipe"]), row["changes"])
    precision, channels_last, mode = way
    hardware = dataclasses.replace(
        recipe.hardware, precision=precision, channels_last=channels_last, compile=mode
    )
    return dataclasses.replace(recipe, hardware=hardware)


def one_step(recipe: Any) -> Any:
    """What `unhaze train` does in a step, on one batch."""
    import torch

    from unhaze.data.build import create_data
    from unhaze.nets import create_net
    from unhaze.restore.resources import keep_freed_memory
    from unhaze.training import build_method, make_fabric
    from unhaze.training.steps import average, batches_from

    keep_freed_memory()
    fabric = make_fabric(recipe)
    torch.set_float32_matmul_precision("highest" if "32" in recipe.hardware.precision else "high")
    torch.manual_seed(recipe.seed)
    net = create_net(recipe.net.name, **recipe.net.arguments)
    method, ema, _ = build_method(recipe, fabric, net)
    batches = next(batches_from(recipe, fabric, create_data(recipe.data), 0))

    def step() -> None:
        method.step(batches, recipe.optimizer.lr)
        average(ema, method.networks["restorer"], recipe.schedule.ema, 1000)
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def convolution_flops(device: str, precision: str) -> float:
    """Operations a second of a 3x3 convolution of 256 channels, channels last, forwards."""
    import torch

    kind = torch.bfloat16 if precision.startswith("bf16") else torch.float32
    layer = torch.nn.Conv2d(256, 256, 3, padding=1, bias=False, device=device, dtype=kind)
    layer = layer.to(memory_format=torch.channels_last)
    features = torch.randn(8, 256, 32, 32, device=device, dtype=kind)
    features = features.to(memory_format=torch.channels_last)

    def pass_once() -> None:
        layer(features)
        if device == "cuda":
            torch.cuda.synchronize()

    with torch.no_grad():
        seconds = repeated(pass_once, 20, patience=5).seconds
    return 2 * 9 * 256 * 256 * 8 * 32 * 32 / seconds


def peak_tflops(device: str, precision: str) -> float:
    """What a large matrix product reaches here in that precision."""
    import torch

    side = SQUARE[device]
    kind = torch.bfloat16 if precision.startswith("bf16") else torch.float32
    factor = torch.randn(side, side, device=device).to(kind)

    def product() -> None:
        factor @ factor
        if device == "cuda":
            torch.cuda.synchronize()

    with torch.no_grad():
        seconds = repeated(product, 5, patience=5).seconds
    return 2 * side**3 / seconds / 1e12


if __name__ == "__main__":
    main()
