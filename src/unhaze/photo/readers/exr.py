"""OpenEXR by its own library: scene-linear light, also brighter than white."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.photo import profile
from unhaze.photo.readers.decoded import Check, Decoded, with_channels
from unhaze.photo.readers.silence import silent

WARNS = "Exception raised"  # its only message if pixels cannot be read
LUMINANCE = ("Y", "L")
MORE = "more parts"  # our key in the header
OTHERS = "further layers and channels"


def decode(data: bytes, check: Check) -> Decoded:
    """Returns (H,W,C) float32, linear, with the primaries of sRGB; grey or RGB, then alpha if there
    is one.
    """
    channels, about = _channels(data, check)
    names = _names(list(channels))
    planes = [channels[name] for name in names]
    if len({plane.shape for plane in planes}) > 1:
        raise UnhazeError("this OpenEXR file has channels of several sizes (luminance and chroma)")
    samples = with_channels(np.stack(planes, axis=2).astype(np.float32))
    if "chromaticities" in about and len(names) >= 3:
        samples = _to_srgb_primaries(samples, about["chromaticities"])
    lost = (OTHERS,) if len(channels) > len(names) or about[MORE] else ()
    return Decoded(samples, linear=True, lost=lost)


def _channels(data: bytes, check: Check) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns channels by name, and the header. ValueError: damaged (OpenEXR only prints a
    message).
    """
    import OpenEXR

    # It reads files by name only.
    with tempfile.TemporaryDirectory(prefix="unhaze-") as folder, silent(folder, WARNS) as printed:
        path = Path(folder) / "picture.exr"
        path.write_bytes(data)
        with OpenEXR.File(str(path), separate_channels=True, header_only=True) as file:
            low, high = file.header()["dataWindow"]
            check(int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1, 4 * 4)
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: each.pixels for name, each in file.channels().items()}
            about = file.header() | {MORE: len(file.parts) > 1}
    if printed:
        raise ValueError(printed[0].rpartition(": ")[2])
    return channels, about


def encoded(samples: np.ndarray, bits: int) -> bytes:
    """Returns the bytes of a file of (H,W,C) float32; bits: 16 or 32 per sample."""
    import OpenEXR

    dtype = np.float16 if bits == 16 else np.float32
    most = float(np.finfo(dtype).max)
    bounded = np.clip(np.nan_to_num(samples, posinf=most), -most, most).astype(dtype)
    names = {1: "Y", 2: "YA", 3: "RGB", 4: "RGBA"}[samples.shape[2]]
    planes = {name: np.ascontiguousarray(bounded[..., at]) for at, name in enumerate(names)}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with tempfile.TemporaryDirectory(prefix="unhaze-") as folder:
        path = Path(folder) / "picture.exr"
        OpenEXR.File(header, planes).write(str(path))
        return path.read_bytes()


def _names(channels: list[str]) -> list[str]:
    """Returns the names of the picture's channels; those of a layer only if there are no others."""
    for prefix in ("", *sorted({name.rpartition(".")[0] + "." for name in channels})):
        colours = [prefix + letter for letter in "RGB"]
        grey = [prefix + letter for letter in LUMINANCE if prefix + letter in channels][:1]
        chosen = colours if set(colours) <= set(channels) else grey
        if chosen:
            return chosen + [prefix + "A"] * (prefix + "A" in channels)
    raise UnhazeError(f"this OpenEXR file has the channels {', '.join(channels)}; expected R, G, B")


def _to_srgb_primaries(samples: np.ndarray, chromaticities: object) -> np.ndarray:
    numbers = np.asarray(chromaticities, float).reshape(4, 2)
    if np.abs(numbers - np.array(profile.PRIMARIES[1])).max() < 0.002:
        return samples
    there = profile.colorants(numbers.tolist())
    here = profile.colorants(profile.PRIMARIES[1])
    matrix = (np.linalg.inv(here) @ there).astype(np.float32)
    return np.concatenate([samples[..., :3] @ matrix.T, samples[..., 3:]], axis=2)
