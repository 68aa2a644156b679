"""Chooses codec, encoder and pixel format of a restored video: as requested, else like its source.

Also side data of frames: kept if the encoder writes it, otherwise reported.
"""

import ctypes
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av import VideoFrame
from av.codec.codec import Codec as AvCodec
from av.codec.codec import PixFmtLoss, codecs_available, find_best_pix_fmt_of_list
from av.error import FFmpegError
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from unhaze.errors import UnhazeError
from unhaze.restore.encoding import SOURCE_CODEC, Encoding
from unhaze.restore.video.containers import CONTAINERS
from unhaze.restore.video.encoders import CODECS, FAMILIES, HARDWARE, Codec
from unhaze.validation import lookup, nearest

# Of the source's bit rate, for a result in its codec: details that haze hid need a little more.
SHARE = 1.1
TELLING = 2.0  # seconds below which no encoder reaches an average rate
OVERHEAD = 0.99  # share of a file of a target size that is left for pictures and sound
LEAST_RATE = 10_000  # lowest usable bits per second of a video
SMALL = 16  # pixels along a side
# For each kind of FFmpeg's side data: its name for users, and the encoders that write it.
CARRIED: dict[Type, tuple[str, tuple[str, ...]]] = {
    Type.A53_CC: ("closed captions", ("libx264",)),
    Type.STEREO3D: ("the layout of stereo 3D", ("libx264",)),
    Type.SPHERICAL: ("the mark as a 360-degree video", ()),
    Type.MASTERING_DISPLAY_METADATA: ("the mastering display of HDR", ("libx265",)),
    Type.CONTENT_LIGHT_LEVEL: ("the light level of HDR", ("libx265",)),
    Type.DYNAMIC_HDR_PLUS: ("the metadata of HDR10+", ()),
    Type.DYNAMIC_HDR_VIVID: ("the metadata of HDR Vivid", ()),
    Type.DOVI_METADATA: ("the metadata of Dolby Vision", ()),
}
# Codecs of still pictures, by FFmpeg's names. They have only ICC profiles, for which side data
# must not be read frame by frame in PyAV 18 (see `attached`).
STILL = {"png", "apng", "mjpeg", "tiff", "webp", "jpegxl", "jpeg2000", "bmp", "exr", "gif"}


@dataclass(frozen=True)
class Source:
    """Properties by which an encoder is chosen. `family`: FFmpeg's name of the codec. `rate`: bits
    per second of the pictures; `sound_rate`: of all sound; `seconds`: of the wanted part; None:
    unknown.
    """

    family: str
    size: tuple[int, int]
    rate: int | None
    sound_rate: int
    seconds: float | None


@dataclass(frozen=True)
class Chosen:
    """An encoder with its settings. `codec`: as in CODECS. `bit_rate`: average in bits per second,
    or None. `passes`: 2 if it has to see all pictures twice. `notes`: deviations from the request.
    """

    codec: str
    encoder: Codec
    options: dict[str, str]
    bit_rate: int | None
    passes: int
    notes: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        facts = {"codec": self.codec, "encoder": self.encoder.encoder}
        facts |= {"options": self.options, "bit_rate": self.bit_rate, "passes": self.passes}
        return facts


def choose_encoder(
    encoding: Encoding, codec: str, source: Source, *, unchanged: bool = False
) -> Chosen:
    """Chooses the encoder and settings for a codec that `choose_codec` returned.

    Without a requested quality or size, the codec of the source gets about the bit rate of the
    source, any other one a quality at which losses are hard to see. `unchanged`: nothing is
    restored, and the result should be as near to the source as is useful. UnhazeError: no such
    preset, or no way to such a quality or size.
    """
    encoder, notes = _in_hardware(encoding, codec, source)
    options, bit_rate = dict(encoder.options), _bit_rate(encoding, codec, encoder, source)
    if unchanged and encoding.plain and encoder.near is not None and encoder.quality is not None:
        options[encoder.quality], bit_rate = encoder.near, None
    if encoding.crf is not None:
        if encoder.quality is None or encoding.crf > encoder.worst:
            most = f"expected at most {encoder.worst}" if encoder.quality else "leave it out"
            raise UnhazeError(f"crf is {encoding.crf:g}; for {encoder.encoder}, {most}")
        options[encoder.quality] = f"{encoding.crf:g}"
        if "qp_i" in options:
            options["qp_i"] = options["qp_p"]
    if bit_rate is not None:
        for name in (encoder.quality, "qp_i", "rc", "rc_mode"):
            options.pop(name or "", None)
    if encoding.preset is not None:
        if encoding.preset not in encoder.presets:
            advice = nearest(encoding.preset, encoder.presets)
            raise UnhazeError(f"{encoder.encoder} has no preset '{encoding.preset}'; {advice}")
        options[encoder.speed] = encoding.preset
    passes = 1 if encoding.target_size is None else encoder.passes
    if encoding.target_size is not None and passes == 1:
        notes.append(
            f"{encoder.encoder} has only one pass, so the size may differ a little from target_size"
        )
    return Chosen(codec, encoder, options, bit_rate, passes, tuple(notes))


