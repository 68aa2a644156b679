"""What a file holds besides its pixels is kept, converted or said, and not announced in vain."""

import io
import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import pyvips

from tests.halving import colours
from unhaze import photo
from unhaze.photo import Photo, Traits, ifd, inventory, jpeg, png
from unhaze.photo.picture import COLOURS, EXIF, ICC, IPTC, NUMBERS, XMP
from unhaze.restore.restorer import Restorer

GUID = b"0123456789ABCDEF0123456789ABCDEF"
EXTENDED = jpeg.EXTENDED_SIGN + GUID + struct.pack(">II", 40, 0) + b"<x>" + b"e" * 37
DESCRIPTION = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
)
END = b"</rdf:Description></rdf:RDF></x:xmpmeta>"
MP4 = struct.pack(">I", 24) + b"ftypmp42" + bytes(12) + b"\0\0\0\x08mdat"


def plain(suffix: str, pixels: np.ndarray | None = None) -> bytes:
    return photo.encode(Photo(colours() if pixels is None else pixels), suffix)


def with_segments(*segments: bytes, behind: bytes = b"") -> bytes:
    data = plain(".jpg")
    return data[:2] + b"".join(segments) + data[2:] + behind


def with_chunks(*chunks: bytes, late: bytes = b"") -> bytes:
    data = plain(".png")
    return data[:33] + b"".join(chunks) + data[33:-12] + late + data[-12:]


def xmp(attributes: bytes, elements: bytes = b"") -> bytes:
    return DESCRIPTION + attributes + b">" + elements + END


def app1(packet: bytes) -> bytes:
    return jpeg.segment(0xE1, jpeg.XMP_SIGN + packet)


def restored(data: bytes, suffix: str, restorer: Restorer, folder: Path) -> bytes:
    source, target = folder / f"in{suffix}", folder / f"out{suffix}"
    source.write_bytes(data)
    restorer.restore_file(source, target, overwrite=True)
    return target.read_bytes()


def metadata(data: bytes) -> dict[str, bytes]:
    return dict(photo.read(data).traits.metadata)


GAIN_MAP = xmp(
    b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" dc:format="kept"',
    b'<Container:Directory xmlns:Container="c"><rdf:Seq><rdf:li/></rdf:Seq></Container:Directory>',
)


def gain_map_file() -> bytes:
    """As phones write it: MPF, XMP that announces the map, and the map behind the picture."""
    small = plain(".jpg", colours(24, 32))
    views = jpeg.segment(0xE2, jpeg.VIEWS_SIGN + b"II*\0" + bytes(40))
    return with_segments(app1(GAIN_MAP), views, behind=small)


def test_a_gain_map_stays_in_jpeg_and_goes_elsewhere_with_its_announcement(
    restorer, tmp_path, caplog
):
    data = restored(gain_map_file(), ".jpg", restorer, tmp_path)
    assert data.endswith(plain(".jpg", colours(24, 32))) and data.count(b"\xff\xd8\xff") == 2
    assert metadata(data)[XMP] == GAIN_MAP and caplog.text == ""
    elsewhere = photo.encode(photo.read(data), ".png")
    assert f"'.png' holds no {inventory.GAIN_MAP}; left out" in caplog.text
    packet = metadata(elsewhere)[XMP]
    assert b"hdrgm:Version" not in packet and b"Container" not in packet
    assert b'dc:format="kept"' in packet
    assert photo.read(elsewhere).pixels.shape == (48, 64, 3)


def test_a_genuine_ultra_hdr_file_is_read(restorer, tmp_path):
    """Written by libvips, which reads such files with a loader of their own."""
    image = pyvips.Image.new_from_array(colours(128, 160)).copy(interpretation="srgb")
    try:
        image.colourspace("scrgb").uhdrsave(str(tmp_path / "in.jpg"))
    except (pyvips.Error, AttributeError):
        pytest.skip("this libvips writes no Ultra HDR")
    restorer.restore_file(tmp_path / "in.jpg", tmp_path / "out.jpg")
    got = photo.read(tmp_path / "out.jpg")
    assert got.pixels.shape == (128, 160, 3)
    hazy, clear = (pyvips.Image.uhdrload(str(tmp_path / f"{name}.jpg")) for name in ("in", "out"))
    assert clear.get("gainmap-data") == hazy.get("gainmap-data")


