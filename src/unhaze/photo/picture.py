"""The types of a photo: pixels, whole or in strips, and the metadata to keep."""

import errno
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyvips

from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from unhaze.photo.bands import Bands

pyvips.cache_set_max(0)  # libvips would otherwise keep whole pictures of past operations in memory
logging.getLogger("pyvips").setLevel(logging.ERROR)  # what its warnings say follows as an error

# Keys of `Traits.metadata`: libvips' names for what is carried from file to file.
EXIF = "exif-data"  # a TIFF structure, from its "II" or "MM" on
XMP = "xmp-data"
ICC = "icc-profile-data"
IPTC = "iptc-data"  # as in JPEG: "Photoshop 3.0", then Photoshop's resource blocks
# Not libvips':
TEXTS = "png-texts"  # whole chunks
SEGMENTS = "jpeg-segments"  # whole segments: comments, extended XMP, thermal data ...
BEHIND = "jpeg-behind"  # what stands behind the picture: gain map, video
VIEWS = "jpeg-views"  # where in that the pictures are, as `behind` packs it
GAIN_MAP_SIGN = "jpeg-gain-map-sign"  # the whole segment by which ISO 21496-1 announces one
COLOURS = "png-colours"  # whole chunks: cICP, gAMA, cHRM, sRGB, mDCV, cLLI
ABOUT = "png-about"  # whole chunks: tIME, and bKGD in RGB of 16 bits
NUMBERS = "colour-numbers"  # primaries and transfer of AVIF's nclx, two bytes each


@dataclass(frozen=True)
class Traits:
    """Everything of a picture but its pixels, written back with them.

    `grey`: one channel in the file. `metadata`: by the keys above.
    `orientation`: 1-8 as in EXIF, how the rows of the file are to be turned to be seen upright.
    `profile`: the ICC profile by which the samples are to be seen, embedded or made of colour tags;
    None: sRGB. `top`: the sample that is white, where it is not the largest of the type. `extra`:
    the channel after the colours is no transparency (infrared for example), though it is kept as
    alpha is; only TIFF holds it. `lost`:
    what the file held and no restored one holds, in words; `held`: what only JPEG holds, in words.
    `format`: the source's, e.g. "jpeg"; `quality`: of a JPEG or WebP source, estimated; `lossless`:
    of a WebP source; `full_chroma`: False for a source with 4:2:0. `density`: pixels per
    millimetre; `inches`: whether it was given per inch. `tile`: (width, height) of the tiles of a
    TIFF source, `overviews`: whether it also held the picture in small. `missing`: the sample that
    means in all colours that there is no data. `bands`: of a TIFF file that has more than those of
    the picture. `path`: the file that was read.
    """

    grey: bool = False
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    orientation: int = 1
    profile: bytes | None = None
    top: float | None = None
    extra: bool = False
    lost: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    format: str | None = None
    quality: int | None = None
    lossless: bool = False
    full_chroma: bool = True
    density: tuple[float, float] | None = None
    inches: bool = True
    tile: tuple[int, int] | None = None
    overviews: bool = False
    missing: float | None = None
    bands: "Bands | None" = None
    path: Path | None = None


@dataclass(frozen=True)
class Photo:
    """A decoded picture, upright.

    `pixels` (H,W,3) uint8, uint16 or float32, RGB as encoded (sRGB, or by `traits.profile`); three
    equal channels if `traits.grey`. `alpha` (H,W) of the same type or None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    traits: Traits = Traits()


@dataclass(frozen=True)
class Stream:
    """A picture that comes in strips, from its first stored row to its last, and only once.

    `strips`: (n,W,channels) uint8, uint16 or float32, grey or RGB, then alpha if there is one;
    together they have the `shape` (H,W,channels) and the `dtype`. `preview`: (h,w,3) uint8, the
    same in small, stored alike, for the thumbnail in EXIF; None: the thumbnail there is right.
    """

    strips: Iterable[np.ndarray]
    shape: tuple[int, int, int]
    dtype: np.dtype
    traits: Traits
    preview: np.ndarray | None = None


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """(H,W,C) as stored -> as it should be seen; `orientation` 1-8 as in EXIF. A view."""
    turned = np.rot90(samples, _quarter_turns(orientation))
    return turned[:, ::-1] if orientation in (2, 4, 5, 7) else turned


def as_stored(samples: np.ndarray, orientation: int) -> np.ndarray:
    """(H,W,C) as it is seen -> as stored: undoes `upright`. A view."""
    turned = samples[:, ::-1] if orientation in (2, 4, 5, 7) else samples
    return np.rot90(turned, -_quarter_turns(orientation))


def _quarter_turns(orientation: int) -> int:
    return {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}.get(orientation, 0)


def to_float(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 of any shape -> float32 in [0, 1]; floats as they are."""
    if pixels.dtype == np.float32:
        return pixels
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
        if error.errno == errno.EINVAL:  # a place that a file cannot have, named by another
            raise UnhazeError(f"{doing}: {guess}") from error
        raise UnhazeError(f"{doing}: {error.strerror or error}") from error
