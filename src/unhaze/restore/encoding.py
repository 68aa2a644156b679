"""Encoding options of videos: one table for command, Python, files and service.

Does not need PyAV. `video.codecs` maps them to encoders and fills in defaults.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from unhaze.errors import UnhazeError
from unhaze.recipe_layers import read_toml
from unhaze.validation import nearest

CODEC_NAMES = ("h264", "h265", "av1", "vp9", "prores", "ffv1", "rawvideo")
SOURCE_CODEC = "copy-of-source"
OTHER_NAMES = {"hevc": "h265", "x264": "h264", "x265": "h265"}
HARDWARE_NAMES = ("nvenc", "qsv", "amf", "videotoolbox", "vaapi")
AUDIO = ("copy", "aac", "opus", "none")
UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
SIZES = ("crf", "bitrate", "target_size")  # of which at most one may be set
WORD = re.compile(r"[A-Za-z0-9_.+-]{1,32}")


@dataclass(frozen=True)
class Choice:
    """One setting of the encoding. `read`: text -> value, ValueError if it is invalid.

    `expected`: valid values, for messages; `metavar`, `help`: for the command line.
    """

    read: Callable[[str], Any]
    expected: str
    metavar: str
    help: str


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return read


def _codec(text: str) -> str:
    name = OTHER_NAMES.get(text.lower(), text)
    if name not in (*CODEC_NAMES, SOURCE_CODEC):
        raise UnhazeError(f"no codec '{name}'; {nearest(name, (*CODEC_NAMES, SOURCE_CODEC))}")
    return name


def _quality(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 63:
        raise ValueError(text)
    return value


def _amount(text: str) -> int:
    """Converts 8M, 800k, 700000 to an integer above 0."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([kmg]?)", text.lower())
    value = round(float(found[1]) * UNITS[found[2]]) if found else 0
    if value < 1000:
        raise ValueError(text)
    return value


def _word(text: str) -> str:
    if not WORD.fullmatch(text):
        raise ValueError(text)
    return text


_CODECS = f"{', '.join(CODEC_NAMES)} or {SOURCE_CODEC}"
CHOICES: Mapping[str, Choice] = {
    "codec": Choice(_codec, _CODECS, "NAME", f"Video codec: {_CODECS}. [default: like the source]"),
    "crf": Choice(
        _quality, "a number from 0 to 63", "N", "Constant quality of a video; lower is better."
    ),
    "bitrate": Choice(
        _amount, "bits a second, as in 8M or 800k", "RATE", "Bit rate of a video, e.g. 8M."
    ),
    "target_size": Choice(
        _amount, "bytes, as in 700M", "SIZE", "File size of a video, by two passes."
    ),
    "preset": Choice(
        _word, "a preset of the encoder", "NAME", "Encoder preset of a video, e.g. slow."
    ),
    "pixel_format": Choice(
        _word,
        "FFmpeg's name of a pixel format",
        "NAME",
        "Pixel format of a video, e.g. yuv420p10le.",
    ),
    "hw": Choice(
        _one_of("auto", "off", *HARDWARE_NAMES),
        f"auto, off, {', '.join(HARDWARE_NAMES)}",
        "NAME",
        f"Hardware encoder of a video: auto, off, {', '.join(HARDWARE_NAMES)}.",
    ),
    "audio": Choice(
        _one_of(*AUDIO), ", ".join(AUDIO), "NAME", f"Sound of a video: {', '.join(AUDIO)}."
    ),
}


@dataclass(frozen=True)
class Encoding:
    """Encoding of a restored video; None: chosen to suit the source.

    codec: of CODEC_NAMES, or "copy-of-source": exactly that of the source. crf: quality on the
    scale of the encoder, 0 to 63. bitrate: bits per second. target_size: bytes of the whole file,
    reached in two passes if the encoder supports them. preset, pixel_format: by their names in
    FFmpeg. hw: "off", "auto" or a kind of hardware encoder; one that does not work here is replaced
    by the software encoder, with a note. audio: "copy", or the codec of the sound, or "none".
    UnhazeError: invalid values, and two of crf, bitrate, target_size.
    """

    codec: str | None = None
    crf: float | None = None
    bitrate: int | None = None
    target_size: int | None = None
    preset: str | None = None
    pixel_format: str | None = None
    hw: str = "off"
    audio: str = "copy"

    def __post_init__(self) -> None:
        """Validates every value, so that Python is as strict as the command line."""
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                object.__setattr__(self, each.name, read_choice(each.name, value))
        given = [name for name in SIZES if getattr(self, name) is not None]
        if len(given) > 1:
            names = " and ".join(given)
            raise UnhazeError(
                f"{names} exclude each other, since each sets the size of the result; give one"
            )

    @property
    def plain(self) -> bool:
        """Returns whether no setting of the picture encoding was given."""
        return replace(self, audio="copy") == Encoding()


def read_choice(name: str, value: Any) -> Any:
    """Returns the value of a setting from text or a number. UnhazeError: states what was
    expected.
    """
    choice = CHOICES[name]
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    try:
        return choice.read(text)
    except ValueError as error:
        raise UnhazeError(f"{name} is {value!r}; expected {choice.expected}") from error


def read_encoding(given: Mapping[str, Any], file: Path | None = None) -> Encoding:
    """Builds an Encoding from the given values and, for the others, those of a TOML `file`.

    UnhazeError: an invalid value or name.
    """
    table = dict(read_toml(file, "encoding")) if file else {}
    for name in table:
        if name not in CHOICES:
            raise UnhazeError(f"unknown key '{name}' in '{file}'; {nearest(name, CHOICES)}")
    said = {name: value for name, value in given.items() if value is not None}
    if said.keys() & set(SIZES):  # a value in the call replaces the file's related values as well
        table = {name: value for name, value in table.items() if name not in SIZES}
    return Encoding(**(table | said))