def test_a_motion_video_stays_in_jpeg_and_goes_elsewhere_with_its_announcement(
    restorer, tmp_path, caplog
):
    packet = xmp(b'GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1" dc:format="kept"')
    data = restored(with_segments(app1(packet), behind=MP4), ".jpg", restorer, tmp_path)
    assert data.endswith(MP4) and metadata(data)[XMP] == packet and caplog.text == ""
    elsewhere = photo.encode(photo.read(data), ".png")
    assert f"'.png' holds no {inventory.VIDEO}; left out" in caplog.text
    assert b"MotionPhoto" not in elsewhere and b"ftyp" not in elsewhere
    assert b'dc:format="kept"' in metadata(elsewhere)[XMP]


def test_further_views_are_reported(restorer, tmp_path, caplog):
    views = jpeg.segment(0xE2, jpeg.VIEWS_SIGN + b"II*\0" + bytes(40))
    data = restored(with_segments(views, behind=plain(".jpg")), ".jpg", restorer, tmp_path)
    assert f"left out: {inventory.VIEWS}" in caplog.text
    assert b"MPF\0" not in data


def test_comments_extended_xmp_and_thermal_data_are_kept(restorer, tmp_path, caplog):
    packet = xmp(b'xmpNote:HasExtendedXMP="%s"' % GUID)
    kept = [
        jpeg.segment(0xFE, b"a comment"),
        jpeg.segment(0xE1, EXTENDED),
        jpeg.segment(0xE1, b"FLIR\0\1\0\0" + bytes(range(200))),
    ]
    data = restored(with_segments(app1(packet), *kept), ".jpg", restorer, tmp_path)
    assert all(each in data for each in kept)
    assert metadata(data)[XMP] == packet
    assert caplog.text == ""
    elsewhere = photo.encode(photo.read(data), ".png")
    assert b"HasExtendedXMP" not in elsewhere
    assert "comments and makers' segments of JPEG; left out" in caplog.text


def test_iptc_in_several_segments_is_kept_whole(restorer, tmp_path):
    record = b"\x1c\x02\x78" + struct.pack(">H", 30_000) + b"c" * 30_000
    block = b"8BIM\4\4\0\0" + struct.pack(">I", len(record)) + record
    other = b"8BIM\x04\x0a\0\0" + struct.pack(">I", 50_000) + b"o" * 50_000
    parts = block + other
    halves = [parts[:60_000], parts[60_000:]]
    segments = [jpeg.segment(0xED, jpeg.PHOTOSHOP_SIGN + half) for half in halves]
    data = restored(with_segments(*segments), ".jpg", restorer, tmp_path)
    assert metadata(data)[IPTC] == jpeg.PHOTOSHOP_SIGN + parts


@pytest.mark.parametrize("size", [65_527, 65_526, 65_000, 300])
def test_exif_that_fills_its_segment_is_kept(size: int, restorer, tmp_path, caplog):
    """Nikon's cameras write 65,526 bytes."""
    block = ifd.opaque(b"")
    block = ifd.opaque(b"n" * (size - len(block) - 2))
    block = block.ljust(size, b"\0")
    assert len(block) == size
    data = with_segments(jpeg.segment(0xE1, jpeg.EXIF_SIGN + block))
    kept = metadata(restored(data, ".jpg", restorer, tmp_path))[EXIF]
    assert len(kept) >= size and kept.startswith(block)
    assert caplog.text == ""


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_exif_of_any_size_is_kept_elsewhere(suffix: str, alpha: bool, tmp_path):
    block = ifd.opaque(b"n" * 200_001)
    cover = np.full((48, 64), 128, np.uint8) if alpha else None
    source = Photo(colours(), cover, Traits(metadata={EXIF: block}))
    photo.write(source, tmp_path / f"a{suffix}")
    got = photo.read(tmp_path / f"a{suffix}")
    assert b"n" * 200_001 in got.traits.metadata[EXIF]
    assert (got.alpha is not None) == alpha
    assert got.pixels.shape == (48, 64, 3)


