"""Any picture file becomes a Photo; a broken or strange one becomes one clear line."""

import io
import logging
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo.picture import CARRIED, IPTC, Photo, one_line_errors

log = logging.getLogger(__name__)

MAX_PIXELS = 400_000_000  # a header that promises more is taken for a decompression bomb
LOADERS = {
    "jpegload": "jpeg",
    "pngload": "png",
    "tiffload": "tiff",
    "webpload": "webp",
    "heifload": "avif",
    "gifload": "gif",
    "jxlload": "jxl",
    "jp2kload": "jp2",
    "ppmload": "ppm",
    "bmpload": "bmp",
}


def read(source: str | Path | bytes, *, max_pixels: int | None = None) -> Photo:
    """Decodes a file or the bytes of one.

    `max_pixels` bounds width * height as the header states it (default: environment variable
    UNHAZE_MAX_PIXELS, else 400 million). CMYK, Lab and floating-point RGB are converted, which is
    logged. UnhazeError: missing, a folder, no picture, damaged or truncated, too large, more than
    four channels.
    """
    name = "the given bytes" if isinstance(source, bytes) else f"'{source}'"
    with one_line_errors(f"cannot read {name}", "damaged or cut off"), _open(source) as stream:
        facts = _encoding_facts(stream, name)
        image, loader = _decoder(source, stream, name)
        _check_size(image, name, max_pixels)
        orientation = _get(image, "orientation", 1)
        facts["full_chroma"] = _get(image, "jpeg-chroma-subsample", "4:4:4") == "4:4:4"
        if (pages := _get(image, "n-pages", 1)) > 1:
            log.warning("%s has %d pages; only the first is read", name, pages)
        image = _integer_rgb_or_grey(image, name)
        metadata = _metadata(image, name)
        samples = _upright(image.numpy().reshape(image.height, image.width, -1), orientation)
    grey = samples.shape[2] <= 2
    pixels = np.repeat(samples[..., :1], 3, axis=2) if grey else samples[..., :3]
    alpha = samples[..., -1] if samples.shape[2] in (2, 4) else None
    return Photo(
        np.ascontiguousarray(pixels),
        None if alpha is None else np.ascontiguousarray(alpha),
        grey=grey,
        metadata=metadata,
        format=LOADERS[loader],
        density=(image.xres, image.yres),
        path=None if isinstance(source, bytes) else Path(source),
        **facts,
    )


def read_rgb(path: str | Path) -> np.ndarray:
    """The pixels alone: (H,W,3) uint8 or uint16, upright, grey repeated, alpha left out."""
    return read(path).pixels


