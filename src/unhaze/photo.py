"""Photos in and out: what must survive travels with the pixels; no file is ever half written."""

import io
import logging
import os
import secrets
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips

from unhaze.errors import UnhazeError

log = logging.getLogger(__name__)
pyvips.cache_set_max(0)  # libvips would otherwise keep whole pictures of past operations in memory

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
THUMBNAIL = "jpeg-thumbnail-data"  # the small JPEG inside EXIF
IPTC = "iptc-data"
CARRIED = {"exif-data", "xmp-data", "icc-profile-data", "image-description", IPTC, THUMBNAIL}


@dataclass(frozen=True)
class Photo:
    """A decoded picture, upright, and all that is written back with it.

    `pixels` (H,W,3) uint8 or uint16, RGB as encoded (sRGB, or the profile in `metadata`); `alpha`
    (H,W) of the same type or None. `grey`: three equal channels, written as one.
    `metadata`: libvips fields (EXIF, XMP, IPTC, ICC as bytes; comments as text); the orientation in
    it is already applied. `format`: the source's, e.g. "jpeg"; `quality`: estimated, of a JPEG
    source; `lossless`: of a WebP source; `full_chroma`: False for a JPEG source with 4:2:0.
    `density`: pixels per millimetre.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    metadata: Mapping[str, bytes | str] = field(default_factory=dict)
    format: str | None = None
    quality: int | None = None
    lossless: bool = False
    full_chroma: bool = True
    density: tuple[float, float] | None = None
    path: Path | None = None


def read(source: str | Path | bytes, *, max_pixels: int | None = None) -> Photo:
    """Decodes a file or the bytes of one.

    `max_pixels` bounds width * height as the header states it (default: environment variable
    UNHAZE_MAX_PIXELS, else 400 million). CMYK, Lab and floating-point RGB are converted, which is
    logged. UnhazeError: missing, a folder, no picture, damaged or truncated, too large, more than
    four channels.
    """
    name = "the given bytes" if isinstance(source, bytes) else f"'{source}'"
    with _one_line_errors(f"cannot read {name}", "damaged or cut off"), _open(source) as stream:
        facts = _encoding_facts(stream, name)
        image, loader = _decoder(source, stream, name)
        _check_size(image, name, max_pixels)
        fields = set(image.get_fields())
        orientation = image.get("orientation") if "orientation" in fields else 1
        if "n-pages" in fields and image.get("n-pages") > 1:
            log.warning("%s has %d pages; only the first is read", name, image.get("n-pages"))
        if "jpeg-chroma-subsample" in fields:
            facts["full_chroma"] = image.get("jpeg-chroma-subsample") == "4:4:4"
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


def to_float(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 of any shape -> float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def write(photo: Photo, path: str | Path, *, overwrite: bool = False) -> None:
    """Encodes by the suffix of `path`; the file appears whole or not at all.

    What the format cannot hold (16 bits, transparency) is logged. UnhazeError: unknown suffix, the
    file exists and not `overwrite`, `path` is the photo's own source, no such folder, disk full.
    """
    path = Path(path)
    check_suffix(path.suffix)
    if photo.path is not None and path.exists() and path.samefile(photo.path):
        raise UnhazeError(f"'{path}' is the original, which is never touched; give another name")
    if path.exists() and not overwrite:
        raise UnhazeError(f"'{path}' exists; give another name or ask to overwrite it")
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    with _one_line_errors(f"cannot write '{path}'", "perhaps the disk is full"):
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
    with _one_line_errors(f"cannot encode '{suffix}'", "perhaps too large for the format"):
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


@contextmanager
def _one_line_errors(doing: str, guess: str) -> Iterator[None]:
    """libvips' and the system's errors as one UnhazeError; `guess`: why libvips usually fails."""
    try:
        yield
    except pyvips.Error as error:
        said = [line for line in error.detail.splitlines() if line and "bad seek" not in line]
        reason = f" ({'; '.join(dict.fromkeys(said))})" if said else ""
        raise UnhazeError(f"{doing}: {guess}{reason}") from error
    except OSError as error:
        raise UnhazeError(f"{doing}: {error.strerror or error}") from error


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
    found = [key for key in image.get_fields() if key in CARRIED or key.startswith("png-comment-")]
    if IPTC in found and image.get("vips-loader").startswith("tiff"):
        log.warning("%s: its IPTC block cannot be carried over", name)
        found.remove(IPTC)  # libvips reads a quarter of it: a count of 32-bit words taken for bytes
    return {key: image.get(key) for key in found}


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
    while (marker := stream.read(2)) and marker[0] == 0xFF and marker[1] != 0xDA:
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


def _save(photo: Photo, suffix: str, target: pyvips.Target) -> None:
    saver = SAVERS[suffix.lower()]
    image = _from_pixels(photo, saver, suffix)
    for key, value in photo.metadata.items():
        if key == IPTC and saver is not JPEG:
            log.warning("'%s' holds no IPTC block; left out", suffix)
            continue
        if key == THUMBNAIL:  # the old one shows the picture as it was
            value = image.thumbnail_image(160).colourspace("srgb").jpegsave_buffer(keep="none")
        kind = pyvips.GValue.blob_type if isinstance(value, bytes) else pyvips.GValue.gstr_type
        image.set_type(kind, key, value)
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