def test_exif_behind_the_pixels_of_png_is_kept(restorer, tmp_path):
    """ImageMagick, GIMP and darktable write it there."""
    block = ifd.opaque(b"gps and all")
    data = with_chunks(late=png.chunk(b"eXIf", block))
    kept = metadata(restored(data, ".png", restorer, tmp_path))[EXIF]
    assert kept.rstrip(b"\0") == block.rstrip(b"\0")


PNG_COLOURS = {
    "cICP": [png.chunk(b"cICP", bytes((9, 16, 0, 1)))],
    "gAMA and cHRM": [
        png.chunk(b"gAMA", struct.pack(">I", 100_000)),
        png.chunk(
            b"cHRM",
            struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
        ),
    ],
    "sRGB": [png.chunk(b"sRGB", b"\0")],
    "HDR": [
        png.chunk(b"cICP", bytes((9, 16, 0, 1))),
        png.chunk(b"mDCV", bytes(range(24))),
        png.chunk(b"cLLI", struct.pack(">II", 10_000_000, 4_000_000)),
    ],
}


@pytest.mark.parametrize("name", PNG_COLOURS)
def test_colour_tags_of_png_are_kept_and_become_a_profile_elsewhere(name, restorer, tmp_path):
    chunks = PNG_COLOURS[name]
    data = restored(with_chunks(*chunks), ".png", restorer, tmp_path)
    assert metadata(data)[COLOURS] == b"".join(chunks)
    assert data.index(chunks[0]) < data.index(b"IDAT")
    pixels, elsewhere = photo.read(data), photo.read(photo.encode(photo.read(data), ".tif"))
    assert (elsewhere.traits.profile is None) == (name == "sRGB")
    assert elsewhere.traits.profile == pixels.traits.profile


def test_colour_numbers_of_avif_are_kept(restorer, tmp_path):
    """nclx: Rec. 2020 and PQ, in place of what Pillow writes for sRGB; the pixels stay whole."""
    pytest.importorskip("PIL._avif", reason="this Pillow writes no AVIF")
    file = io.BytesIO()
    PIL.Image.fromarray(colours()).save(file, "avif", quality=95)
    data = bytearray(file.getvalue())
    place = data.index(b"colrnclx") + 8
    data[place : place + 4] = struct.pack(">HH", 9, 16)
    got = restored(bytes(data), ".avif", restorer, tmp_path)
    assert metadata(got)[NUMBERS] == struct.pack(">HH", 9, 16)
    assert ICC not in metadata(got)
    shown = np.asarray(PIL.Image.open(io.BytesIO(got)).convert("RGB")).astype(float)
    assert np.abs(shown - photo.read(got).pixels).mean() < 2, "another program reads it, too"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_content_credentials_go_and_that_is_reported(suffix, restorer, tmp_path, caplog):
    if suffix == ".jpg":
        data = with_segments(jpeg.segment(0xEB, b"JP\0\1\0\0\0\1" + b"jumb c2pa"))
    elif suffix == ".png":
        data = with_chunks(png.chunk(b"caBX", b"jumb c2pa"))
    else:
        data = plain(".webp") + b"C2PA" + struct.pack("<I", 10) + b"jumb c2pa."
        data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    result = restored(data, suffix, restorer, tmp_path)
    assert f"left out: {inventory.CREDENTIALS}" in caplog.text
    assert b"c2pa" not in result


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_no_density_is_invented_and_none_is_lost(suffix, restorer, tmp_path):
    exiftool = shutil.which("exiftool")
    for density in (None, (11.811, 11.811)):
        source = Photo(colours(), traits=Traits(density=density))
        photo.write(source, tmp_path / f"in{suffix}", overwrite=True)
        data = restored((tmp_path / f"in{suffix}").read_bytes(), suffix, restorer, tmp_path)
        got = photo.read(data).traits.density
        assert got == (None if density is None else pytest.approx(density, rel=1e-3))
        if exiftool:
            words = [exiftool, "-j", str(tmp_path / f"out{suffix}")]
            (facts,) = json.loads(subprocess.check_output(words))
            unit = facts.get("ResolutionUnit", facts.get("PixelUnits", "None"))
            assert (unit in ("None", "Unknown")) == (density is None)


def test_frames_that_are_left_out_are_reported(restorer, tmp_path, caplog):
    pages = pyvips.Image.new_from_array(np.concatenate([colours(), 255 - colours()]))
    pages.set_type(pyvips.GValue.gint_type, "page-height", 48)
    pages.webpsave(str(tmp_path / "in.webp"))
    restorer.restore_file(tmp_path / "in.webp", tmp_path / "out.jpg")
    assert "left out: all but the first of 2 pages or frames" in caplog.text


