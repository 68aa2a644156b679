"""Every photometric interpretation of TIFF: the right colours, or one line that refuses."""

import io
import struct
import zlib

import numpy as np
import pytest

from unhaze import photo
from unhaze.errors import UnhazeError

tifffile = pytest.importorskip("tifffile")
PIL = pytest.importorskip("PIL.Image")
pytest.importorskip("imagecodecs")

BT601, BT709 = (0.299, 0.587, 0.114), (0.2126, 0.7152, 0.0722)
FULL, VIDEO = (0, 255, 128, 255, 128, 255), (16, 235, 128, 240, 128, 240)


def scene() -> np.ndarray:
    """(95,131,3) uint8: smooth, colourful, of odd sizes."""
    down, across = np.mgrid[0:95, 0:131].astype(float)
    planes = [40 + 150 * across / 131, 200 - 140 * down / 95, 90 + 60 * np.sin(across / 17)]
    return np.rint(np.stack(planes, axis=2)).astype(np.uint8)


def ycbcr(rgb: np.ndarray, luminances=BT601, references=FULL) -> np.ndarray:
    """As TIFF 6.0, section 21, says, the other way round."""
    red, green, blue = np.moveaxis(rgb.astype(float), 2, 0)
    luma = luminances[0] * red + luminances[1] * green + luminances[2] * blue
    blueness = (blue - luma) / (2 - 2 * luminances[2]) / 127
    redness = (red - luma) / (2 - 2 * luminances[0]) / 127
    black, white = np.array(references, float).reshape(3, 2).T
    whole = np.stack([luma / 255, blueness, redness], axis=2) * (white - black) + black
    return np.rint(np.clip(whole, 0, 255)).astype(np.uint8)


def fractions(values) -> list[int]:
    return [part for each in values for part in (round(each * 10**6), 10**6)]


def encoded(samples: np.ndarray, **settings) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, metadata=None, **settings)
    return file.getvalue()


def difference(got: np.ndarray, expected: np.ndarray) -> float:
    scale = {"uint8": 1, "uint16": 1 / 257, "float32": 255}[got.dtype.name]
    return float(np.abs(got * scale - expected.astype(float)).mean())


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "lzma"])
@pytest.mark.parametrize("luminances", [BT601, BT709], ids=["601", "709"])
@pytest.mark.parametrize("references", [FULL, VIDEO], ids=["full", "video"])
def test_ycbcr_by_its_coefficients_and_references(compression, luminances, references):
    tags = [(529, 5, 3, fractions(luminances), True), (532, 5, 6, fractions(references), True)]
    samples = ycbcr(scene(), luminances, references)
    file = encoded(samples, photometric="ycbcr", compression=compression, extratags=tags)
    assert difference(photo.read(file).pixels, scene()) < 0.6


@pytest.mark.parametrize(
    "settings",
    [{"compression": "lzw", "predictor": 2}, {"tile": (32, 32)}, {"planarconfig": "separate"}],
    ids=["predictor", "tiles", "planes"],
)
def test_ycbcr_however_it_is_stored(settings):
    samples = ycbcr(scene())
    if "planarconfig" in settings:
        samples = samples.transpose(2, 0, 1)
    file = encoded(samples, photometric="ycbcr", **settings)
    assert difference(photo.read(file).pixels, scene()) < 0.6


def units(block: np.ndarray, across: int, down: int) -> bytes:
    """Luma of so many pixels, then one of each chroma, and so on (TIFF 6.0, section 21)."""
    margins = ((0, -block.shape[0] % down), (0, -block.shape[1] % across), (0, 0))
    block = np.pad(block, margins, mode="edge")
    tall, wide = block.shape[0] // down, block.shape[1] // across
    cells = block.reshape(tall, down, wide, across, 3).transpose(0, 2, 1, 3, 4)
    luma = cells[..., 0].reshape(tall, wide, -1)
    chroma = np.rint(cells[..., 1:].mean(axis=(2, 3))).astype(np.uint8)
    return np.concatenate([luma, chroma], axis=2).tobytes()


