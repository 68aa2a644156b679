"""Camera raw files and DNG by rawpy (LibRaw)."""

import io
import struct

import numpy as np

from unhaze.photo import exif, ifd, profile
from unhaze.photo.picture import EXIF, ICC
from unhaze.photo.readers.decoded import Check, Decoded
from unhaze.photo.readers.silence import silent

HIGHLIGHTS = 0.9999  # of the samples; the rest may be defective pixels
SOME = 4  # only every n-th row and column is counted
FUJI, FUJI_JPEG = b"FUJIFILMCCD-RAW", 84  # offset of the four bytes with the offset of its JPEG
CR3_BOXES = (b"CMT1", b"CMT2", b"CMT4")  # directories: the first, Exif's, that of GPS
HEADERS = 1 << 16  # bytes that contain them
# Description, make, model, orientation, software, date, artist, rating, copyright, Exif, GPS.
DESCRIBING = {270, 271, 272, 274, 305, 306, 315, 18246, 33432, exif.EXIF_TAGS, exif.GPS_TAGS}


def decode(data: bytes, check: Check) -> Decoded:
    """Returns (H,W,3) uint16 in Display P3, with the white balance of the camera.

    Where one colour exceeds the range of the sensor, the others determine the brightness (LibRaw's
    "blend"), so that clouds and haze keep their shape. This needs room: the whole picture is darker
    then, as far as highlights require it.
    """
    import rawpy

    try:
        samples, most = _developed(data, check)
    except rawpy.LibRawError as error:
        raise ValueError(str(error)) from error
    display_p3 = profile.matrix_profile(
        profile.PRIMARIES[12], profile.srgb_curve, name="Display P3"
    )
    metadata = {ICC: display_p3}
    if (block := exif_of(data)) is not None:
        metadata[EXIF] = block
    return Decoded(_brightened(samples, most), metadata)


def _developed(data: bytes, check: Check) -> tuple[np.ndarray, float]:
    """Returns (H,W,3) uint16, and by how much it may be darker than the sensor recorded."""
    import rawpy

    with rawpy.imread(io.BytesIO(data)) as raw:
        check(raw.sizes.width, raw.sizes.height, 6)
        with silent("unknown file"):  # LibRaw prints this for truncated files
            raw.unpack()
        balance = [each for each in raw.camera_whitebalance[:3] if each > 0]
        samples = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            adjust_maximum_thr=0,
            output_bps=16,
            output_color=rawpy.ColorSpace.P3D65,
            gamma=(2.4, 12.92),
            highlight_mode=rawpy.HighlightMode.Blend,
            demosaic_algorithm=rawpy.DemosaicAlgorithm.PPG,
        )
    return samples, max(balance) / min(balance) if balance else 1.0


def _brightened(samples: np.ndarray, most: float) -> np.ndarray:
    """Brightens in place until highlights reach white, at most `most` times."""
    some = samples[::SOME, ::SOME] if min(samples.shape[:2]) > 64 * SOME else samples
    counts = np.cumsum(np.bincount(some.reshape(-1), minlength=65536))
    brightest = np.searchsorted(counts, HIGHLIGHTS * counts[-1]) / 65535
    light = profile.srgb_curve(np.linspace(0, 1, 65536))
    gain = min(most, 1 / max(float(profile.srgb_curve(np.array(brightest))), 1e-6))
    encoded = np.interp(np.minimum(light * gain, 1), light, np.arange(65536))
    table = np.rint(encoded).astype(np.uint16)
    for rows in samples:  # one channel at a time, which stays in the cache
        rows[:] = table[rows]
    return samples


def exif_of(data: bytes) -> bytes | None:
    """Returns the EXIF block of a raw file, upright as LibRaw turns the picture; None: none is
    found.

    Tags about the storage of sensor samples are left out, because the result would look like a raw
    file.
    """
    if data.startswith(FUJI):
        (start,) = struct.unpack_from(">I", data, FUJI_JPEG)
        at = data.find(b"Exif\0\0", start, start + 4096)
        tags = {} if at < 0 else ifd.tags_of(data[at + 6 : at + 6 + 65_536])
    elif data[4:8] == b"ftyp":
        first, inner, place = (ifd.tags_of(_box(data, kind)) for kind in CR3_BOXES)
        tags = first | {exif.EXIF_TAGS: inner} | ({exif.GPS_TAGS: place} if place else {})
    else:
        block, _ = ifd.from_tiff(io.BytesIO(data))
        tags = {} if block is None else ifd.tags_of(block)
    tags = {tag: value for tag, value in tags.items() if tag in DESCRIBING}
    return exif.edited(ifd.block(tags), 1, False, None) if tags else None


def _box(data: bytes, kind: bytes) -> bytes:
    """Returns the content of a box of this kind near the beginning; empty if there is none."""
    at = data.find(kind, 0, HEADERS)
    return b"" if at < 4 else data[at + 4 : at - 4 + struct.unpack_from(">I", data, at - 4)[0]]
