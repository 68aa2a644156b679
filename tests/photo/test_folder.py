"""A folder with a file of each format, broken ones and others: each name has its fate, once."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import pyvips

from tests.photo.test_broken import SAMPLES, by_pillow, flat_psd, tiff, written
from tests.photo.test_readers import dng, scene
from unhaze import photo
from unhaze.cli import main
from unhaze.photo import Photo, Traits
from unhaze.photo.profile import srgb_curve

PIL = pytest.importorskip("PIL.Image")
imagecodecs = pytest.importorskip("imagecodecs")
pytest.importorskip("rawpy")
pytest.importorskip("OpenEXR")

BROKEN = {
    "cut.jpg": lambda: written(".jpg")[:900],
    "cut.heic": lambda: b"\0\0\0\x18ftypheic" + bytes(60),
    "empty.tif": lambda: b"",
}
OTHERS = {
    "notes.txt": lambda: b"hazy that day",
    "places.csv": lambda: b"a,b\n1,2\n",
    "map.pdf": lambda: b"%PDF-1.7\n",
    "all.zip": lambda: b"PK\x03\x04" + bytes(40),
}


def big_psd() -> bytes:
    """PSB: version 2, whose sizes have eight bytes."""
    plain = flat_psd()
    return plain[:5] + b"\2" + plain[6:34] + bytes(8) + plain[38:]


def grey(kind: str) -> bytes:
    samples = scene()[..., 1]
    if kind == "pbm":
        return b"P4\n128 96\n" + np.packbits(samples < 128, axis=1).tobytes()
    return b"P5\n128 96\n255\n" + samples.tobytes()


FORMATS = {
    name: make
    for name, make in SAMPLES.items()
    if name not in ("dng", "tif", "ycc.tif", "planes.tif")
}
MORE = {
    "j2k": lambda: imagecodecs.jpeg2k_encode(scene(), level=0, codecformat="j2k"),
    "psb": big_psd,
    "pgm": lambda: grey("pgm"),
    "pbm": lambda: grey("pbm"),
    "dng": lambda: dng(srgb_curve(scene() / 255.0), (2.0, 1.0, 1.5)),
    "8.tif": lambda: tiff(scene()),
    "big.tiff": lambda: tiff(scene(), bigtiff=True),
    "float.tif": lambda: tiff(srgb_curve(scene() / 255.0).astype(np.float32)),
    "grey.jpeg": lambda: photo.encode(
        Photo(np.repeat(scene()[..., :1], 3, 2), traits=Traits(grey=True)), ".jpg"
    ),
}
FORMATS |= MORE


def heic(folder: Path) -> bytes | None:
    if shutil.which("heif-enc") is None:
        return None
    pytest.importorskip("pi_heif")
    pyvips.Image.new_from_array(scene()).copy(interpretation="srgb").pngsave(str(folder / "a.png"))
    subprocess.run(["heif-enc", folder / "a.png", "-o", folder / "a.heic"], check=True, timeout=60)
    return (folder / "a.heic").read_bytes()


def fates(folder: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """What the document says of each name, in a list for each time that it stands there."""
    words = ["-o", str(out), "--json", "--model", "dcp", "--analysis", "32", "--jobs", "1"]
    status = main([str(folder), *words])
    document = json.loads(capsys.readouterr().out)
    found: dict[str, list[str]] = {}
    for each in document["files"]:
        found.setdefault(Path(each["source"]).name, []).append(each["status"])
        assert (each["error"] is None) == (each["status"] == "done"), each
    for each in document["passed_over"]:
        found.setdefault(Path(each["source"]).name, []).append(each["reason"])
    assert status == 1  # some are broken
    return found


def test_every_file_of_a_folder_is_named_once_with_its_fate(tmp_path: Path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    assert len(FORMATS) >= 25
    made = {f"{n:02}.{kind}": make() for n, (kind, make) in enumerate(FORMATS.items())}
    if (data := heic(tmp_path)) is not None:
        made["99.heic"] = data
    rest = {name: make() for name, make in (BROKEN | OTHERS).items()}
    for name, data in (made | rest).items():
        (folder / name).write_bytes(data)
    found = fates(folder, out, capsys)
    assert sorted(found) == sorted(made | rest)
    assert all(len(each) == 1 for each in found.values())
    assert {name for name, (fate,) in found.items() if fate == "done"} == made.keys()
    assert {name for name, (fate,) in found.items() if fate == "failed"} == BROKEN.keys()
    assert all("no picture" in found[name][0] or "not read" in found[name][0] for name in OTHERS)
    for result in out.iterdir():
        assert photo.read(result).pixels.shape == scene().shape, result
    assert len(list(out.iterdir())) == len(made)


def test_all_files_of_the_folder_are_what_they_are_called():
    assert by_pillow("bmp")[:2] == b"BM"
    kinds = {
        kind: photo.read(make()).traits.format
        for kind, make in FORMATS.items()
        if kind not in ("tga", "moving.png", "moving.webp")
    }
    assert kinds["dng"] == "raw" and kinds["psb"] == "psd" and kinds["pbm"] == "pnm"
    assert {"jpeg", "png", "webp", "avif", "tiff", "gif", "jxl", "jp2", "exr"} <= {*kinds.values()}
