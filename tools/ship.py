"""Ships the weights of a run as a model: weights/, ONNX, card, result and curve, in one command.

`make ship MODEL=aecr RUN=runs/aecr STEP=9000 PICTURES=data/sots-indoor-part`, with a card of this
name in models.toml, and, when it is done, the prose: `budget` and `limits` of the card, and
docs/training-log.md. STEP counts all runs before.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import onnx

from unhaze.config import Part
from unhaze.data.catalog import find_pairs
from unhaze.evaluation import evaluate, sha256, write_result
from unhaze.exporting import export
from unhaze.weights import load_weights, save_weights

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "src" / "unhaze" / "models"
CARDS = MODELS / "models.toml"
STATISTICS = ("whitening", "exposure")  # layers that float16 does not suit
MEASURED = "PSNR in dB on 80 SOTS-indoor pictures, protocol aecr"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="name of its card")
    parser.add_argument("run", type=Path, help="run folder; its newest averaged weights are taken")
    parser.add_argument("--step", type=int, required=True, help="optimizer steps of all runs")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of hazy/ and clear/")
    given = parser.parse_args()
    weights, model = ROOT / "weights" / f"{given.model}.safetensors", MODELS / f"{given.model}.onnx"
    card = tomllib.loads(CARDS.read_text(encoding="utf-8"))[given.model]
    write_weights(given.run, weights, Part(card["net"], card["arguments"]), given.step)
    export(weights, model, half=True, overwrite=True)
    facts = {each.key: each.value for each in onnx.load(model).metadata_props}
    cost = {key: facts[key] for key in ("params", "macs_per_pixel")}
    change_card(given.model, sha256=f'"{sha256([model])}"', **cost)
    folders = {name: str((given.pictures / name).absolute()) for name in ("hazy", "clear")}
    evaluation = evaluate(given.model, find_pairs("folders", ".", **folders), progress=True)
    result = ROOT / "results" / f"sots-indoor-part-{given.model}-aecr.json"
    write_result(evaluation, result, data=given.pictures.absolute().name, overwrite=True)
    ssim = f'"SSIM on the same pictures" = {evaluation.ssim:.4f}'
    numbers = f'"{MEASURED}" = {evaluation.psnr:.2f}, {ssim}'
    change_card(given.model, measured=f"{{ {numbers} }}")
    curve = ROOT / "docs" / "images" / f"{given.model}-curve.png"
    plot = [sys.executable, str(ROOT / "tools" / "plot_run.py"), str(given.run), "-o", str(curve)]
    subprocess.run(plot, check=True)
    print(f"{evaluation.images} pictures: {evaluation.psnr:.2f} dB, SSIM {evaluation.ssim:.4f}")


def write_weights(run: Path, target: Path, part: Part, step: int) -> None:
    """`target` in float16 but for layers that hold statistics."""
    net = load_weights(run).net
    for name, child in net.named_children():
        if name not in STATISTICS:
            child.half()
    for tensor in net.parameters(recurse=False):
        tensor.data = tensor.data.half()
    save_weights(target, net, part, step=step)


def change_card(model: str, **values: str) -> None:
    """Replaces lines of the card of `model`."""
    before, heading, rest = CARDS.read_text(encoding="utf-8").partition(f"[{model}]\n")
    card, gap, after = rest.partition("\n\n")
    for key, value in values.items():
        card, found = re.subn(rf"(?m)^{key} = .*$", lambda _, k=key, v=value: f"{k} = {v}", card)
        if found != 1:
            raise SystemExit(f"{CARDS}: [{model}] has {found} lines of '{key}'; expected one")
    CARDS.write_text(before + heading + card + gap + after, encoding="utf-8")


if __name__ == "__main__":
    main()
