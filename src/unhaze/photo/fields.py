"""The metadata fields of libvips images."""

from typing import Any

import pyvips


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
