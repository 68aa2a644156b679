"""Names the type of a file that is not a readable photo, by its first bytes, for error messages."""

from typing import BinaryIO

import pyvips

from unhaze.formats import FORMATS
from unhaze.photo import pages

NAMES = [each.name for each in FORMATS.values()]
READ = f"{', '.join(NAMES[:-1])} or {NAMES[-1]}"
DAMAGED = "damaged or cut off"
HEAD = 4096
# Offset, bytes, name.
SIGNATURES = (
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG, a drawing"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"<!DOCTYPE html", "an HTML page"),
    (0, b"<html", "an HTML page"),
    (0, b"<head", "an HTML page"),
    (0, b"version https://git-lfs", "a git-LFS pointer (run `git lfs pull` there)"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"PK\x03\x04", "a ZIP file"),
)
# Of readable types, for files that are complete.
WHOLE = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
WHOLE |= {b"II+\0": "TIFF", b"MM\0+": "TIFF", b"RIFF": "WebP", b"GIF8": "GIF"}
# libvips' errors for intact files with an unknown encoding.
UNKNOWN = ("compression", "not implemented", "unsupported", "not supported", "planar", "bits_per")
UNKNOWN += ("not sgi-compressed",)


def guess(file: BinaryIO) -> str:
    """Returns why a TIFF file that cannot be decoded may still be intact."""
    hindrance = pages.hindrance(file)
    if hindrance is None:
        return DAMAGED
    return f"{hindrance}, which is not read; save it in a usual way, such as with LZW"


def kind_of(head: bytes) -> str | None:
    """Returns the known but unreadable type that starts with these bytes, after any blanks."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    head = text if text.startswith(b"<") else head
    signs = ((name, head[at : at + len(sign)], sign) for at, sign, name in SIGNATURES)
    return next((name for name, found, sign in signs if found.lower() == sign.lower()), None)


def describe(file: BinaryIO, error: pyvips.Error | None = None) -> str:
    """Returns type and expectation, or libvips' error for a file of a readable type.

    The position of `file` must be 0.
    """
    head = file.read(HEAD)
    if (name := kind_of(head)) is not None:
        return f"it is {name}, which is not read; expected {READ}"
    whole = next((name for sign, name in WHOLE.items() if head.startswith(sign)), None)
    said = [] if error is None else [line for line in error.detail.splitlines() if line]
    reason = "; ".join(dict.fromkeys(line for line in said if "bad seek" not in line))
    if whole and (not reason or "known format" in reason):
        return f"damaged or cut off; expected a whole {whole}"
    if not reason or "known format" in reason:
        return f"it is no picture; expected {READ}"
    if whole == "TIFF" and (named := guess(file)) != DAMAGED:
        return f"{named} ({reason})"
    if any(word in reason.lower() for word in UNKNOWN):
        return f"it is encoded in a way that is not read ({reason}); save it in a usual one"
    return f"damaged or cut off ({reason})"