def test_a_private_photo_stays_private(restorer, tmp_path):
    (tmp_path / "in.png").write_bytes(plain(".png"))
    (tmp_path / "in.png").chmod(0o600)
    restorer.restore_file(tmp_path / "in.png", tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_mode & 0o777 == 0o600


def test_the_manual_has_the_table():
    manual = (Path(__file__).parents[2] / "docs" / "use.md").read_text(encoding="utf-8")
    for payload in inventory.FATES:
        cells = " | ".join(payload.fates[form] for form in ("jpeg", "png", "tiff", "webp", "avif"))
        assert f"| {payload.name} | {cells} |" in manual, payload.name


def test_insert_moves_what_is_behind_block_by_block():
    from unhaze.atomic import insert

    file = io.BytesIO(bytes(range(250)))
    insert(file, 7, b"new", block=16)
    assert file.getvalue() == bytes(range(7)) + b"new" + bytes(range(7, 250))


needs_exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None,
    reason="no exiftool here; on Debian: apt-get install libimage-exiftool-perl",
)
# Tags that exiftool writes into a format, by the group it reads them from.
WRITTEN = {
    "EXIF:DateTimeOriginal": "2024:05:06 07:08:09",
    "EXIF:LensModel": "A lens 35mm",
    "EXIF:GPSLatitude": "48.2",
    "XMP:Title": "Täler im Dunst",
    "IPTC:Caption-Abstract": "A caption",
    "EXIF:Artist": "Someone",
}
HOLDS = {".jpg": "EXIF XMP IPTC", ".tif": "EXIF XMP IPTC", ".png": "EXIF XMP", ".webp": "EXIF XMP"}
HOLDS |= {".avif": "EXIF XMP"}


@needs_exiftool
@pytest.mark.parametrize("suffix", HOLDS)
def test_exiftool_finds_all_that_it_wrote(suffix, restorer, tmp_path):
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    source.write_bytes(plain(suffix))
    tags = {name: value for name, value in WRITTEN.items() if name[:4].strip(":") in HOLDS[suffix]}
    words = [f"-{name}={value}" for name, value in tags.items()]
    subprocess.run(["exiftool", "-q", "-overwrite_original", *words, source], check=True)
    restorer.restore_file(source, target)
    read = ["exiftool", "-j", "-G0", "-n", *(f"-{name}" for name in tags)]
    before, after = (
        json.loads(subprocess.check_output([*read, str(each)]))[0] for each in (source, target)
    )
    assert len(before) > len(tags) // 2
    assert {key: after.get(key) for key in before if key != "SourceFile"} == {
        key: value for key, value in before.items() if key != "SourceFile"
    }


def test_json_has_a_note_for_each_loss(unhaze, tmp_path, caplog):
    (tmp_path / "a.jpg").write_bytes(gain_map_file())
    photo.write(Photo(colours().astype(np.uint16) * 257), tmp_path / "b.png")
    words = [tmp_path / "a.jpg", "-o", tmp_path / "a-out.png", "--model", "dcp", "--json"]
    (entry,) = json.loads(unhaze("run", *words).stdout)["files"]
    assert entry["notes"] == [f"'.png' holds no {inventory.GAIN_MAP}; left out"]
    # On stderr, where many files are told of, the line names its file.
    assert caplog.messages == [f"'{tmp_path / 'a.jpg'}': {entry['notes'][0]}"]
    words = [tmp_path / "b.png", "-o", tmp_path / "b.jpg", "--model", "dcp", "--json"]
    (entry,) = json.loads(unhaze("run", *words).stdout)["files"]
    assert entry["notes"] == ["'.jpg' holds no 16 bits a channel; rounded to 8"]


@pytest.mark.parametrize(("suffix", "bits"), [(".jpg", 8), (".png", 16)])
def test_floats_are_rounded_once(suffix: str, bits: int, caplog):
    photo.encode(Photo(colours().astype(np.float32) / 255), suffix)
    assert caplog.messages == [
        f"'{suffix}' holds no floating-point samples; rounded to {bits} bits"
    ]
