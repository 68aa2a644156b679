"""TIFF files with more bands than a picture: which ones are colours, and what happens to the
others.

The picture consists of three bands (or one), and is written back among the others, which do not
change.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyvips

from unhaze.errors import UnhazeError
from unhaze.photo import exif
from unhaze.photo.decoding import SAMPLES
from unhaze.photo.exif import bytes_of, numbers_of, overwrite_numbers

GDAL_METADATA = 42112
RGB = 2  # the photometric interpretation
ALPHAS = {1, 2}  # kinds of an extra sample: associated and not
ROLE = re.compile(rb'<Item name="COLORINTERP" sample="(\d+)"[^>]*>(Red|Green|Blue)</Item>')


@dataclass(frozen=True)
class Bands:
    """chosen: numbers, from 0, of the bands that form the picture: grey or RGB, then alpha if there
    is one.

    count: number of all bands, of type `dtype`. is_rgb: whether the file marks its first three as
    RGB. extra: kinds of the bands after the colours. image: opens the file again and returns all
    bands, not yet computed.
    """

    chosen: tuple[int, ...]
    count: int
    dtype: np.dtype
    is_rgb: bool
    extra: tuple[int, ...]
    image: Callable[[], pyvips.Image]

    @property
    def words(self) -> str:
        """Returns the note on the bands that a result lacks."""
        rest = self.count - len(self.chosen)
        return f"{rest} further band{'s' * (rest > 1)}"

    def picked(self, image: pyvips.Image) -> pyvips.Image:
        """Selects the bands of the picture."""
        found = _joined(image, self.chosen)
        spaces = {"uchar": ("b-w", "srgb"), "ushort": ("grey16", "rgb16")}
        grey, colours = spaces.get(str(image.format), ("b-w", "scrgb"))
        return found.copy(interpretation=grey if len(self.chosen) == 1 else colours)

    def whole(self, picture: pyvips.Image) -> pyvips.Image:
        """Returns all bands with those of the picture replaced; the metadata is the picture's."""
        kept = self.image().cast(picture.format)
        joined = picture.bandjoin(kept)
        places = {number: at for at, number in enumerate(self.chosen)}
        places = [places.get(number, picture.bands + number) for number in range(self.count)]
        # For another kind, libvips would mark the first three as RGB.
        grey = "grey16" if picture.format == "ushort" else "b-w"
        space = picture.interpretation if self.is_rgb else grey
        return _joined(joined, places).copy(interpretation=space)

    def name_extra(self, file: BinaryIO) -> None:
        """Writes the kinds of the bands after the colours into a finished file."""
        kinds = self.extra or (exif.UNSPECIFIED,) * self.count
        if exif.first_number(file, exif.EXTRA_SAMPLES) is not None:
            overwrite_numbers(file, exif.EXTRA_SAMPLES, kinds)


def _joined(image: pyvips.Image, places: Sequence[int]) -> pyvips.Image:
    first, *rest = (image.extract_band(place) for place in places)
    return first.bandjoin([*rest]) if rest else first


def bands_of(
    file: BinaryIO,
    image: pyvips.Image,
    asked: tuple[int, ...] | None,
    reopen: Callable[[], pyvips.Image],
    name: str,
) -> Bands | None:
    """Returns None for an ordinary picture. `asked`: one or three numbers, from 0.

    UnhazeError: there are no such bands, or the file does not mark red, green and blue.
    """
    if image.interpretation == "cmyk" or image.bands < 3 and asked is None:
        return None
    is_rgb = exif.first_number(file, exif.PHOTOMETRIC) == RGB
    extra = numbers_of(file, exif.EXTRA_SAMPLES)
    chosen = asked or (None if is_rgb else _by_roles(file))
    if chosen is not None and max(chosen) >= image.bands:
        raise UnhazeError(f"{name} has {image.bands} bands; there is no band {max(chosen) + 1}")
    if chosen is None and image.bands <= 4:
        return None
    if chosen is None and is_rgb:
        alpha = [3 + at for at, kind in enumerate(extra) if kind in ALPHAS]
        chosen = (0, 1, 2, *alpha[:1])
    if chosen is None:
        raise UnhazeError(
            f"{name} has {image.bands} channels and does not say which are red, green and blue;"
            " give the option bands, such as 4,3,2"
        )
    dtype = SAMPLES.get(str(image.format), np.dtype(np.float32))
    return Bands(chosen, image.bands, dtype, is_rgb, extra, reopen)


def _by_roles(file: BinaryIO) -> tuple[int, ...] | None:
    """Returns the bands by the colour roles that GDAL writes."""
    found = ROLE.findall(bytes_of(file, GDAL_METADATA))
    roles = {role: int(number) for number, role in found}
    if roles.keys() != {b"Red", b"Green", b"Blue"}:
        return None
    return roles[b"Red"], roles[b"Green"], roles[b"Blue"]
