"""HEIC and HEIF by pi-heif (libheif and libde265): what phones write."""

import io
from typing import Any

import numpy as np

from unhaze.photo import exif, inventory, profile
from unhaze.photo.picture import EXIF, ICC, XMP
from unhaze.photo.readers.decoded import Check, Decoded, with_channels

APPLE_GAIN_MAP = "urn:com:apple:photo:2020:aux:hdrgainmap"


def decode(data: bytes, check: Check) -> Decoded:
    """The primary picture; libheif turns it upright, whatever EXIF says."""
    import pi_heif

    container = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    primary = container[container.primary_index]
    info = primary.info
    bits = int(info["bit_depth"])
    width, height = primary.size
    check(width, height, 8)
    samples = with_channels(np.array(primary))  # a copy: libheif's memory goes with its container
    if bits > 8:  # to the full range, of which the highest bits are the same
        samples = samples << (16 - bits) | samples >> (2 * bits - 16)
    metadata = {XMP: info.get("xmp"), ICC: info.get("icc_profile")}
    if block := info.get("exif"):
        block = block[block.find(b"Exif\0\0") + 6 :] if b"Exif\0\0" in block[:16] else block
        metadata[EXIF] = exif.edited(block, 1, False, None)
    if not metadata[ICC] and (numbers := info.get("nclx_profile")):
        made = profile.from_numbers(
            int(numbers["color_primaries"]), int(numbers["transfer_characteristics"])
        )
        metadata[ICC] = made
    found = {key: bytes(value) for key, value in metadata.items() if value}
    lost = _lost(container, info)
    if lost and XMP in found:
        lost += inventory.correct_xmp(found, lost)
    return Decoded(samples, found, lost=lost)


def _lost(container: Any, info: dict[str, Any]) -> tuple[str, ...]:
    """What stands beside the primary picture."""
    lost = ()
    auxiliary = info.get("aux", {})
    if any("gainmap" in kind.lower() for kind in auxiliary):
        lost += (inventory.GAIN_MAP,)
    if info.get("depth_images"):
        lost += (inventory.DEPTH,)
    if len(container) > 1:
        lost += (inventory.VIEWS,)
    return lost