def _bit_rate(encoding: Encoding, codec: str, encoder: Codec, source: Source) -> int | None:
    """Returns the average bits per second; None for constant quality."""
    wanted = encoding.bitrate
    if encoding.target_size is not None:
        if not source.seconds:
            raise UnhazeError("target_size requires a source of known duration; give a bitrate")
        if source.seconds < 0:
            raise UnhazeError("the requested part begins behind the end of the video")
        sound = 0 if encoding.audio == "none" else source.sound_rate
        wanted = round(OVERHEAD * 8 * encoding.target_size / source.seconds - sound)
        if wanted < LEAST_RATE:
            least = (LEAST_RATE + sound) * source.seconds / OVERHEAD / 8e6
            raise UnhazeError(
                f"target_size is {encoding.target_size / 1e6:g} MB;"
                f" {source.seconds:.0f} s with this audio need at least {least:.2g} MB"
            )
    if wanted is not None and not encoder.averages:
        raise UnhazeError(f"{codec} has no adjustable bitrate; leave out bitrate and target_size")
    rate = source.rate or 0
    told = rate >= LEAST_RATE  # less is the size of a playlist itself
    if wanted is None and encoding.crf is None and told and encoder.averages:
        same, known = codec == _own_codec(source.family), (source.seconds or 0) >= TELLING
        if (same and known) or encoder.quality is None:
            return round(SHARE * rate)
    return wanted


def _own_codec(family: str) -> str | None:
    """Returns the name in CODECS of FFmpeg's codec `family`."""
    name = "h265" if family == "hevc" else family
    return name if name in CODECS else None


def _in_hardware(encoding: Encoding, codec: str, source: Source) -> tuple[Codec, list[str]]:
    """Returns the hardware encoder of the requested kind, if it works; else the software one, and
    why.
    """
    if encoding.hw == "off":
        return CODECS[codec], []
    reasons = []
    for kind in HARDWARE if encoding.hw == "auto" else (encoding.hw,):
        if codec not in HARDWARE[kind]:
            reasons.append(f"{kind} has no encoder of {codec}")
            continue
        why = _trial(HARDWARE[kind][codec], source.size)
        if why is None:
            return HARDWARE[kind][codec], []
        reasons.append(f"{kind}: {why}")
    why = "none works" if encoding.hw == "auto" else reasons[0]
    return CODECS[codec], [f"no encoder in hardware ({why}); {CODECS[codec].encoder} encodes"]


def _trial(codec: Codec, size: tuple[int, int]) -> str | None:
    """Returns why an encoder cannot encode one black picture here; None if it can."""
    if codec.encoder not in codecs_available:
        return "not in this FFmpeg"
    try:
        context = AvCodec(codec.encoder, "w").create("video")
        context.width, context.height = size
        context.pix_fmt = next(iter(usable_layouts(codec, *size)), "yuv420p")
        context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
        context.options = dict(codec.options)
        context.open()
        frame = VideoFrame(*size, context.pix_fmt)
        frame.pts, frame.time_base = 0, context.time_base
        context.encode(frame)
        context.encode(None)
    except (FFmpegError, ValueError) as error:
        return " ".join((getattr(error, "strerror", None) or str(error)).split())
    return None


def choose_codec(wanted: str | None, family: str, suffix: str) -> str:
    """Returns the codec by its name in CODECS: the requested one, or the nearest to the source's
    `family`.

    UnhazeError: unknown, not supported by a target with that suffix, or FFmpeg cannot encode it.
    """
    claimed = CONTAINERS[suffix].codecs
    held = [name for name in claimed if CODECS[name].encoder in codecs_available]
    if not held:
        raise UnhazeError(f"this FFmpeg cannot encode {', '.join(claimed)}; install PyAV's wheel")
    if wanted is None:
        nearest_one = FAMILIES.get(family, "h264")
        return nearest_one if nearest_one in held else held[0]
    if wanted == SOURCE_CODEC:
        wanted = _own_codec(family)
        if wanted is None:
            names = ", ".join(CODECS)
            raise UnhazeError(f"cannot write {family}, the codec of the source; expected {names}")
    lookup(CODECS, wanted, "codec")
    if wanted in claimed and wanted not in held:
        raise UnhazeError(f"this FFmpeg cannot encode {wanted}; expected one of {', '.join(held)}")
    if wanted not in held:
        raise UnhazeError(
            f"'{suffix}' files cannot contain {wanted}; choose one of {', '.join(held)},"
            " or another suffix such as .mkv"
        )
    return wanted


