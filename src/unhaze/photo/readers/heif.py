"""HEIC and HEIF, the formats of phones, by pi-heif (libheif and libde265)."""

import io
import re
from typing import Any

import numpy as np
import pyvips

from unhaze.photo import behind, exif, inventory, profile
from unhaze.photo.picture import BEHIND, EXIF, ICC, VIEWS, XMP, set_bytes
from unhaze.photo.readers.decoded import Check, Decoded

ROWS = 16
APPLE_GAIN_MAP = "urn:com:apple:photo:2020:aux:hdrgainmap"
GAIN_MAPS, GAIN_MAP_QUALITY = ("gainmap", "21496"), 90
PACKET = re.compile(rb"<x:xmpmeta.{1,65536}?</x:xmpmeta>", re.DOTALL)
GAIN_MAP_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:HDRGainMap="http://ns.apple.com/HDRGainMap/1.0/"'
    b' xmlns:apdi="http://ns.apple.com/pixeldatainfo/1.0/"'
    b' apdi:AuxiliaryImageType="urn:com:apple:photo:2020:aux:hdrgainmap"'
    b' HDRGainMap:HDRGainMapVersion="65536"/></rdf:RDF></x:xmpmeta>'
)


def decode(data: bytes, check: Check) -> Decoded:
    """Returns the primary picture; libheif turns it upright, regardless of EXIF."""
    import pi_heif

    container = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    primary = container[container.primary_index]
    info = primary.info
    bits = int(info["bit_depth"])
    width, height = primary.size
    check(width, height, 8)
    samples = _at_full_range(np.asarray(primary), bits)
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
    gain_map = _gain_map(primary, info, data)
    found |= gain_map
    lost, held = _beside(container, info, bool(gain_map))
    if lost and XMP in found:
        lost += inventory.correct_xmp(found, lost)
    return Decoded(samples, found, lost=lost, held=held)


def _at_full_range(decoded: np.ndarray, bits: int) -> np.ndarray:
    """Returns a copy, because libheif's memory is freed with its container: (H,W,C) uint8, or
    uint16 with the bits of the file as the highest. Copies some rows at a time, which stay in the
    cache.
    """
    shaped = decoded[..., None] if decoded.ndim == 2 else decoded
    if bits == 8:
        return np.array(shaped)
    samples = np.empty(shaped.shape, np.uint16)
    for start in range(0, len(shaped), ROWS):
        rows, part = shaped[start : start + ROWS], samples[start : start + ROWS]
        np.left_shift(rows, 16 - bits, out=part)
        part |= rows >> (2 * bits - 16)
    return samples


def _gain_map(primary: Any, info: dict[str, Any], data: bytes) -> dict[str, bytes]:
    """Returns the gain map in the form in which JPEG cameras append it; empty if there is none of
    that kind.

    It describes how much brighter a bright screen shows each place, and fits the restored picture
    as it fitted the hazy one.
    """
    numbers = info.get("aux", {}).get(APPLE_GAIN_MAP)
    if not numbers:
        return {}
    image = primary.get_aux_image(numbers[0])
    samples = np.asarray(image)
    (width, height), (across, down) = primary.size, image.size
    turned = abs(width * down - height * across) > 0.05 * width * down
    if samples.ndim != 2 or samples.dtype != np.uint8 or turned:
        return {}
    grey = pyvips.Image.new_from_array(samples).copy(interpretation="b-w")
    packets = (each for each in PACKET.findall(data) if b"HDRGainMap" in each)
    set_bytes(grey, XMP, next(packets, GAIN_MAP_XMP))
    encoded = bytes(grey.jpegsave_buffer(Q=GAIN_MAP_QUALITY, keep=pyvips.ForeignKeep.XMP))
    return {BEHIND: encoded, VIEWS: behind.VIEW.pack(0, len(encoded), 0)}


def _beside(
    container: Any, info: dict[str, Any], has_gain_map: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the other content of the file: what is lost, and what JPEG can hold."""
    kinds = [kind.lower() for kind in info.get("aux", {})]
    is_gain_map = [any(word in kind for word in GAIN_MAPS) for kind in kinds]
    lost = (inventory.GAIN_MAP,) if any(is_gain_map) and not has_gain_map else ()
    if info.get("depth_images"):
        lost += (inventory.DEPTH,)
    if not all(is_gain_map):
        lost += (inventory.MASKS,)
    if len(container) > 1:
        lost += (inventory.VIEWS,)
    return lost, (inventory.GAIN_MAP,) if has_gain_map else ()
