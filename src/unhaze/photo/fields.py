"""Typed access to the metadata fields of libvips images."""

from typing import Any

import pyvips


def set_bytes(image: pyvips.Image, name: str, value: bytes) -> None:
    """Sets a field of bytes, such as an ICC profile, in place."""
    # pyvips takes bytes here; its type stubs leave them out.
    image.set_type(pyvips.GValue.blob_type, name, value)  # pyright: ignore[reportArgumentType]


def bytes_of(image: pyvips.Image, name: str) -> bytes | None:
    """Returns a field of bytes, None if there is none."""
    return _value(image, name)


def number_of(image: pyvips.Image, name: str, usual: int) -> int:
    """Returns an integer field, `usual` if there is none."""
    value = _value(image, name)
    return usual if value is None else int(value)


def numbers_of(image: pyvips.Image, name: str) -> list[int] | None:
    """Returns a field of integers, None if there is none."""
    return _value(image, name)


def _value(image: pyvips.Image, name: str) -> Any:
    return image.get(name) if image.get_typeof(name) else None
