"""Pictures and videos behind a JPEG, EXIF behind a PNG's pixels, and what else is easily lost."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips

from tests.halving import colours
from unhaze import photo
from unhaze.errors import UnhazeError
from unhaze.photo import Photo, Traits, behind, exif, ifd, inventory, jpeg, png
from unhaze.photo.picture import BEHIND, EXIF, VIEWS, XMP
from unhaze.restore.restorer import Restorer

MP4 = struct.pack(">I", 24) + b"ftypmp42" + bytes(12) + b"\0\0\0\x08mdat"
GAIN = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:hdrgm="h" hdrgm:Version="1.0"/>'


def turned_exif(orientation: int) -> bytes:
    return ifd.block({exif.ORIENTATION: (3, struct.pack("<H", orientation)), 271: (2, b"Maker\0")})


def picture(*segments: bytes, height: int = 48, width: int = 64) -> bytes:
    data = photo.encode(Photo(colours(height, width)), ".jpg")
    return data[:2] + b"".join(segments) + data[2:]


def file_of(first: bytes, *others: tuple[int, bytes], video: bytes = b"") -> bytes:
    """A JPEG file with the table: (kind, picture) of those behind the first."""
    sizes = [len(data) for _, data in others]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    views = [(kind, len(data), at) for (kind, data), at in zip(others, starts)]
    whole = io.BytesIO(first)
    packed = b"".join(behind.VIEW.pack(*view) for view in views)
    rest = b"".join(data for _, data in others) + video
    behind.complete(whole, b"", {VIEWS: packed, BEHIND: rest})
    return whole.getvalue()


def parts_by_table(data: bytes) -> list[bytes]:
    """The pictures of a file as its table says, by a reading of its own."""
    at = data.index(b"MPF\0") + 4
    place = struct.unpack_from("<I", data, at + 4)[0] + at
    lines = [struct.unpack_from("<HHII", data, place + 2 + 12 * i) for i in range(3)]
    ((size, start),) = [(line[2], line[3]) for line in lines if line[0] == 0xB002]
    entries = [struct.unpack_from("<III", data, at + start + i) for i in range(0, size, 16)]
    starts = [0] + [at + offset for _, _, offset in entries[1:]]
    return [data[start : start + size] for start, (_, size, _) in zip(starts, entries)]


def restored(data: bytes, name: str, restorer: Restorer, folder: Path, **how: float) -> bytes:
    (folder / name).write_bytes(data)
    restorer.restore_file(folder / name, folder / f"out.{name}", overwrite=True, **how)
    return (folder / f"out.{name}").read_bytes()


GAIN_MAP = picture(jpeg.segment(0xE1, jpeg.XMP_SIGN + GAIN), height=12, width=16)
PREVIEW = picture(height=24, width=32)


def test_the_table_says_where_the_gain_map_is_now(restorer, tmp_path, caplog):
    source = file_of(picture(), (0, GAIN_MAP), (0x010002, PREVIEW), video=MP4)
    assert parts_by_table(source)[1:] == [GAIN_MAP, PREVIEW]
    data = restored(source, "a.jpg", restorer, tmp_path)
    first, *others = parts_by_table(data)
    assert others == [GAIN_MAP], "the preview shows the hazy photo and goes"
    assert first.endswith(b"\xff\xd9") and data == first + GAIN_MAP + MP4
    assert caplog.text == ""
    assert photo.read(data).traits.held == (inventory.GAIN_MAP, inventory.VIDEO)


@pytest.mark.parametrize("kind", [0, 0x020002])
def test_a_second_view_goes_and_that_is_reported(kind, restorer, tmp_path, caplog):
    data = restored(file_of(picture(), (kind, PREVIEW)), "a.jpg", restorer, tmp_path)
    assert f"left out: {inventory.VIEWS}" in caplog.text
    assert data.count(b"\xff\xd8\xff") == 1 and b"MPF\0" not in data


def test_views_of_mpo_by_pillow_are_reported(restorer, tmp_path, caplog):
    image = pytest.importorskip("PIL.Image")
    two = [image.fromarray(colours()), image.fromarray(255 - colours())]
    file = io.BytesIO()
    two[0].save(file, "MPO", save_all=True, append_images=two[1:])
    restored(file.getvalue(), "a.jpg", restorer, tmp_path)
    assert f"left out: {inventory.VIEWS}" in caplog.text


def test_a_photo_that_is_turned_loses_the_map_that_is_not(caplog):
    first = picture(jpeg.segment(0xE1, jpeg.EXIF_SIGN + turned_exif(6)))
    upright = photo.read(file_of(first, (0, GAIN_MAP), video=MP4))
    assert upright.traits.held == (inventory.VIDEO,)
    assert upright.traits.lost == (inventory.GAIN_MAP,)
    written = photo.encode(upright, ".jpg")
    assert f"left out: {inventory.GAIN_MAP}" in caplog.text
    assert GAIN_MAP not in written and written.endswith(MP4)


def test_a_broken_packet_of_a_gain_map_prints_nothing(capfd):
    """libvips' loader of gain maps would print its parser's errors, many lines of them."""
    broken = jpeg.segment(0xE1, jpeg.XMP_SIGN + GAIN.replace(b"xmpmeta", b"xmp\xffmeta"))
    data = file_of(picture(broken), (0, GAIN_MAP))
    assert photo.read(data).pixels.shape == (48, 64, 3)
    assert capfd.readouterr() == ("", "")


def test_progressive_scans_do_not_end_the_picture(restorer, tmp_path):
    image = pyvips.Image.new_from_array(colours()).copy(interpretation="srgb")
    source = image.jpegsave_buffer(interlace=True, keep="none") + MP4
    assert restored(source, "a.jpg", restorer, tmp_path).endswith(MP4)


def test_losses_are_reported_at_strength_0_too(restorer, tmp_path, caplog):
    source = picture(jpeg.segment(0xEB, b"JP\0\1\0\0\0\1" + b"jumb c2pa"))
    restored(source, "a.jpg", restorer, tmp_path, strength=0)
    assert f"left out: {inventory.CREDENTIALS}" in caplog.text


@pytest.mark.parametrize("target", ["png", "jpg", "tif", "webp"])
def test_a_png_that_tells_of_its_turn_behind_its_pixels_is_upright(target, restorer, tmp_path):
    plain = photo.encode(Photo(colours()), ".png")
    source = plain[:-12] + png.chunk(b"eXIf", turned_exif(6)) + plain[-12:]
    (tmp_path / "in.png").write_bytes(source)
    assert photo.read(source).pixels.shape == (64, 48, 3)
    out = tmp_path / f"out.{target}"
    restorer.restore_file(tmp_path / "in.png", out, strength=0)
    got = photo.read(out)
    assert got.pixels.shape == (64, 48, 3)
    difference = np.abs(got.pixels.astype(int) - np.rot90(colours(), -1))
    assert difference.max() <= (0 if target in ("png", "tif") else 12)
    assert exif.orientation_of(got.traits.metadata[EXIF]) in (1, None)


@pytest.mark.parametrize("with_exif", [False, True])
@pytest.mark.parametrize("unit", [0, 1, 2])
def test_density_of_jfif_is_kept_as_it_is(unit, with_exif, restorer, tmp_path):
    jfif = jpeg.segment(0xE0, b"JFIF\0" + struct.pack(">HBHHBB", 0x102, unit, 300, 200, 0, 0))
    block = jpeg.segment(0xE1, jpeg.EXIF_SIGN + turned_exif(1)) if with_exif else b""
    traits = photo.read(restored(picture(jfif, block), "a.jpg", restorer, tmp_path)).traits
    scale = {1: 1 / 25.4, 2: 0.1}.get(unit)
    wanted = None if scale is None else pytest.approx((300 * scale, 200 * scale), rel=1e-3)
    assert traits.density == wanted
    assert (EXIF in traits.metadata) == with_exif


def test_large_exif_stands_before_the_pixels_of_png():
    block = ifd.block({37500: (7, b"n" * 100_000)})
    data = photo.encode(Photo(colours(), traits=Traits(metadata={EXIF: block})), ".png")
    assert data.index(b"eXIf") < data.index(b"IDAT")


def test_a_raw_picture_on_a_later_page_is_no_reason_to_take_the_preview():
    data = bytearray(photo.encode(Photo(colours()), ".tif"))
    raw = ifd.block({262: (3, struct.pack("<H", 32803))})[8:]
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    struct.pack_into("<I", data, start + 2 + 12 * count, len(data))
    with pytest.raises(UnhazeError, match="camera raw"):
        photo.read(bytes(data) + raw)


def tiff_with(tag: int, value: int) -> bytes:
    """A plain TIFF file, one of whose numbers is changed."""
    data = bytearray(photo.encode(Photo(colours()), ".tif"))
    start = struct.unpack_from("<I", data, 4)[0]
    for at in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            count, place = struct.unpack_from("<II", data, at + 4)
            place = at + 8 if count <= 2 else place
            struct.pack_into(f"<{count}H", data, place, *[value] * count)
    return bytes(data)


UNREAD_TIFF = {
    "LZMA compression": tiff_with(259, 34925),
    "old-style JPEG compression": tiff_with(259, 6),
    "12 bits a sample": tiff_with(258, 12),
}


@pytest.mark.parametrize("said", UNREAD_TIFF)
def test_tiff_files_of_rare_kinds_are_not_called_damaged(said):
    """These are named so and hold something else."""
    pytest.importorskip("tifffile")
    with pytest.raises(UnhazeError, match=f"this TIFF file with {said} cannot be decoded") as e:
        photo.read(UNREAD_TIFF[said])
    assert "damaged" not in str(e.value)


@pytest.mark.parametrize(
    "how",
    [
        {"tile": (16, 16), "planarconfig": "separate"},
        {"compression": "lzma"},
        {"compression": "lerc"},
        {"compression": "jpegxl"},
    ],
    ids=str,
)
def test_healthy_tiff_files_of_rare_kinds_are_read(how, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    samples = np.moveaxis(colours(), -1, 0) if "tile" in how else colours()
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", **how)
    assert np.array_equal(photo.read(tmp_path / "a.tif").pixels, colours())


@pytest.mark.parametrize("mask, source, wanted", [(0o22, 0o600, 0o600), (0o77, 0o644, 0o600)])
def test_a_result_has_no_more_readers_than_its_source(mask, source, wanted, restorer, tmp_path):
    (tmp_path / "in.png").write_bytes(photo.encode(Photo(colours()), ".png"))
    (tmp_path / "in.png").chmod(source)
    before = os.umask(mask)
    beside = {"compare": tmp_path / "both.jpg", "save_field": tmp_path}
    try:
        restorer.restore_file(tmp_path / "in.png", tmp_path / "out.png", **beside)
    finally:
        os.umask(before)
    made = set(tmp_path.iterdir()) - {tmp_path / "in.png"}
    assert len(made) == 4
    assert {path.stat().st_mode & 0o777 for path in made} == {wanted}


def test_a_folder_names_what_it_ignores(unhaze, tmp_path, caplog):
    photo.write(Photo(colours()), tmp_path / "a.png")
    for name in ("b.hdr", "c.SVG", "d.txt", ".e.dng"):
        (tmp_path / name).write_bytes(b"?")
    done = unhaze("run", tmp_path, "-o", tmp_path / "out", "--model", "dcp")
    lines = [line for line in caplog.messages if "ignored" in line]
    assert done.returncode == 0 and len(lines) == 1
    assert "b.hdr, c.SVG (of a format that is not read)" in lines[0]
    assert "d.txt (no picture)" in lines[0] and "1 hidden" in lines[0]


def test_no_key_of_the_metadata_is_written_where_it_does_not_belong():
    held = file_of(picture(), (0, GAIN_MAP), video=MP4)
    for suffix in (".png", ".tif", ".webp", ".avif", ".gif"):
        got = photo.read(photo.encode(photo.read(held), suffix)).traits
        assert got.metadata.keys().isdisjoint({BEHIND, VIEWS, XMP}) and got.held == ()
