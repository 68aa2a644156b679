"""Readers of formats that libvips does not support; each module has a function `decode`."""

import importlib
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from unhaze.errors import UnhazeError
from unhaze.extras import explain_missing
from unhaze.formats import FORMATS
from unhaze.photo.readers.decoded import Check, Decoded

# Format: the file here and its function (bytes, Check) -> Decoded, loaded when one is read.
DECODERS = {
    "heic": ("heif", "decode"),
    "raw": ("raw", "decode"),
    "jxl": ("jxl", "decode"),
    "jp2": ("codestreams", "decode_jp2"),
    "qoi": ("codestreams", "decode_qoi"),
    "exr": ("exr", "decode"),
    "bmp": ("pillow", "decode_bmp"),
    "tga": ("pillow", "decode_tga"),
    "psd": ("psd", "decode"),
    "pnm": ("pnm", "decode"),
    "pfm": ("pnm", "decode"),
    "tiff": ("tiff", "decode"),
    "avif": ("pillow", "decode_first_avif"),
}
MODULES = {key: FORMATS[key].reader for key in DECODERS} | {"tiff": "tifffile", "avif": "PIL"}
OBJECT = re.compile(r" ?<\S+ object at 0x\w+>")  # with no information for users
OWN = {"libvips", "unhaze"}  # that need no import
# What the libraries raise for damaged files; their own errors are subclasses of these.
DAMAGES = (ValueError, RuntimeError, OSError, EOFError, SyntaxError, TypeError, IndexError)
DAMAGES += (
    struct.error,
    KeyError,
    NotImplementedError,
    ArithmeticError,
    AssertionError,
    AttributeError,
)


def decode(
    key: str, file: BinaryIO, name: str, check: Check, *, kind: str | None = None
) -> Decoded:
    """Decodes the picture with the library of its format. `kind`: what it is, if not just that
    format.

    check(width, height, bytes per pixel) is called before the pixels are decoded, and may raise.
    UnhazeError: damaged, too large, or the library is not installed.
    """
    file.seek(0)
    data = file.read()
    with one_line(f"cannot read {name}", kind or f"{FORMATS[key].name} file"):
        if MODULES[key] not in OWN:
            importlib.import_module(MODULES[key])
        reader, function = DECODERS[key]
        module = importlib.import_module(f"unhaze.photo.readers.{reader}")
        decoded = getattr(module, function)(data, check)
        if not decoded.samples.size:
            raise ValueError("it has no pixels")
        return decoded


@contextmanager
def one_line(doing: str, kind: str) -> Iterator[None]:
    """Turns the errors of libraries inside the block into one UnhazeError; `kind`: what the file
    is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = explain_missing(error, f"this {kind}")
        if missing is None:
            raise
        raise UnhazeError(f"{doing}: {missing}") from error
    except UnhazeError as error:
        named = str(error).startswith(doing.removeprefix("cannot read "))
        raise error if named else UnhazeError(f"{doing}: {error}") from error
    except DAMAGES as error:
        said = " ".join(OBJECT.sub("", str(error)).split())[:200]
        reason = f" ({said})" if said else ""
        where = "it may be cut off or of a rare kind"
        raise UnhazeError(f"{doing}: this {kind} cannot be decoded; {where}{reason}") from error
    except MemoryError as error:
        raise UnhazeError(f"{doing}: not enough memory for {kind}") from error
