"""The types of a photo: opened, in strips or decoded, and the metadata to keep.

Also the fields of libvips images.
"""

import errno
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo import kinds

if TYPE_CHECKING:
    from unhaze.photo.bands import Bands

pyvips.cache_set_max(0)  # libvips would otherwise keep whole pictures of past operations in memory
logging.getLogger("pyvips").setLevel(logging.ERROR)  # its warnings are followed by an error

# Keys of `Traits.metadata`: libvips' names for what is copied from file to file.
EXIF = "exif-data"  # a TIFF structure, from its "II" or "MM" on
XMP = "xmp-data"
ICC = "icc-profile-data"
IPTC = "iptc-data"  # as in JPEG: "Photoshop 3.0", then Photoshop's resource blocks
# Not libvips':
TEXTS = "png-texts"  # whole chunks
SEGMENTS = "jpeg-segments"  # whole segments: comments, extended XMP, thermal data ...
BEHIND = "jpeg-behind"  # data behind the picture: gain map, video
VIEWS = "jpeg-views"  # places of pictures in it, packed by `behind`
GAIN_MAP_SIGN = "jpeg-gain-map-sign"  # the whole segment that announces one (ISO 21496-1)
COLOURS = "png-colours"  # whole chunks: cICP, gAMA, cHRM, sRGB, mDCV, cLLI
ABOUT = "png-about"  # whole chunks: tIME, and bKGD in RGB of 16 bits
NUMBERS = "colour-numbers"  # primaries and transfer of AVIF's nclx, two bytes each


# Names of `Traits.metadata` in messages.
WORDS = {EXIF: "EXIF", XMP: "XMP", ICC: "ICC profile", IPTC: "IPTC", TEXTS: "texts"}
WORDS |= {ABOUT: "date or background"}
WORDS |= {SEGMENTS: "comments", COLOURS: "colour tags", NUMBERS: "colour tags"}
WORDS |= {BEHIND: "gain map or video"}
STRIP = 1 << 18  # pixels decoded at once
CELL = 8  # pixels along a block of JPEG, which stores its mean


@dataclass(frozen=True)
class Traits:
    """Everything of a picture except its pixels, written back with them.

    `grey`: one channel in the file. `metadata`: by the keys above. `orientation`: 1-8 as in EXIF,
    how to turn the stored rows for display. `profile`: ICC profile of the samples, embedded or
    derived from colour tags; None: sRGB. `top`: the sample that is white, if it is not the largest
    of the type. `extra`: the channel after the colours is not transparency (infrared for example),
    but is kept as alpha is; only TIFF supports it. `lost`: names of what the file held and no
    restored one holds; `held`: names of what only JPEG holds.
    `format`: of the source, e.g. "jpeg"; `quality`: of a JPEG or WebP source, estimated;
    `lossless`: of a WebP source; `full_chroma`: False for a source with 4:2:0. `density`: pixels
    per millimetre; `inches`: whether it was given per inch. `tile`: (width, height) of the tiles of
    a TIFF source; `overviews`: whether it also contained reduced copies. `missing`: the sample that
    means, in all colours, that there is no data. `bands`: of a TIFF file with more bands than the
    picture. `path`: the file that was read.
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
    """A decoded, upright picture.

    `pixels` (H,W,3) uint8, uint16 or float32, RGB as encoded (sRGB, or by `traits.profile`); three
    equal channels if `traits.grey`. `alpha` (H,W) of the same type or None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    traits: Traits = Traits()


@dataclass(frozen=True)
class Stream:
    """A picture in strips, from its first stored row to its last, that can be read once.

    `strips`: (n,W,channels) uint8, uint16 or float32, grey or RGB, then alpha if there is one;
    together they have the `shape` (H,W,channels) and the `dtype`. `preview`: (h,w,3) uint8, a small
    version with the same orientation, for the EXIF thumbnail; None: the existing thumbnail is
    right.
    """

    strips: Iterable[np.ndarray]
    shape: tuple[int, int, int]
    dtype: np.dtype
    traits: Traits
    preview: np.ndarray | None = None


