"""Photos: EXIF, XMP, IPTC and ICC come out as they went in, in every format that can hold them."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
import pyvips

from unhaze import photo
from unhaze.photo import Photo, Traits, ifd, iptc
from unhaze.photo.picture import EXIF, ICC, IPTC, XMP

PIL = pytest.importorskip("PIL.Image")

PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
RECORDS = b"\x1c\x02\x50\0\6Author\x1c\x02\x69\0\5Title"
BLOCKS = b"8BIM\4\4\0\0" + struct.pack(">I", len(RECORDS)) + RECORDS + bytes(len(RECORDS) % 2)
IN_JPEG = b"Photoshop 3.0\0" + BLOCKS
OLD_THUMBNAIL = b"8BIM\4\x0c\0\0\0\0\0\4old!"
MODERN = [".jpg", ".png", ".webp", ".avif"]
ALL = [*MODERN, ".tif"]
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8}


def colours(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth coloured picture that no two corners of share."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [rows / height, columns / width, (rows + 2 * columns) / (height + 2 * width)]
    return (np.stack(planes, -1) * 255).astype(np.uint8)


def text(words: str) -> tuple[int, bytes]:
    return 2, words.encode() + b"\0"


def numbers(order: str, kind: int, *values: int) -> tuple[int, bytes]:
    letter = {3: "H", 4: "I", 5: "I", 9: "i", 10: "i"}[kind]
    return kind, struct.pack(order + letter * len(values), *values)


def directory(order: str, tags: dict, start: int, then: int = 0) -> bytes:
    """A TIFF directory at `start`: tag -> (kind, bytes), or the tags of a directory below."""
    values = b""
    lines = struct.pack(order + "H", len(tags))
    behind = start + 6 + 12 * len(tags)
    for tag, each in sorted(tags.items()):
        place = struct.pack(order + "I", behind + len(values))
        if isinstance(each, dict):
            kind, count, value = 4, 1, place
            values += directory(order, each, behind + len(values))
        else:
            kind, value = each
            count = len(value) // SIZES[kind]
            if len(value) > 4:
                values += value
                value = place
        values += bytes(len(values) % 2)
        lines += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
    return lines + struct.pack(order + "I", then) + values


def block(order: str = "<", orientation: int = 1, thumbnail: bytes = b"") -> bytes:
    """EXIF as a camera writes it, with tags that libvips does not know and a note of the maker."""
    tags = {
        270: text("What is seen"),
        271: text("Canon"),
        272: text("EOS"),
        274: numbers(order, 3, orientation),
        282: numbers(order, 5, 300, 1),
        283: numbers(order, 5, 300, 1),
        296: numbers(order, 3, 2),
        306: text("2020:01:02 03:04:05"),
        315: text("Somebody"),
        0x9C9B: (1, "Titel".encode("utf-16le") + b"\0\0"),
        0xFDE8: text("a tag of one's own"),
        0x8769: {
            0x829A: numbers(order, 5, 1, 250),
            0x9000: (7, b"0231"),
            0x9204: numbers(order, 10, -1, 3),
            0x927C: (7, b"note" + bytes(range(200))),
            0x9286: (7, b"UNICODE\0h\0i\0"),
            0xA002: numbers(order, 4, 60),
            0xA003: numbers(order, 4, 40),
            0xA432: numbers(order, 5, 24, 1, 70, 1, 28, 10, 28, 10),
            0xA005: {1: text("R98"), 2: (7, b"0100")},
        },
        0x8825: {1: text("N"), 2: numbers(order, 5, 50, 1, 30, 1, 10, 1), 0x1D: text("2020:01:02")},
    }
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    if not thumbnail:
        return head + directory(order, tags, 8)
    second = 8 + len(directory(order, tags, 8))
    place = second + len(directory(order, dict.fromkeys((259, 513, 514), (4, bytes(4))), 0))
    small = {259: numbers(order, 3, 6), 513: numbers(order, 4, place)}
    small[514] = numbers(order, 4, len(thumbnail))
    return head + directory(order, tags, 8, second) + directory(order, small, second) + thumbnail


def shown(data: bytes) -> dict:
    """All EXIF tags as Pillow finds them, without those of how TIFF stores pixels."""
    found = PIL.open(io.BytesIO(data)).getexif()
    tags = {(0, tag): value for tag, value in found.items() if tag not in ifd.STORAGE}
    for inner in (0x8769, 0x8825, 0xA005):
        tags |= {(inner, tag): value for tag, value in found.get_ifd(inner).items()}
    return {tag: each for tag, each in tags.items() if tag[1] not in (0x8769, 0x8825, 0xA005)}


def profile() -> bytes:
    return pyvips.Operation.call("profile_load", "p3")


def hazy(suffix: str, metadata: dict, **traits: object) -> Photo:
    """A photo as read from a file of this suffix, with these blocks."""
    encoded = photo.encode(Photo(colours(), traits=Traits(metadata=metadata, **traits)), suffix)
    return photo.read(encoded)


@pytest.mark.parametrize("suffix", ALL)
@pytest.mark.parametrize("order", "<>")
def test_every_exif_tag_survives(suffix, order):
    source = photo.encode(Photo(colours(), traits=Traits(metadata={EXIF: block(order)})), suffix)
    target = photo.encode(photo.read(source), suffix)
    if suffix == ".tif":  # the block was cut up and put together again
        assert shown(source) == shown(target) == shown_in_jpeg(block(order))
    else:
        assert photo.read(target).traits.metadata[EXIF] == block(order)
        assert shown(target) == shown_in_jpeg(block(order))


def shown_in_jpeg(block: bytes) -> dict:
    """What Pillow finds in a block that Pillow itself has put into a file."""
    file = io.BytesIO()
    PIL.fromarray(colours()).save(file, "jpeg", exif=b"Exif\0\0" + block)
    return shown(file.getvalue())


@pytest.mark.parametrize("there", ALL)
@pytest.mark.parametrize("here", ALL)
def test_metadata_goes_from_every_format_into_every_other(here, there):
    blocks = {EXIF: block(), XMP: PACKET, ICC: profile()}
    first = photo.encode(Photo(colours(), traits=Traits(metadata=blocks)), here)
    second = photo.encode(photo.read(first), there)
    assert shown(second) == shown_in_jpeg(block())
    found = photo.read(second).traits.metadata
    assert found[XMP] == PACKET
    assert found[ICC] == profile()
    seen = pyvips.Image.new_from_buffer(second, "")
    if there != ".tif":
        assert seen.get("exif-ifd2-ExposureTime").startswith("1/250")


@pytest.mark.parametrize("suffix", ALL)
def test_iptc_is_kept_or_it_is_reported(suffix, caplog):
    source = hazy(".jpg", {IPTC: IN_JPEG})
    assert source.traits.metadata[IPTC] == IN_JPEG
    found = photo.read(photo.encode(source, suffix)).traits.metadata
    if suffix in (".webp", ".avif"):
        assert caplog.messages == [f"'{suffix}' holds no IPTC; left out"]
        assert IPTC not in found
    else:
        assert caplog.messages == []
        assert iptc.records_of(found[IPTC]) == RECORDS


def test_iptc_lies_in_tiff_and_png_where_other_programs_look():
    tiff = photo.encode(hazy(".jpg", {IPTC: IN_JPEG}), ".tif")
    assert bytes(PIL.open(io.BytesIO(tiff)).tag_v2[33723]) == RECORDS
    png = photo.encode(hazy(".jpg", {IPTC: IN_JPEG}), ".png")
    digits = PIL.open(io.BytesIO(png)).text["Raw profile type iptc"].split()
    assert digits[:2] == ["iptc", str(len(BLOCKS))]
    assert bytes.fromhex("".join(digits[2:])) == BLOCKS


def test_iptc_of_a_tiff_file_that_has_only_the_bare_records():
    file = io.BytesIO()
    tags = {33723: RECORDS + bytes(-len(RECORDS) % 4), 315: "Somebody"}
    PIL.fromarray(colours()).save(file, "tiff", tiffinfo=tags)
    found = photo.read(file.getvalue()).traits.metadata
    assert iptc.records_of(found[IPTC]) == RECORDS
    assert shown(photo.encode(photo.read(file.getvalue()), ".tif"))[0, 315] == "Somebody"


def test_old_thumbnails_of_photoshop_go_when_the_picture_changes():
    data = b"Photoshop 3.0\0" + OLD_THUMBNAIL + BLOCKS
    source = hazy(".jpg", {IPTC: IN_JPEG})
    changed = replace(source, traits=replace(source.traits, metadata={IPTC: data}))
    assert photo.read(photo.encode(changed, ".jpg")).traits.metadata[IPTC] == IN_JPEG
    assert iptc.without_thumbnails(IN_JPEG) == IN_JPEG


def test_nothing_is_invented(caplog):
    for suffix in ALL:
        found = PIL.open(io.BytesIO(photo.encode(Photo(colours()), suffix))).getexif()
        assert not {tag for tag in found if tag not in ifd.STORAGE | {282, 283, 296, 274}}
        assert not photo.read(photo.encode(Photo(colours()), suffix)).traits.metadata
    assert caplog.messages == []


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("room", [400, 4000])
def test_the_thumbnail_in_exif_shows_the_new_picture(order, room):
    old = pyvips.Image.new_from_array(colours(120, 160)).jpegsave_buffer(keep="none")
    source = hazy(".jpg", {EXIF: block(order, thumbnail=old.ljust(room, b"\0"))})
    written = photo.encode(replace(source, pixels=255 - source.pixels), ".jpg")
    small = pyvips.Image.new_from_buffer(written, "").get("jpeg-thumbnail-data")
    assert len(small) <= max(room, len(old))
    assert np.abs(photo.read(small).pixels - (255.0 - colours())).mean() < 12
    assert shown(written) == shown_in_jpeg(block(order))


def test_a_thumbnail_without_room_for_the_new_one_goes():
    source = hazy(".jpg", {EXIF: block(thumbnail=b"no picture")})
    written = photo.encode(source, ".jpg")
    assert "jpeg-thumbnail-data" not in pyvips.Image.new_from_buffer(written, "").get_fields()
    assert shown(written) == shown_in_jpeg(block())


@pytest.mark.parametrize("cut", [2, 9, 30, 100, 300, 500])
def test_broken_exif_is_carried_and_harms_nothing(cut):
    for broken in (block()[:cut], block()[:8] + bytes(range(256)) * 2, b"?" * 40):
        source = hazy(".png", {})
        traits = replace(source.traits, metadata={EXIF: broken})
        for suffix in ALL:
            written = photo.encode(replace(source, traits=traits), suffix)
            assert photo.read(written).pixels.shape == (40, 60, 3)


@pytest.mark.parametrize("suffix", ALL)
def test_blocks_that_are_too_large_are_reported(suffix, caplog):
    blocks = {EXIF: ifd.opaque(bytes(70_000)), XMP: PACKET + b" " * 70_000}
    written = photo.encode(Photo(colours(), traits=Traits(metadata=blocks)), suffix)
    found = photo.read(written).traits.metadata
    said = caplog.text
    for key, name in ((EXIF, "EXIF"), (XMP, "XMP")):
        if key in found:
            assert len(found[key]) > 70_000
        else:
            assert f"'{suffix}' holds no {name} of 70" in said
    assert found.keys() == {".jpg": set(), ".avif": {XMP}}.get(suffix, {EXIF, XMP})


def test_tags_of_maps_stay_in_tiff():
    """GeoTIFF's, which libvips drops."""
    file = io.BytesIO()
    PIL.fromarray(colours()).save(file, "tiff", tiffinfo={33550: (0.5, 0.5, 0.0), 42112: "<Gdal/>"})
    tags = PIL.open(io.BytesIO(photo.encode(photo.read(file.getvalue()), ".tif"))).tag_v2
    assert tags[33550] == (0.5, 0.5, 0.0)
    assert tags[42112] == "<Gdal/>"


