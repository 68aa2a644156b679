"""Ships the weights of a run of AECR-Net: weights/, ONNX, card, result and curve, in one command.

`make ship-aecr RUN=runs/aecr STEP=9000 PICTURES=data/sots-indoor-part` and, when it is done, the
prose: `budget` and `limits` of the card, and docs/training-log.md. STEP counts all runs before.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import onnx

from unhaze.config import Part
from unhaze.data.catalog import find_pairs
from unhaze.evaluation import evaluate, sha256, write_result
from unhaze.exporting import export
from unhaze.weights import load_weights, save_weights

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "weights" / "aecr.safetensors"
MODEL = ROOT / "src" / "unhaze" / "models" / "aecr.onnx"
CARDS = MODEL.with_name("models.toml")
RESULT = ROOT / "results" / "sots-indoor-part-aecr-aecr.json"
CURVE = ROOT / "docs" / "images" / "aecr-curve.png"
MEASURED = "PSNR in dB on 80 SOTS-indoor pictures, protocol aecr"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder; its newest averaged weights are taken")
    parser.add_argument("--step", type=int, required=True, help="optimizer steps of all runs")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of hazy/ and clear/")
    given = parser.parse_args()
    write_weights(given.run, given.step)
    export(WEIGHTS, MODEL, half=True, overwrite=True)
    facts = {each.key: each.value for each in onnx.load(MODEL).metadata_props}
    cost = {key: facts[key] for key in ("params", "macs_per_pixel")}
    change_card(sha256=f'"{sha256([MODEL])}"', **cost)
    folders = {name: str((given.pictures / name).absolute()) for name in ("hazy", "clear")}
    evaluation = evaluate("aecr", find_pairs("folders", ".", **folders), progress=True)
    write_result(evaluation, RESULT, data=given.pictures.absolute().name, overwrite=True)
    ssim = f'"SSIM on the same pictures" = {evaluation.ssim:.4f}'
    numbers = f'"{MEASURED}" = {evaluation.psnr:.2f}, {ssim}'
    change_card(measured=f"{{ {numbers} }}")
    plot = [sys.executable, str(ROOT / "tools" / "plot_run.py"), str(given.run), "-o", str(CURVE)]
    subprocess.run(plot, check=True)
    print(f"{evaluation.images} pictures: {evaluation.psnr:.2f} dB, SSIM {evaluation.ssim:.4f}")


def write_weights(run: Path, step: int) -> None:
    """WEIGHTS in float16 but for the whitening, whose statistics do not bear it."""
    net = load_weights(run).net
    for name, child in net.named_children():
        if name != "whitening":
            child.half()
    for tensor in net.parameters(recurse=False):
        tensor.data = tensor.data.half()
    save_weights(WEIGHTS, net, Part("aecr", {"preset": "code"}), step=step)


def change_card(**values: str) -> None:
    """Replaces lines of `[aecr]` in the cards."""
    before, heading, rest = CARDS.read_text(encoding="utf-8").partition("[aecr]\n")
    card, gap, after = rest.partition("\n\n")
    for key, value in values.items():
        card, found = re.subn(rf"(?m)^{key} = .*$", lambda _, k=key, v=value: f"{k} = {v}", card)
        if found != 1:
            raise SystemExit(f"{CARDS}: [aecr] has {found} lines of '{key}'; expected one")
    CARDS.write_text(before + heading + card + gap + after, encoding="utf-8")


if __name__ == "__main__":
    main()
