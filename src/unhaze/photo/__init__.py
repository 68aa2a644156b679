"""Photos in and out: what must survive travels with the pixels; no file is ever half written."""

from unhaze.photo.picture import Photo, to_float
from unhaze.photo.reading import read, read_rgb
from unhaze.photo.writing import SAVERS, SUFFIXES, check_suffix, encode, write, write_rgb

__all__ = [
    "SAVERS",
    "SUFFIXES",
    "Photo",
    "check_suffix",
    "encode",
    "read",
    "read_rgb",
    "to_float",
    "write",
    "write_rgb",
]