def _open(source: str | Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if Path(source).is_dir():
        raise UnhazeError(f"'{source}' is a folder; expected a picture file")
    return Path(source).open("rb", buffering=0)  # its position is shared with libvips


def _decoder(source: str | Path | bytes, stream: BinaryIO, name: str) -> tuple[pyvips.Image, str]:
    """The picture with only its header read, and its loader's name as in LOADERS.

    A descriptor, not a name, goes to libvips: to it, brackets in a name mean options.
    """
    stream.seek(0)
    if isinstance(source, bytes):
        origin = pyvips.Source.new_from_memory(source)
    else:
        origin = pyvips.Source.new_from_descriptor(stream.fileno())
    try:
        image = pyvips.Image.new_from_source(origin, "", access="sequential", fail_on="error")
    except pyvips.Error as error:
        if "known format" in error.detail:
            raise UnhazeError(
                f"{name} is no picture that can be read; expected a whole JPEG, PNG, TIFF ..."
            ) from error
        raise
    loader = image.get("vips-loader").removesuffix("_source")
    if loader not in LOADERS:
        raise UnhazeError(f"{name} is no photo (it needs '{loader}'); expected JPEG, PNG, TIFF ...")
    return image, loader


def _check_size(image: pyvips.Image, name: str, max_pixels: int | None) -> None:
    setting = os.environ.get("UNHAZE_MAX_PIXELS", str(MAX_PIXELS))
    if not setting.isdecimal():
        raise UnhazeError(f"UNHAZE_MAX_PIXELS is '{setting}'; expected a number of pixels")
    limit = max_pixels or int(setting)
    if image.width * image.height > limit:
        raise UnhazeError(
            f"{name} says it has {image.width} x {image.height} pixels, over the limit of {limit};"
            " set UNHAZE_MAX_PIXELS higher if it is genuine"
        )


def _integer_rgb_or_grey(image: pyvips.Image, name: str) -> pyvips.Image:
    """Still lazy: uint8 or uint16, one to four channels; other colour spaces become RGB."""
    if image.interpretation == "cmyk":
        log.warning("%s is CMYK; converted to sRGB", name)
        depth = 16 if image.format == "ushort" else 8
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
    elif image.interpretation in ("lab", "labs", "labq", "xyz", "lch", "scrgb"):
        log.warning("%s is %s; converted to 16-bit sRGB", name, image.interpretation)
        image = image.colourspace("rgb16").copy()
        image.remove("icc-profile-data")
    if image.format not in ("uchar", "ushort"):
        raise UnhazeError(
            f"{name} has '{image.format}' samples; expected 8 or 16 bits: convert it first"
        )
    if image.bands > 4:
        raise UnhazeError(
            f"{name} has {image.bands} channels; expected grey or RGB, with alpha or not"
        )
    return image


def _metadata(image: pyvips.Image, name: str) -> dict[str, bytes | str]:
    found = {key: _get(image, key, None) for key in CARRIED}
    try:
        names = [key for key in image.get_fields() if key.startswith("png-comment-")]
        found |= {key: image.get(key) for key in names}
    except UnicodeDecodeError:
        log.warning("%s: its comments are not UTF-8 and are left out", name)
    if found[IPTC] is not None and image.get("vips-loader").startswith("tiff"):
        log.warning("%s: its IPTC block cannot be carried over", name)
        del found[IPTC]  # libvips reads a quarter of it: a count of 32-bit words taken for bytes
    return {key: value for key, value in found.items() if value is not None}


def _get(image: pyvips.Image, key: str, default: Any) -> Any:
    """A libvips field, or `default` where it is absent or not UTF-8."""
    try:
        return image.get(key) if image.get_typeof(key) else default
    except UnicodeDecodeError:
        return default


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """(H,W,C) as it should be seen; `orientation` 1-8 as in EXIF."""
    turns = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}.get(orientation, 0)
    turned = np.rot90(samples, turns)
    return turned[:, ::-1] if orientation in (2, 4, 5, 7) else turned


def _encoding_facts(stream: BinaryIO, name: str) -> dict[str, int | bool]:
    """How strongly the source was compressed, as far as its header tells."""
    head = stream.read(64)
    if not head:
        raise UnhazeError(f"{name} is empty; expected a picture")
    if head.startswith(b"\xff\xd8"):
        quality = _jpeg_quality(stream)
        return {} if quality is None else {"quality": quality}
    return {"lossless": b"VP8L" in head} if head[8:12] == b"WEBP" else {}


def _jpeg_quality(stream: BinaryIO) -> int | None:
    """1-100, by the luminance table's scale (JPEG, annex K.1: the standard one sums to 3694)."""
    stream.seek(2)
    while len(marker := stream.read(2)) == 2 and marker[0] == 0xFF and marker[1] != 0xDA:
        length = stream.read(2)
        if len(length) < 2:
            return None
        segment = stream.read(struct.unpack(">H", length)[0] - 2)
        if marker[1] == 0xDB and len(segment) >= 129 and segment[0] == 0x10:
            table = np.frombuffer(segment[1:129], ">u2")
        elif marker[1] == 0xDB and len(segment) >= 65 and segment[0] == 0:
            table = np.frombuffer(segment[1:65], "u1")
        else:
            continue
        percent = 100 * float(table.sum()) / 3694
        quality = 5000 / percent if percent > 100 else (200 - percent) / 2
        return int(np.clip(round(quality), 1, 100))
    return None