def test_tiff_in_the_other_byte_order_and_bigtiff():
    tifffile = pytest.importorskip("tifffile")
    for order, big in (("<", False), (">", False), ("<", True), (">", True)):
        file = io.BytesIO()
        extra = [
            (315, 2, 9, "Somebody", True),
            (42113, 2, 3, "-9", True),
            (37386, 5, 1, (50, 1), True),
        ]
        tifffile.imwrite(file, colours(), byteorder=order, bigtiff=big, extratags=extra)
        written = photo.encode(photo.read(file.getvalue()), ".tif")
        tags = PIL.open(io.BytesIO(written)).tag_v2
        assert (tags[315], tags[42113], float(tags[37386])) == ("Somebody", "-9", 50)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
@pytest.mark.parametrize("inches", [True, False])
def test_density_survives(suffix, inches):
    source = hazy(suffix, {}, density=(300 / 25.4, 150 / 25.4), inches=inches)
    got = photo.read(photo.encode(source, suffix))
    assert got.traits.density == pytest.approx((300 / 25.4, 150 / 25.4), rel=1e-3)
    if suffix == ".tif":
        assert got.traits.inches == inches


def test_density_of_jfif_survives():
    file = io.BytesIO()
    PIL.fromarray(colours()).save(file, "jpeg", dpi=(300, 300))
    written = photo.encode(photo.read(file.getvalue()), ".jpg")
    assert PIL.open(io.BytesIO(written)).info["dpi"] == (300, 300)


