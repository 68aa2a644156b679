"""Damaged and strange inputs: each gets a result or one clear line; nothing hangs or is lost."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips

PIL = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")

SHAPE = (90, 120)
MOST_MEMORY = 400e6  # bytes, of the process that restores all of them


def picture(height: int = SHAPE[0], width: int = SHAPE[1], channels: int = 3) -> np.ndarray:
    rows, columns, planes = np.mgrid[0:height, 0:width, 0:channels]
    noise = np.random.default_rng(0).integers(0, 40, (height, width, channels))
    return (60 + rows % 90 + columns % 60 + 5 * planes + noise).astype(np.uint8)


def image(pixels: np.ndarray | None = None) -> pyvips.Image:
    made = pyvips.Image.new_from_array(picture() if pixels is None else pixels)
    spaces = ("grey16", "rgb16") if made.format == "ushort" else ("b-w", "srgb")
    return made.copy(interpretation=spaces[made.bands > 2])


def saved(suffix: str, pixels: np.ndarray | None = None, **options: object) -> bytes:
    return image(pixels).write_to_buffer(suffix, **options)


def by_pillow(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    PIL.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def by_tifffile(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def cut(suffix: str, share: float) -> Callable[[], bytes]:
    return lambda: saved(suffix)[: int(len(saved(suffix)) * share)]


def with_chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG with another chunk behind its header."""
    whole = saved(".png")
    checksum = zlib.crc32(data, zlib.crc32(kind))
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
    return whole[:33] + chunk + whole[33:]


