"""What a photo is: pixels and everything that must survive beside them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyvips

from unhaze.errors import UnhazeError

pyvips.cache_set_max(0)  # libvips would otherwise keep whole pictures of past operations in memory

# libvips' names for what is carried from file to file.
THUMBNAIL = "jpeg-thumbnail-data"  # the small JPEG inside EXIF
IPTC = "iptc-data"
CARRIED = ("exif-data", "xmp-data", "icc-profile-data", "image-description", IPTC, THUMBNAIL)


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


def to_float(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 of any shape -> float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


@contextmanager
def one_line_errors(doing: str, guess: str) -> Iterator[None]:
    """libvips' and the system's errors as one UnhazeError; `guess`: why libvips usually fails."""
    try:
        yield
    except pyvips.Error as error:
        said = [line for line in error.detail.splitlines() if line and "bad seek" not in line]
        reason = f" ({'; '.join(dict.fromkeys(said))})" if said else ""
        raise UnhazeError(f"{doing}: {guess}{reason}") from error
    except OSError as error:
        raise UnhazeError(f"{doing}: {error.strerror or error}") from error