def subsampled(across: int, down: int, *, deflate: bool, rows: int, orientation: int = 1) -> bytes:
    whole = ycbcr(scene())
    height, width, _ = whole.shape
    blocks = [units(whole[at : at + rows], across, down) for at in range(0, height, rows)]
    blocks = [zlib.compress(each) if deflate else each for each in blocks]
    places = [8 + sum(map(len, blocks[:at])) for at in range(len(blocks))]
    tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, [8] * 3)]
    tags += [(259, 3, [8 if deflate else 1]), (262, 3, [6]), (273, 4, places)]
    tags += [(274, 3, [orientation]), (277, 3, [3]), (278, 4, [rows])]
    tags += [(279, 4, [len(each) for each in blocks]), (530, 3, [across, down])]
    start = 8 + sum(map(len, blocks))
    behind, lines, values = start + 2 + 12 * len(tags) + 4, b"", b""
    for tag, kind, numbers in tags:
        packed = struct.pack(f"<{len(numbers)}{'HI'[kind - 3]}", *numbers)
        lines += struct.pack("<HHI", tag, kind, len(numbers))
        lines += packed.ljust(4, b"\0") if len(packed) <= 4 else b""
        if len(packed) > 4:
            lines += struct.pack("<I", behind + len(values))
            values += packed
    head = b"II*\0" + struct.pack("<I", start) + b"".join(blocks)
    return head + struct.pack("<H", len(tags)) + lines + bytes(4) + values


@pytest.mark.parametrize("chroma", [(2, 2), (2, 1), (1, 2), (4, 1), (4, 2)])
@pytest.mark.parametrize("rows", [32, 95])
def test_ycbcr_with_coarser_chroma_as_libtiff_decodes_it(chroma, rows):
    file = subsampled(*chroma, deflate=True, rows=rows)
    got = photo.read(file).pixels
    reference = np.asarray(PIL.open(io.BytesIO(file)).convert("RGB"))
    assert np.abs(got.astype(int) - reference).max() <= 1 and difference(got, scene()) < 3
    assert np.array_equal(got, photo.read(subsampled(*chroma, deflate=False, rows=rows)).pixels)


def test_the_orientation_of_files_that_libvips_does_not_read():
    got = photo.read(subsampled(2, 2, deflate=True, rows=95, orientation=6)).pixels
    assert got.shape == (131, 95, 3)
    assert difference(got, np.rot90(scene(), -1)) < 3


def test_ycbcr_that_is_cut_off_is_one_line():
    file = bytearray(subsampled(2, 2, deflate=False, rows=95))
    at = file.index(struct.pack("<HHI", 278, 4, 1))
    file[at + 8 : at + 12] = struct.pack("<I", 4000)
    at = file.index(struct.pack("<HHI", 257, 4, 1))
    file[at + 8 : at + 12] = struct.pack("<I", 4000)
    with pytest.raises(UnhazeError, match="YCbCr cannot be decoded"):
        photo.read(bytes(file))


def test_lab_of_both_kinds_and_depths():
    """L* 50, a* 30, b* -40 under D65 in sRGB: by scikit-image."""
    expected = (133.5, 103.4, 187.4)
    lab = np.array([50.0, 30.0, -40.0])
    scaled = {
        ("cielab", np.uint8): lab * (2.55, 1, 1),
        ("cielab", np.uint16): lab * (655.35, 256, 256),
        ("icclab", np.uint8): (lab + (0, 128, 128)) * (2.55, 1, 1),
        ("icclab", np.uint16): (lab + (0, 128, 128)) * (652.8, 256, 256),
    }
    for (kind, dtype), values in scaled.items():
        pixel = np.rint(values).astype(np.int64).astype(dtype)
        samples = np.broadcast_to(pixel, (16, 16, 3)).copy()
        for compression in (None, "lzma"):
            file = encoded(samples, photometric=kind, compression=compression)
            got = photo.read(file).pixels[0, 0] / 257
            assert np.abs(got - expected).max() < 1.5, (kind, dtype, compression, got)