def test_a_format_without_profiles_gets_srgb(caplog):
    wide = np.zeros((8, 8, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    half = np.zeros((8, 8, 3), np.uint8) + np.array([100, 150, 100], np.uint8)
    for pixels in (wide, half):
        source = Photo(pixels, traits=Traits(metadata={ICC: profile()}))
        image = pyvips.Image.new_from_array(pixels)
        image.set_type(pyvips.GValue.blob_type, ICC, profile())
        expected = image.icc_transform("srgb", embedded=True).numpy()
        got = photo.read(photo.encode(source, ".gif")).pixels
        assert np.abs(got.astype(int) - expected).max() <= 3
    assert "converted to sRGB" in caplog.text


def test_texts_of_png_stay_as_they_are_and_elsewhere_it_is_reported(caplog):
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("Creation Time", "today")
    texts.add_text("Title", "gr\xfcn", zip=True)
    texts.add_itxt("Comment", "東京", "ja", "注釈")
    file = io.BytesIO()
    PIL.fromarray(colours()).save(file, "png", pnginfo=texts)
    source = photo.read(file.getvalue())
    written = PIL.open(io.BytesIO(photo.encode(source, ".png"))).text
    assert written == {"Creation Time": "today", "Title": "gr\xfcn", "Comment": "東京"}
    assert (written["Comment"].lang, written["Comment"].tkey) == ("ja", "注釈")
    assert caplog.messages == []
    photo.encode(source, ".jpg")
    assert caplog.messages == ["'.jpg' holds no texts of PNG; left out"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_upright_and_all_that_speaks_of_it_agrees(orientation):
    metadata = {EXIF: block(orientation=orientation), XMP: PACKET}
    traits = Traits(metadata=metadata, orientation=orientation, format="jpeg")
    strips = photo.Stream([colours()], (40, 60, 3), np.dtype(np.uint8), traits)
    stored = photo.encode(strips, ".jpg")
    assert shown(stored)[0, 274] == orientation
    upright = pyvips.Image.new_from_buffer(stored, "").autorot().numpy()
    got = photo.read(stored)
    np.testing.assert_array_equal(got.pixels, upright)
    found = shown(photo.encode(got, ".jpg"))
    assert found[0, 274] == 1
    assert [found[0x8769, tag] for tag in (0xA002, 0xA003)] == [upright.shape[1], upright.shape[0]]
    if orientation > 1:
        assert b'Orientation="1"' in got.traits.metadata[XMP]


@pytest.mark.parametrize("there", ALL)
@pytest.mark.parametrize("here", [".jpg", ".png", ".tif", ".webp"])
def test_another_format_gets_the_picture_upright(here, there):
    traits = Traits(metadata={EXIF: block(orientation=6)}, orientation=6, format=format_of(here))
    strips = photo.Stream([colours()], (40, 60, 3), np.dtype(np.uint8), traits)
    with photo.open_photo(photo.encode(strips, here)) as opened:
        assert opened.traits.orientation == 6
        written = photo.encode(opened.stream(), there)
    kept = here == there
    image = pyvips.Image.new_from_buffer(written, "")
    assert (image.width, image.height) == ((60, 40) if kept else (40, 60))
    assert shown(written)[0, 274] == (6 if kept else 1)
    expected = np.rot90(colours(), 3)
    assert np.abs(photo.read(written).pixels.astype(int) - expected).mean() < 4


def format_of(suffix: str) -> str:
    return {".jpg": "jpeg", ".tif": "tiff"}.get(suffix, suffix[1:])


def test_avif_is_turned_by_its_own_means_and_exif_is_reported():
    """libvips turns AVIF while reading; what EXIF says there is not for readers to follow."""
    traits = Traits(metadata={EXIF: block(orientation=6)}, format="avif")
    strips = photo.Stream([colours()], (40, 60, 3), np.dtype(np.uint8), traits)
    got = photo.read(photo.encode(strips, ".avif"))
    assert got.pixels.shape == (40, 60, 3)
    assert shown(photo.encode(got, ".jpg"))[0, 274] == 1
