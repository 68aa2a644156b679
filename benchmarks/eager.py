"""The peer: AECR-Net as its paper has it, in eager PyTorch, on the whole picture at full size.

`python -m benchmarks.eager PHOTO RESULT [--threads N]` prints the seconds of the network alone.
Its weights are random, which changes no time.
"""

import argparse
import time
from pathlib import Path

import torch

from unhaze import create_net, photo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    net = create_net("aecr", preset="paper").eval()
    pixels = photo.read_rgb(given.photo)
    hazy = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        start = time.perf_counter()
        restored = net(hazy)
        seconds = time.perf_counter() - start
    restored_hwc_u8 = (restored[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    photo.write_rgb(given.result, restored_hwc_u8)
    print(seconds)


if __name__ == "__main__":
    main()
