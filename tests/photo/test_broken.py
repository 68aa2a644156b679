"""Files of every format, cut off or with bits turned over: one line each, and nothing else."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips

from tests.photo.test_readers import dng, scene
from unhaze import photo
from unhaze.outputs import Output
from unhaze.photo import Photo

PIL = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")
pytest.importorskip("rawpy")
pytest.importorskip("OpenEXR")

CUTS = (0.02, 0.3, 0.6, 0.95)
FLIPS = 8
MOST_MEMORY = 1.5e9


def by_pillow(kind: str) -> bytes:
    file = io.BytesIO()
    PIL.fromarray(scene()).save(file, kind)
    return file.getvalue()


def flat_psd() -> bytes:
    """8 bits, RGB, without layers."""
    head = b"8BPS\0\1" + bytes(6) + b"\0\3" + np.array([96, 128], ">u4").tobytes() + b"\0\x08\0\3"
    return head + bytes(12) + b"\0\0" + scene().transpose(2, 0, 1).tobytes()


def animated(kind: str) -> bytes:
    file = io.BytesIO()
    first, second = (PIL.fromarray(each) for each in (scene(), scene()[::-1].copy()))
    first.save(file, kind, save_all=True, append_images=[second], duration=80)
    return file.getvalue()


def tiff(samples: np.ndarray, **settings: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **{"photometric": "rgb", "metadata": None} | settings)
    return file.getvalue()


def written(suffix: str, **output: object) -> bytes:
    return photo.encode(Photo(scene()), suffix, output=Output(**output))


SAMPLES: dict[str, Callable[[], bytes]] = {
    "jpg": lambda: written(".jpg"),
    "png": lambda: written(".png"),
    "tif": lambda: written(".tif"),
    "webp": lambda: written(".webp"),
    "avif": lambda: written(".avif"),
    "gif": lambda: written(".gif"),
    "jxl": lambda: written(".jxl"),
    "exr": lambda: written(".exr"),
    "dng": lambda: dng(scene() / 255.0, (2.0, 1.0, 1.5)),
    "bmp": lambda: by_pillow("bmp"),
    "tga": lambda: by_pillow("tga"),
    "jp2": lambda: imagecodecs.jpeg2k_encode(scene(), level=40),
    "qoi": lambda: imagecodecs.qoi_encode(scene()),
    "psd": flat_psd,
    "ppm": lambda: b"P6\n128 96\n255\n" + scene().tobytes(),
    "moving.png": lambda: animated("PNG"),
    "moving.webp": lambda: animated("WEBP"),
    "ycc.tif": lambda: tiff(scene(), photometric="ycbcr", compression="lzw"),
    "planes.tif": lambda: tiff(
        scene().transpose(2, 0, 1), photometric="minisblack", planarconfig="separate"
    ),
    "pfm": lambda: b"PF\n128 96\n-1.0\n" + (scene() / np.float32(255)).tobytes(),
}


def broken(whole: bytes, seed: int) -> dict[str, bytes]:
    """Cut off at some places; some bits of others, mostly of the header, turned over."""
    made = {f"cut-{share}": whole[: int(len(whole) * share)] for share in CUTS}
    random = np.random.default_rng(seed)
    for number in range(FLIPS):
        changed = bytearray(whole)
        reach = min(len(whole), 64 if number % 2 else 600)
        for at in random.integers(0, reach, 1 + number % 4):
            changed[at] ^= 1 << int(random.integers(0, 8))
        made[f"flip-{number}"] = bytes(changed)
    return made


def test_broken_files_of_every_format_end_in_one_line(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    names = []
    for seed, (kind, make) in enumerate(SAMPLES.items()):
        for name, data in broken(make(), seed).items():
            names.append(f"{name}-{kind}.{kind}")
            (folder / names[-1]).write_bytes(data)
    assert len(names) >= 190
    program = (
        "import sys\nfrom unhaze.cli import main\nstatus = main(sys.argv[1:])\n"
        # Not getrusage, whose peak begins with that of the parent.
        "facts = open('/proc/self/status').read().splitlines()\n"
        "peak = next(line.split()[1] for line in facts if line.startswith('VmHWM'))\n"
        "print('peak', peak, file=sys.stderr)\nsys.exit(status)"
    )
    command = [sys.executable, "-c", program, folder, "-o", tmp_path / "out", "--json"]
    command += ["--model", "dcp", "--analysis", "32", "--jobs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 1, done.stderr[-2000:]
    lines = done.stderr.strip().splitlines()
    assert not [line for line in lines if not line.startswith(("unhaze: ", "peak "))]
    assert int(lines[-1].split()[1]) * 1024 < MOST_MEMORY
    files = json.loads(done.stdout)["files"]
    assert sorted(Path(each["source"]).name for each in files) == sorted(names)
    for each in files:
        error = each["error"]
        assert (error is None) == (each["status"] == "done")
        if error is not None:
            assert Path(each["source"]).name in error and "\n" not in error
            assert "unexpected" not in error, error
    cut = [each for each in files if Path(each["source"]).name.startswith(("cut-0.02", "cut-0.3"))]
    assert all(each["status"] == "failed" for each in cut), [
        each["source"] for each in cut if each["status"] == "done"
    ]


def test_the_whole_files_are_read():
    for kind, make in SAMPLES.items():
        got = photo.read(make())
        assert got.pixels.shape == scene().shape, kind


def test_heic_that_is_cut_off_is_one_line(tmp_path):
    pytest.importorskip("pi_heif")
    png = pyvips.Image.new_from_array(scene()).copy(interpretation="srgb")
    png.write_to_file(str(tmp_path / "a.png"))
    try:
        subprocess.run(
            ["heif-enc", tmp_path / "a.png", "-o", tmp_path / "a.heic"], check=True, timeout=60
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("heif-enc is not installed, or has no encoder")
    whole = (tmp_path / "a.heic").read_bytes()
    for number, data in enumerate(broken(whole, 3).values()):
        (tmp_path / "b.heic").write_bytes(data)
        try:
            assert photo.read(tmp_path / "b.heic").pixels.ndim == 3
        except photo.reading.UnhazeError as error:
            assert "b.heic" in str(error) and "\n" not in str(error), number