def png_of_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checksum = zlib.crc32(header, zlib.crc32(b"IHDR"))
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", checksum)
    return saved(".png")[:8] + chunk + saved(".png")[33:]


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose frame header says so."""
    whole = saved(".jpg")
    at = whole.index(b"\xff\xc0") + 5
    return whole[:at] + struct.pack(">HH", height, width) + whole[at + 4 :]


def tiff_of_size(width: int, height: int) -> bytes:
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, width * height & 0xFFFFFFFF)]
    lines = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + lines + bytes(4)


def webp_of_size(width: int, height: int) -> bytes:
    """The canvas of an animation, in three bytes a side."""
    whole = bytearray(animation("webp"))
    at = whole.index(b"VP8X") + 12
    whole[at : at + 6] = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return bytes(whole)


def avif_of_size(width: int, height: int) -> bytes:
    whole = bytearray(saved(".avif"))
    at = whole.index(b"ispe") + 8
    whole[at : at + 8] = struct.pack(">II", width, height)
    return bytes(whole)


def gif_of_size(width: int, height: int) -> bytes:
    whole = bytearray(saved(".gif"))
    whole[6:10] = struct.pack("<HH", width, height)
    return bytes(whole)


def in_planes() -> bytes:
    planes = picture().transpose(2, 0, 1)
    return by_tifffile(planes, planarconfig="separate", photometric="rgb")


def animation(kind: str) -> bytes:
    frames = [PIL.fromarray(np.roll(picture(), shift, 1)) for shift in (0, 30, 60)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=50)
    return file.getvalue()


def pages() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for shift in (0, 30):
            writer.write(np.roll(picture(), shift, 1))
    return file.getvalue()


def profiled(suffix: str, profile: bytes) -> bytes:
    made = image()
    made.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return made.write_to_buffer(suffix)


def with_exif(block: bytes) -> bytes:
    return by_pillow(picture(), "jpeg", exif=b"Exif\0\0" + block)


def looping_exif() -> bytes:
    """Its first directory is also the second one, and the one that its Exif tag points to."""
    line = struct.pack("<HHII", 0x8769, 4, 1, 8)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + line + struct.pack("<I", 8)


def cmyk(suffix: str) -> bytes:
    return image().icc_export(output_profile="cmyk").write_to_buffer(suffix)


def cmyk_by_pillow() -> bytes:
    file = io.BytesIO()
    PIL.fromarray(picture()).convert("CMYK").save(file, "jpeg")
    return file.getvalue()


def wide(channels: int) -> np.ndarray:
    return picture(channels=channels).astype(np.uint16) * 257


P3 = pyvips.Operation.call("profile_load", "p3")
CMYK_PROFILE = pyvips.Operation.call("profile_load", "cmyk")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'
OK = ""  # a result of the same size
CUT = "damaged or cut off|whole JPEG, PNG"

# Name -> (the bytes, what the error says, or OK).
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    f"cut-{share}.{kind}": (cut(f".{kind}", share), CUT)
    for kind in ("jpg", "png", "tif", "webp", "avif", "gif")
    for share in (0.01, 0.3, 0.9)
}
FILES |= {
    "empty.jpg": (lambda: b"", "is empty"),
    "one-byte.png": (lambda: b"\x89", "no picture"),
    "signature-only.png": (lambda: saved(".png")[:8], CUT),
    "text.jpg": (lambda: b"not a picture at all\n" * 9, "no picture"),
    "drawing.png": (lambda: SVG, "it is SVG"),
    "archive.webp": (lambda: b"PK\3\4" + bytes(99), "it is a ZIP file"),
    "zeros.tif": (lambda: bytes(5000), "no picture"),
    "really-png.jpg": (lambda: saved(".png"), OK),
    "really-jpeg.png": (lambda: saved(".jpg"), OK),
    "really-webp.tif": (lambda: saved(".webp"), OK),
    "no-width.png": (lambda: png_of_size(0, 40), CUT),
    "taller-than-its-data.png": (lambda: png_of_size(120, 91), CUT),
    "bomb.png": (lambda: png_of_size(30_000, 30_000), "30000 x 30000 pixels, over the limit"),
    "bomb.jpg": (lambda: jpeg_of_size(30_000, 30_000), "30000 x 30000 pixels, over the limit"),
    "largest.jpg": (lambda: jpeg_of_size(65_500, 65_500), "over the limit"),
    "bomb.tif": (lambda: tiff_of_size(30_000, 30_000), "30000 x 30000 pixels, over the limit"),
    "overflow.tif": (lambda: tiff_of_size(2**31 - 1, 2**31 - 1), "cannot read|over the limit"),
    "bomb.webp": (lambda: webp_of_size(30_000, 30_000), CUT + "|over the limit"),
    "bomb.avif": (lambda: avif_of_size(30_000, 30_000), CUT + "|over the limit"),
    "bomb.gif": (lambda: gif_of_size(65_500, 65_500), OK),  # libvips goes by the frames
    "1x1.png": (lambda: saved(".png", picture(1, 1)), OK),
    "1x1.jpg": (lambda: saved(".jpg", picture(1, 1)), OK),
    "1x1.webp": (lambda: saved(".webp", picture(1, 1)), OK),
    "1x1.tif": (lambda: saved(".tif", picture(1, 1)), OK),
    "1x5000.png": (lambda: saved(".png", picture(5000, 1)), OK),
    "5000x1.jpg": (lambda: saved(".jpg", picture(1, 5000)), OK),
    "5000x1.tif": (lambda: saved(".tif", picture(1, 5000)), OK),
    "65500x2.jpg": (lambda: saved(".jpg", picture(2, 65_500)), OK),
    "300000x1.tif": (lambda: saved(".tif", picture(1, 300_000)), OK),
    "cmyk.jpg": (lambda: cmyk(".jpg"), OK),
    "cmyk.tif": (lambda: cmyk(".tif"), OK),
    "cmyk-without-profile.jpg": (lambda: cmyk_by_pillow(), OK),
    "grey-alpha-16.png": (lambda: saved(".png", wide(2)), OK),
    "rgba-16.tif": (lambda: saved(".tif", wide(4)), OK),
    "grey.jpg": (lambda: saved(".jpg", picture(channels=1)), OK),
    "1-bit.tif": (lambda: image(picture(channels=1)).tiffsave_buffer(bitdepth=1), OK),
    "1-bit.png": (lambda: image(picture(channels=1)).pngsave_buffer(bitdepth=1), OK),
    "2-bit.png": (lambda: image(picture(channels=1)).pngsave_buffer(bitdepth=2), OK),
    "palette.png": (lambda: saved(".png", palette=True), OK),
    "transparent.gif": (lambda: by_pillow(picture(channels=4), "gif"), OK),
    "interlaced.png": (lambda: saved(".png", interlace=True), OK),
    "progressive.jpg": (lambda: saved(".jpg", interlace=True), OK),
    "restarts.jpg": (lambda: saved(".jpg", restart_interval=1), OK),
    "tiled.tif": (lambda: saved(".tif", tile=True, tile_width=32, tile_height=32), OK),
    "pyramid.tif": (lambda: saved(".tif", tile=True, pyramid=True, tile_width=32), OK),
    "big.tif": (lambda: saved(".tif", bigtiff=True), OK),
    "jpeg-inside.tif": (lambda: saved(".tif", compression="jpeg"), OK),
    "planes.tif": (lambda: in_planes(), OK),
    "motorola.tif": (lambda: by_tifffile(wide(3), byteorder=">", photometric="rgb"), OK),
    "white-is-zero.tif": (lambda: by_tifffile(picture()[..., 0], photometric="miniswhite"), OK),
    "float-grey.tif": (lambda: by_tifffile(picture()[..., 0] / np.float32(255)), OK),
    "float-rgb.tif": (lambda: by_tifffile(picture() / np.float32(255), photometric="rgb"), OK),
    "32-bit.tif": (lambda: by_tifffile(picture()[..., 0].astype(np.uint32)), "'uint' samples"),
    "signed.tif": (lambda: by_tifffile(picture()[..., 0].astype(np.int16)), "'short' samples"),
    "complex.tif": (lambda: by_tifffile(picture()[..., 0].astype(np.complex64)), "samples"),
    "six-channels.tif": (lambda: by_tifffile(picture(channels=6), photometric="rgb"), OK),
    "six-bands.tif": (
        lambda: by_tifffile(
            picture(channels=6), photometric="minisblack", planarconfig="contig", metadata=None
        ),
        "6 channels",
    ),
    "animated.gif": (lambda: animation("gif"), OK),
    "animated.webp": (lambda: animation("webp"), OK),
    "animated.png": (lambda: animation("png"), OK),
    "pages.tif": (pages, OK),
    "broken-profile.jpg": (lambda: profiled(".jpg", b"no profile" * 30), OK),
    "broken-profile.png": (lambda: profiled(".png", P3[:200]), OK),
    "cmyk-profile-on-rgb.jpg": (lambda: profiled(".jpg", CMYK_PROFILE), OK),
    "wide-gamut.webp": (lambda: profiled(".webp", P3), OK),
    "broken-exif.jpg": (lambda: with_exif(b"II*\0\xff\xff\xff\x7f" + bytes(99)), OK),
    "looping-exif.jpg": (lambda: with_exif(looping_exif()), OK),
    "exif-of-noise.jpg": (lambda: with_exif(b"MM\0*\0\0\0\x08" + bytes(range(255))), OK),
    "unknown-chunk.png": (lambda: with_chunk(b"abCd", bytes(70_000)), OK),
    "endless-text.png": (lambda: with_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))), OK),
    "broken-text.png": (lambda: with_chunk(b"zTXt", b"Raw profile type iptc\0\0nonsense"), OK),
    "bytes-behind-the-end.jpg": (lambda: saved(".jpg") + bytes(10_000), OK),
    "münchen 東京 🌫.png": (lambda: saved(".png"), OK),
    "100%.png": (lambda: saved(".png"), OK),
    "a%20b%s%n.jpg": (lambda: saved(".jpg"), OK),
    "[page=3,Q=1].png": (lambda: saved(".png"), OK),
    "line\nbreak.png": (lambda: saved(".png"), OK),
    "-o.png": (lambda: saved(".png"), OK),
    "'quoted\".jpg": (lambda: saved(".jpg"), OK),
    "not\udcffutf8.png": (lambda: saved(".png"), OK),
    "n" * 200 + ".PNG": (lambda: saved(".png"), OK),
}


# Restores all files of a folder and says of each what became of it; the memory counts for all.
RESTORE_ALL = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.restore.test_files import peak_memory, undoing
from unhaze.errors import UnhazeError
restorer = undoing(analysis=64)
for source in sorted(Path(sys.argv[2]).iterdir()):
    start, error = time.perf_counter(), None
    try:
        restorer.restore_file(source, Path(sys.argv[3], source.name))
    except UnhazeError as failure:
        error = str(failure)
    seconds = time.perf_counter() - start
    facts = [os.fsencode(source.name).hex(), error, seconds, peak_memory()]
    print(json.dumps(facts), flush=True)
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> tuple[Path, Path, dict[str, tuple[str | None, float, float]]]:
    """The folders of sources and results, and name -> (error, seconds, peak bytes so far)."""
    sources, results = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("results")
    for name, (make, _) in FILES.items():
        (sources / name).write_bytes(make())
    command = [sys.executable, "-c", RESTORE_ALL, Path(__file__).parents[2], sources, results]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    facts = {os.fsdecode(bytes.fromhex(name)): tuple(rest) for name, *rest in lines}
    assert facts.keys() == FILES.keys()
    said = ("left out: all but the first of ", "is CMYK; converted")
    assert all(any(part in line for part in said) for line in done.stderr.splitlines())
    return sources, results, facts


@pytest.mark.parametrize("name", FILES, ids=ascii)
def test_a_result_or_one_clear_line(outcome, name):
    sources, results, facts = outcome
    make, expected = FILES[name]
    error, seconds, peak = facts[name]
    assert (sources / name).read_bytes() == make(), "the original was touched"
    assert seconds < 20
    assert peak < MOST_MEMORY
    if expected != OK:
        assert error is not None, "nothing was said"
        assert any(part in error for part in expected.split("|")), error
        assert name in error
        assert "\n" not in error
        assert not (results / name).exists()
        return
    assert error is None
    before, after = (load(folder / name) for folder in (sources, results))
    assert (after.width, after.height) == (before.width, before.height)
    assert after.hasalpha() == before.hasalpha() or name.endswith(".gif")
    assert after.avg() != before.avg() or name.startswith("1-bit")  # black and white stay so


def load(path: Path) -> pyvips.Image:
    return pyvips.Image.new_from_buffer(path.read_bytes(), "")


def test_only_results_are_left(outcome):
    _, results, _ = outcome
    assert {each.name for each in results.iterdir()} == {
        name for name, (_, expected) in FILES.items() if expected == OK
    }


def test_the_command_says_one_line_for_each(tmp_path):
    names = ["cut-0.9.jpg", "empty.jpg", "bomb.png", "text.jpg", "animated.gif", "line\nbreak.png"]
    for name in names:
        (tmp_path / name).write_bytes(FILES[name][0]())
    command = [sys.executable, "-m", "unhaze", "run", "--model", "dcp", "--analysis", "32"]
    done = subprocess.run(
        [*command, *(tmp_path / name for name in names), "-o", tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if "error" in line and "failed" not in line]
    for name in names[:4]:
        assert sum(name in line for line in errors) == 1
    assert len(errors) == 4
    made = {each.name for each in (tmp_path / "out").iterdir()}
    assert made == {"animated.gif", "line\nbreak.png"}