def losses(video: VideoStream, family: str, codec: str) -> Iterator[str]:
    """Returns the losses caused by the choice of a codec that was not requested, one line each."""
    if family in FAMILIES and codec != family and (codec, family) != ("h265", "hevc"):
        yield f"{family} becomes {codec}"
        lossless = FAMILIES[family] == "ffv1" or video.format.name.startswith(("rgb", "gbr", "bgr"))
        if lossless and codec != "ffv1":
            yield f"{codec} is lossy; ffv1 in .mkv is lossless"
    if video.metadata.get("alpha_mode", video.metadata.get("ALPHA_MODE")) == "1":
        yield f"the transparency of {family} in this container cannot be read, and is lost"


def choose_layout(
    name: str,
    source: str,
    width: int,
    height: int,
    *,
    encoder: Codec | None = None,
    wanted: str | None = None,
) -> tuple[str, list[str]]:
    """Returns the pixel format of a codec that loses least of `source`, and notes on what is lost.

    Most players decode no lossy codec but in 4:2:0. Of sources that are not YUV as videos are, such
    as RGB and JPEG pictures, no more is kept. `encoder`: in hardware. `wanted`: that format.
    UnhazeError: the encoder cannot encode this size at all, or not as `wanted`.
    """
    encoder = encoder or CODECS[name]
    usable = usable_layouts(encoder, width, height)
    if wanted is not None:
        if wanted not in usable:
            raise UnhazeError(
                f"{encoder.encoder} cannot encode {width} x {height} pixels as '{wanted}';"
                f" {nearest(wanted, usable)}"
            )
        usable = [wanted]
    if not usable:
        raise UnhazeError(
            f"{name} cannot encode {width} x {height} pixels, since both must be even;"
            " choose h264 or another codec, and a suffix such as .mkv"
        )
    as_video = source in usable or source.startswith(("yuv4", "yuva"))
    if encoder.averages and wanted is None and not as_video:
        usable = [each for each in usable if each.startswith("yuv420")] or usable
    layout, loss = find_best_pix_fmt_of_list(usable, source.replace("yuvj", "yuv"), True)
    assert layout is not None  # None only of an empty list
    lost = {
        PixFmtLoss.RESOLUTION: "full colour resolution",
        PixFmtLoss.DEPTH: "as many bits a channel",
        PixFmtLoss.ALPHA: "transparency",
    }
    if source.startswith("gray"):  # it has no colour to lose
        del lost[PixFmtLoss.RESOLUTION]
    notes = [f"{name} does not keep {words}" for flag, words in lost.items() if loss & flag]
    if encoder.averages and not _fits("yuv420p", width, height):
        notes.append(f"{name} stores an odd size as {layout.name}, which some players cannot play")
    return layout.name, notes


def usable_layouts(encoder: Codec, width: int, height: int) -> list[str]:
    """Returns pixel formats in which it encodes a video of this size and players decode it."""
    lossy, hard = encoder.averages, encoder not in CODECS.values()
    # Full range is a tag, not a layout; semi-planar ones are useful only without an alternative;
    # hardly any player supports a lossy codec in RGB, or with alpha.
    avoided = ("yuvj",) + (("gbr", "yuva") if lossy else ())
    avoided += ("bgr", "rgb", "argb", "x2", "cuda", "qsv", "amf") if hard else ("nv",)
    formats = AvCodec(encoder.encoder, "w").video_formats or ()
    return [
        name
        for name in encoder.layouts or [each.name for each in formats]
        if not name.startswith(avoided) and (not lossy or _fits(name, width, height))
    ]


def _fits(layout: str, width: int, height: int) -> bool:
    """Returns whether chroma is as fine as luma, or the size is even where it is halved."""
    halved = VideoFormat(layout, 2, 2)
    return not (
        (width % 2 and halved.chroma_width(2) == 1) or (height % 2 and halved.chroma_height(2) == 1)
    )


def carried_by(frame: VideoFrame) -> set[Type]:
    """Returns the kinds of CARRIED that a frame has.

    Uses a container of its own: `frame.side_data` and its frame reference each other, and the
    memory of the frame would wait for Python's garbage collector.
    """
    container: Any = SideDataContainer  # its types know neither this call nor `get` by kinds
    held = container(frame)
    return {kind for kind in CARRIED if held.get(kind) is not None}


def left_out(carried: Iterable[Type], encoder: str, codec: str) -> str | None:
    """Returns a note on side data in `carried` that the encoder of a `codec` does not write."""
    found = set(carried)
    lost = [
        words
        for kind, (words, writers) in CARRIED.items()
        if kind in found and encoder not in writers
    ]
    return f"this {codec} does not keep {', '.join(lost)}" if lost else None


def attached(frame: VideoFrame, *kinds: Type) -> list[Any]:
    """Returns the side data of each kind, a buffer; None if the frame has none.

    PyAV 18 frees the tags of side data twice, such as those of an ICC profile, and the process
    crashes some time later. Therefore a small copy is examined, and side data with tags is kept for
    ever.
    """
    found: Any = frame.reformat(SMALL, SMALL, "gray").side_data  # its types know names only
    profile = found.get(Type.ICC_PROFILE)
    if profile is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(profile))
    return [found.get(kind) for kind in kinds]