@dataclass(frozen=True)
class Opened:
    """A picture of which only the header has been read; its pixels can be read repeatedly.

    `shape` (H,W,channels) as stored: grey or RGB, then alpha if there is one. `image()`: the
    picture, not decoded yet, to be read from its first row to its last. `guess`: why that may fail.
    `cells`: the same by means of CELL x CELL pixels, which is faster to decode; None if the format
    has none.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    traits: Traits
    image: Callable[[], pyvips.Image]
    guess: str = kinds.DAMAGED
    cells: Callable[[], pyvips.Image] | None = None

    def stream(self) -> Stream:
        """Returns the rows as stored. Reading them raises UnhazeError if the file is damaged or
        truncated.
        """
        return Stream(self._strips(), self.shape, self.dtype, self.traits)

    def to_shrink(self, long_side: int) -> pyvips.Image:
        """`image()`, or the same in cells where nothing of what `long_side` pixels show is lost."""
        short, long = sorted(self.shape[:2])
        large = long >= CELL * long_side and short >= CELL
        return self.cells() if large and self.cells else self.image()

    def words(self) -> list[str]:
        """Returns size, depth and metadata in words."""
        height, width, channels = self.shape
        bits = 8 * self.dtype.itemsize
        depth = f"{bits}-bit floats" if self.dtype.kind == "f" else f"{bits} bits"
        found = [f"{width} x {height}", depth] + ["transparency"] * (channels in (2, 4))
        return found + [WORDS[key] for key in WORDS if key in self.traits.metadata]

    def largest(self) -> float:
        """Returns the largest value of the colours; it reads the whole picture."""
        with self.reading():
            bands = self.image().extract_band(0, n=1 if self.traits.grey else 3)
            number: Any = bands.max()  # and not a list, because its place was not requested
            return number

    def reading(self) -> AbstractContextManager[None]:
        """Turns libvips' errors inside the block into one line that names the picture."""
        return one_line_errors(f"cannot read {self.name}", self.guess)

    def _strips(self) -> Iterator[np.ndarray]:
        height, width, channels = self.shape
        rows = max(1, STRIP // width)
        with self.reading():
            region = pyvips.Region.new(self.image())
        for start in range(0, height, rows):
            count = min(rows, height - start)
            with self.reading():
                data = region.fetch(0, start, width, count)
            yield np.frombuffer(data, self.dtype).reshape(count, width, channels)


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Turns stored samples (H,W,C) for display; `orientation` 1-8 as in EXIF. Returns a view."""
    turned = np.rot90(samples, _quarter_turns(orientation))
    return turned[:, ::-1] if orientation in (2, 4, 5, 7) else turned


def as_stored(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes `upright`. Returns a view."""
    turned = samples[:, ::-1] if orientation in (2, 4, 5, 7) else samples
    return np.rot90(turned, -_quarter_turns(orientation))


def _quarter_turns(orientation: int) -> int:
    return {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}.get(orientation, 0)


@contextmanager
def one_line_errors(doing: str, guess: str) -> Iterator[None]:
    """Raises errors of libvips and the system as one UnhazeError; `guess`: the usual cause."""
    try:
        yield
    except pyvips.Error as error:
        said = [line for line in error.detail.splitlines() if line and "bad seek" not in line]
        reason = f" ({'; '.join(dict.fromkeys(said))})" if said else ""
        raise UnhazeError(f"{doing}: {guess}{reason}") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # an invalid offset, read from the file itself
            raise UnhazeError(f"{doing}: {guess}") from error
        raise UnhazeError(f"{doing}: {error.strerror or error}") from error


def value_of(image: pyvips.Image, name: str, default: Any) -> Any:
    """A field, or `default` where it is absent or not UTF-8."""
    try:
        return image.get(name) if image.get_typeof(name) else default
    except UnicodeDecodeError:
        return default


def set_bytes(image: pyvips.Image, name: str, value: bytes) -> None:
    """Sets a field of bytes, such as an ICC profile, in place."""
    # pyvips takes bytes here; its type stubs leave them out.
    image.set_type(pyvips.GValue.blob_type, name, value)  # pyright: ignore[reportArgumentType]
