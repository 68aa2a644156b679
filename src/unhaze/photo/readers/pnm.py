"""The Netpbm formats: PBM, PGM, PPM and PFM, text or binary, up to 16 bits or floats."""

import re

import numpy as np

from unhaze.photo.readers.decoded import Check, Decoded

CHANNELS = {b"1": 1, b"2": 1, b"3": 3, b"4": 1, b"5": 1, b"6": 3, b"f": 1, b"F": 3}
BETWEEN = rb"(?:\s|#[^\n]*\n)+"  # blanks and comments
NUMBER, FACTOR = rb"(\d{1,9})", rb"([-+0-9.eE]{1,20})"


def decode(data: bytes, check: Check) -> Decoded:
    """Returns (H,W,1 or 3) uint8 or uint16 at full range, or float32 from PFM: linear light."""
    kind = data[1:2]
    last = b"" if kind in b"14" else BETWEEN + (FACTOR if kind in b"fF" else NUMBER)
    head = re.match(rb"P." + BETWEEN + NUMBER + BETWEEN + NUMBER + last + rb"\s", data)
    if head is None:
        raise ValueError("no size is found")
    width, height = int(head[1]), int(head[2])
    shape = (height, width, CHANNELS[kind])
    if not width or not height:
        raise ValueError(f"{width} x {height} pixels")
    check(width, height, 8 * shape[2])
    body = memoryview(data)[head.end() :]
    if kind in b"fF":
        return Decoded(_floats(body, shape, float(head[3])), linear=True)
    if kind in b"14":
        return Decoded(_bits(bytes(body), shape, text=kind == b"1"))
    most = int(head[3])
    if not 1 <= most <= 65535:
        raise ValueError(f"white is {most}")
    if kind in b"23":
        numbers = re.sub(rb"#[^\n]*", b"", bytes(body)).split(None, int(np.prod(shape)))
        samples = np.array(numbers[: int(np.prod(shape))], np.uint32).reshape(shape)
    else:
        samples = np.frombuffer(body, ">u1" if most < 256 else ">u2", int(np.prod(shape)))
    return Decoded(_full_range(samples.reshape(shape), most))


def _full_range(samples: np.ndarray, most: int) -> np.ndarray:
    full = 255 if most < 256 else 65535
    dtype = np.uint8 if full == 255 else np.uint16
    if most == full:
        return samples.astype(dtype)
    return np.rint(np.minimum(samples, most) * (full / most)).astype(dtype)


def _bits(body: bytes, shape: tuple[int, int, int], *, text: bool) -> np.ndarray:
    """1 is black."""
    height, width, _ = shape
    if text:
        digits = re.sub(rb"#[^\n]*|\s", b"", body)[: height * width]
        black = np.frombuffer(digits, np.uint8).reshape(shape) == ord("1")
    else:
        rows = np.frombuffer(body, np.uint8, height * -(-width // 8)).reshape(height, -1)
        black = np.unpackbits(rows, axis=1)[:, :width].reshape(shape) == 1
    return np.where(black, 0, 255).astype(np.uint8)


def _floats(body: memoryview, shape: tuple[int, int, int], factor: float) -> np.ndarray:
    """Reads rows from the lowest up; a negative factor means little-endian."""
    dtype = "<f4" if factor < 0 else ">f4"
    samples = np.frombuffer(body, dtype, int(np.prod(shape))).reshape(shape)[::-1]
    return np.ascontiguousarray(samples, np.float32)