@pytest.mark.parametrize("compression", [None, "lzma"])
def test_palettes_and_white_as_the_lowest(compression):
    indexed = PIL.fromarray(scene()).quantize(256)
    table = np.zeros((256, 3), np.uint16)
    colours = np.array(indexed.getpalette(), np.uint16).reshape(-1, 3)
    table[: len(colours)] = colours * 257
    file = encoded(
        np.asarray(indexed), photometric="palette", colormap=table.T, compression=compression
    )
    assert np.array_equal(photo.read(file).pixels, np.asarray(indexed.convert("RGB")))
    grey = scene()[..., 0]
    for dtype, full in ((np.uint8, 255), (np.uint16, 65535)):
        samples = (full - grey.astype(int) * (full // 255)).astype(dtype)
        file = encoded(samples, photometric="miniswhite", compression=compression)
        assert difference(photo.read(file).pixels[..., 0], grey) == 0


def test_cmyk_is_the_same_whatever_compresses_it():
    inks = np.concatenate([255 - scene(), np.full((95, 131, 1), 20, np.uint8)], axis=2)
    usual, rare = (encoded(inks, photometric="separated", compression=c) for c in ("lzw", "lzma"))
    assert np.array_equal(photo.read(usual).pixels, photo.read(rare).pixels)


REFUSED = {
    "mask": (scene()[..., 0] > 90, {"photometric": "mask"}, "a transparency mask"),
    "itulab": (scene(), {"photometric": "itulab"}, r"ITU L\*a\*b\*"),
    "depth": (scene()[..., 0], {"photometric": 51177}, "a map of depth"),
    "unknown": (scene()[..., 0], {"photometric": 4711}, "interpretation 4711"),
    "inks": (
        np.zeros((8, 8, 4), np.uint8),
        {"photometric": "separated", "extratags": [(332, 3, 1, 2, True)]},
        "inks other than CMYK",
    ),
    "white floats": (
        np.zeros((8, 8), np.float32),
        {"photometric": "miniswhite"},
        "lowest is white",
    ),
    "luv": (scene().astype(np.float32), {"photometric": 32845}, "in a way that is not read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_samples_that_are_no_photo_are_refused_in_one_line(case):
    samples, settings, words = REFUSED[case]
    settings = dict(settings)
    if isinstance(number := settings["photometric"], int):
        file = encoded(samples, photometric="minisblack" if samples.ndim == 2 else "rgb")
        at = file.index(struct.pack("<HHI", 262, 3, 1))
        file = file[: at + 8] + struct.pack("<I", number) + file[at + 12 :]
    else:
        file = encoded(samples, **settings)
    with pytest.raises(UnhazeError, match=words) as caught:
        photo.read(file)
    assert "\n" not in str(caught.value) and "damaged" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["uint32", "uint64", "int16", "complex64"])
def test_numbers_of_no_known_range_are_refused_not_called_damaged(dtype):
    with pytest.raises(UnhazeError, match="expected") as caught:
        photo.read(encoded(scene().astype(dtype), photometric="rgb"))
    assert "damaged" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("rows", [8, 95])
@pytest.mark.parametrize("kind", ["rgb", "minisblack", "separated"])
def test_planes_lie_in_strips_of_their_own(kind, rows, compression):
    """libvips mixes up the rows of grey ones, and so of satellites' pictures."""
    noise = np.random.default_rng(1).integers(0, 255, (95, 131, 4), dtype=np.uint8)
    noise = noise if kind == "separated" else noise[..., :3]
    settings = {"photometric": kind, "compression": compression, "rowsperstrip": rows}
    file = encoded(noise.transpose(2, 0, 1), planarconfig="separate", **settings)
    expected = photo.read(encoded(noise, planarconfig="contig", **settings)).pixels
    assert np.array_equal(photo.read(file).pixels, expected)
    if kind != "separated":
        assert np.array_equal(expected, noise)
