"""A Photo becomes a file that appears whole or not at all, and never in place of another."""

import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo.picture import IPTC, THUMBNAIL, Photo, one_line_errors

log = logging.getLogger(__name__)


def write(photo: Photo, path: str | Path, *, overwrite: bool = False) -> None:
    """Encodes by the suffix of `path`; the file appears whole or not at all.

    What the format cannot hold (16 bits, transparency) is logged. UnhazeError: unknown suffix, the
    file exists and not `overwrite`, `path` is the photo's own source, no such folder, disk full.
    """
    path = Path(path)
    check_suffix(path.suffix)
    with one_line_errors(f"cannot write '{path}'", "perhaps the disk is full"):
        if photo.path is not None and path.exists() and path.samefile(photo.path):
            raise UnhazeError(f"'{path}' is the original, never touched; give another name")
        if path.exists() and not overwrite:
            raise UnhazeError(f"'{path}' exists; give another name or ask to overwrite it")
        partial = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            try:
                _save(photo, path.suffix, pyvips.Target.new_to_descriptor(descriptor))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            _publish(partial, path, overwrite)
        finally:
            partial.unlink(missing_ok=True)


def encode(photo: Photo, suffix: str) -> bytes:
    """The bytes of the file that `write` would make; `suffix` with its dot, e.g. ".png"."""
    check_suffix(suffix)
    with one_line_errors(f"cannot encode '{suffix}'", "perhaps too large for the format"):
        target = pyvips.Target.new_to_memory()
        _save(photo, suffix, target)
        return target.get("blob")


def write_rgb(path: str | Path, rgb_hwc_u8: np.ndarray) -> None:
    """Writes bare (H,W,3) uint8 or uint16 pixels by the suffix of `path`, over any file there."""
    write(Photo(rgb_hwc_u8), path, overwrite=True)


def check_suffix(suffix: str) -> None:
    """UnhazeError unless pictures can be written with this suffix."""
    if suffix.lower() not in SAVERS:
        known = ", ".join(SAVERS)
        raise UnhazeError(f"cannot write pictures as '{suffix}'; expected one of {known}")


def _save(photo: Photo, suffix: str, target: pyvips.Target) -> None:
    saver = SAVERS[suffix.lower()]
    image = _from_pixels(photo, saver, suffix)
    for key, value in photo.metadata.items():
        if key == IPTC and saver is not JPEG:
            log.warning("'%s' holds no IPTC block; left out", suffix)
            continue
        kind = pyvips.GValue.blob_type if isinstance(value, bytes) else pyvips.GValue.gstr_type
        image.set_type(kind, key, value)
    if THUMBNAIL in photo.metadata:  # the old one shows the picture as it was
        thumbnail = image.thumbnail_image(160).colourspace("srgb").jpegsave_buffer(keep="none")
        image.set_type(pyvips.GValue.blob_type, THUMBNAIL, thumbnail)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    # libvips would invent an EXIF block for a picture that had none.
    keep = "icc|xmp|iptc|other" + ("|exif" if "exif-data" in photo.metadata else "")
    pyvips.Operation.call(saver.operation, image, target, keep=keep, **saver.options(photo))


def _from_pixels(photo: Photo, saver: "Saver", suffix: str) -> pyvips.Image:
    """A libvips picture of what the format can hold; says what it cannot."""
    image = _wrap(photo.pixels)
    if photo.grey:
        image = image[0]
    if photo.alpha is not None:
        image = image.bandjoin(_wrap(photo.alpha))
        if not saver.alpha:
            log.warning("'%s' holds no transparency; blended onto white", suffix)
            white = np.iinfo(photo.pixels.dtype).max
            image = image.flatten(background=[white], max_alpha=white)
    wide = photo.pixels.dtype == np.uint16
    if wide and not saver.wide:
        log.warning("'%s' holds no 16 bits a channel; rounded to 8", suffix)
        image, wide = (image / 257).rint().cast("uchar"), False
    space = {False: ("srgb", "rgb16"), True: ("b-w", "grey16")}[photo.grey][wide]
    density = photo.density or (image.xres, image.yres)
    return image.copy(interpretation=space, xres=density[0], yres=density[1])


def _wrap(pixels: np.ndarray) -> pyvips.Image:
    return pyvips.Image.new_from_array(np.ascontiguousarray(pixels))


def _jpeg_options(photo: Photo) -> dict[str, Any]:
    quality = min(max(photo.quality or 92, 75), 98)  # clearing haze amplifies coarse artefacts
    chroma = "off" if photo.full_chroma else "on"
    return {"Q": quality, "subsample_mode": chroma, "optimize_coding": True}


def _png_options(photo: Photo) -> dict[str, Any]:
    return {"compression": 6}


def _tiff_options(photo: Photo) -> dict[str, Any]:
    huge = photo.pixels.nbytes > 3_500_000_000  # classic TIFF ends at 4 GiB
    return {"compression": "lzw", "predictor": "horizontal", "bigtiff": huge}


def _webp_options(photo: Photo) -> dict[str, Any]:
    return {"lossless": photo.lossless, "Q": 90, "smart_subsample": True}


def _avif_options(photo: Photo) -> dict[str, Any]:
    depth = 12 if photo.pixels.dtype == np.uint16 else 8
    chroma = "off" if photo.full_chroma else "on"
    return {"compression": "av1", "Q": 80, "bitdepth": depth, "effort": 3, "subsample_mode": chroma}


def _gif_options(photo: Photo) -> dict[str, Any]:
    return {"dither": 1.0}


@dataclass(frozen=True)
class Saver:
    """libvips' saver, whether it holds transparency and 16 bits a channel, and its settings."""

    operation: str
    alpha: bool
    wide: bool
    options: Callable[[Photo], dict[str, Any]]


JPEG = Saver("jpegsave_target", alpha=False, wide=False, options=_jpeg_options)
TIFF = Saver("tiffsave_target", alpha=True, wide=True, options=_tiff_options)
SAVERS = {
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".png": Saver("pngsave_target", alpha=True, wide=True, options=_png_options),
    ".tif": TIFF,
    ".tiff": TIFF,
    ".webp": Saver("webpsave_target", alpha=True, wide=False, options=_webp_options),
    ".avif": Saver("heifsave_target", alpha=True, wide=True, options=_avif_options),
    ".gif": Saver("gifsave_target", alpha=True, wide=False, options=_gif_options),
}
SUFFIXES = tuple(SAVERS)  # of every file that can be written, all of which can be read


def _publish(partial: Path, path: Path, overwrite: bool) -> None:
    """Gives the finished file its name; without `overwrite`, a file that came meanwhile wins."""
    if overwrite:
        partial.replace(path)
        return
    try:
        path.hardlink_to(partial)
    except FileExistsError as error:
        raise UnhazeError(f"'{path}' exists; give another name or ask to overwrite it") from error
    except OSError:  # a file system without hard links: claim the name, then move over the claim
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        partial.replace(path)
