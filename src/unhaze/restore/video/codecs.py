"""Which container, codec and pixel format a restored video gets: near to those of its source."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from av.codec.codec import Codec as AvCodec
from av.codec.codec import PixFmtLoss, codecs_available, find_best_pix_fmt_of_list
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from unhaze.errors import UnhazeError
from unhaze.names import lookup
from unhaze.restore.video.containers import CONTAINERS


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg, and settings at which a loss is hard to see.

    Quick ones: x264's "medium" would take as long as all the rest. Larger files make up for it.
    """

    encoder: str
    options: Mapping[str, str] = field(default_factory=dict)


CODECS = {
    "h264": Codec("libx264", {"crf": "16", "preset": "veryfast"}),
    "h265": Codec(
        "libx265", {"crf": "18", "preset": "ultrafast", "x265-params": "log-level=error"}
    ),
    "av1": Codec("libsvtav1", {"crf": "25", "preset": "8"}),
    "ffv1": Codec("ffv1", {"level": "3", "slicecrc": "1"}),
    "prores": Codec("prores"),
}
# The nearest of these for a source by FFmpeg's name of its codec; h264 for all others.
FAMILIES = {
    "hevc": "h265",
    "vvc": "h265",
    "av1": "av1",
    "vp8": "av1",
    "vp9": "av1",
    "prores": "prores",
    "dnxhd": "prores",
    "cfhd": "prores",
    "v210": "prores",
    "ffv1": "ffv1",
    "ffvhuff": "ffv1",
    "huffyuv": "ffv1",
    "magicyuv": "ffv1",
    "png": "ffv1",
    "qtrle": "ffv1",
    "rawvideo": "ffv1",
    "utvideo": "ffv1",
}


def choose_codec(wanted: str | None, family: str, suffix: str) -> str:
    """The codec by its name in CODECS: the wanted one, or that nearest to the source's `family`.

    UnhazeError: unknown, or what a target with that suffix does not hold, or FFmpeg cannot encode.
    """
    claimed = CONTAINERS[suffix].codecs
    held = [name for name in claimed if CODECS[name].encoder in codecs_available]
    if not held:
        raise UnhazeError(f"this FFmpeg encodes none of {', '.join(claimed)}; install PyAV's wheel")
    if wanted is None:
        nearest = FAMILIES.get(family, "h264")
        return nearest if nearest in held else held[0]
    lookup(CODECS, wanted, "codec")
    if wanted in claimed and wanted not in held:
        raise UnhazeError(
            f"this FFmpeg does not encode {wanted}; choose a codec of {', '.join(held)}"
        )
    if wanted not in held:
        raise UnhazeError(
            f"'{suffix}' does not hold {wanted}; choose a codec of {', '.join(held)},"
            " or another suffix such as .mkv"
        )
    return wanted


def losses(video: VideoStream, family: str, codec: str) -> Iterator[str]:
    """What nobody asked for and the choice of a codec for this source brings, a line each."""
    if family in FAMILIES and codec != family and (codec, family) != ("h265", "hevc"):
        yield f"{family} becomes {codec}"
        lossless = FAMILIES[family] == "ffv1" or video.format.name.startswith(("rgb", "gbr", "bgr"))
        if lossless and codec != "ffv1":
            yield f"{codec} keeps not every value; .mkv holds ffv1, which does"
    if video.metadata.get("alpha_mode", video.metadata.get("ALPHA_MODE")) == "1":
        yield f"the transparency of {family} in this container is not read, and is lost"


def choose_layout(codec: str, source: str, width: int, height: int) -> tuple[str, list[str]]:
    """The pixel format for an encoder that loses least of `source`, and notes on what is lost.

    UnhazeError if the encoder cannot encode this size at all.
    """
    encoder = AvCodec(CODECS[codec].encoder, "w")
    names = [each.name for each in encoder.video_formats or ()]
    # Full range is a tag, not a layout; semi-planar ones save nothing; hardly a player takes a
    # lossy codec in RGB, or with alpha.
    lossy = codec in ("h264", "h265", "av1")
    avoided = ("yuvj", "nv") + (("gbr", "yuva") if lossy else ())
    usable = [
        name
        for name in names
        if not name.startswith(avoided) and (not lossy or _fits(name, width, height))
    ]
    if not usable:
        raise UnhazeError(
            f"{codec} cannot encode {width} x {height} pixels, it needs even numbers;"
            " choose h264 or another codec, and a suffix such as .mkv"
        )
    layout, loss = find_best_pix_fmt_of_list(usable, source.replace("yuvj", "yuv"), True)
    lost = {
        PixFmtLoss.RESOLUTION: "full colour resolution",
        PixFmtLoss.DEPTH: "as many bits a channel",
        PixFmtLoss.ALPHA: "transparency",
    }
    if source.startswith("gray"):  # it has no colour to lose
        del lost[PixFmtLoss.RESOLUTION]
    notes = [f"{codec} does not keep {words}" for flag, words in lost.items() if loss & flag]
    if lossy and not _fits("yuv420p", width, height):
        notes.append(f"{codec} holds an odd size as {layout.name}, which some players do not play")
    return layout.name, notes


def _fits(layout: str, width: int, height: int) -> bool:
    """Whether colour is as fine as the picture, or the size is even where it is halved."""
    halved = VideoFormat(layout, 2, 2)
    return not (
        (width % 2 and halved.chroma_width(2) == 1) or (height % 2 and halved.chroma_height(2) == 1)
    )
