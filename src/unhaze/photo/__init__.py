"""Reading and writing photos: metadata travels with the pixels, and files are written
atomically.
"""

from unhaze.photo.converting import whole, widened
from unhaze.photo.picture import Opened, Photo, Stream, Traits, as_stored, upright
from unhaze.photo.reading import open_photo, read, read_rgb
from unhaze.photo.savers import SAVERS
from unhaze.photo.series import encode_series, open_series, write_series
from unhaze.photo.writing import (
    SUFFIXES,
    check_suffix,
    encode,
    kept_suffix,
    write,
    write_rgb,
)

__all__ = [
    "SAVERS",
    "SUFFIXES",
    "Opened",
    "Photo",
    "Stream",
    "Traits",
    "as_stored",
    "check_suffix",
    "encode",
    "encode_series",
    "kept_suffix",
    "open_photo",
    "open_series",
    "read",
    "read_rgb",
    "upright",
    "whole",
    "widened",
    "write",
    "write_rgb",
    "write_series",
]
