"""FFmpeg's encoders for each codec, in software and in hardware, and their settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg. `options`: settings at which losses are hard to see.

    They are fast: x264's "veryfast" takes half as long again as "superfast" and is no better at the
    same bit rate; "medium" would take as long as everything else. `quality`: the option of constant
    quality (None: there is none), which goes up to `worst`. `speed`: the option of `presets`.
    `averages`: whether it keeps an average bit rate. `passes`: two, if it can analyse everything
    before it writes. `live`: further options for streams that send every frame at once. `layouts`:
    its pixel formats, if FFmpeg does not know them. `near`: the quality at which even noise is
    within 48 dB of the source.
    """

    encoder: str
    options: Mapping[str, str] = field(default_factory=dict)
    quality: str | None = None
    worst: int = 51
    speed: str = "preset"
    presets: tuple[str, ...] = ()
    averages: bool = True
    passes: int = 1
    live: Mapping[str, str] = field(default_factory=dict)
    layouts: tuple[str, ...] = ()
    near: str | None = None


X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower")
X26X += ("veryslow", "placebo")
AT_ONCE = {"tune": "zerolatency"}
# What the header of YUV4MPEG2 can describe.
Y4M = tuple(
    f"yuv{chroma}p{depth}"
    for depth in ("", "10le", "12le", "14le", "16le")
    for chroma in ("420", "422", "444")
)
CODECS = {
    "h264": Codec(
        "libx264",
        {"crf": "18", "preset": "superfast"},
        "crf",
        near="9",
        presets=X26X,
        passes=2,
        live=AT_ONCE,
    ),
    "h265": Codec(
        "libx265",
        {"crf": "18", "preset": "superfast", "x265-params": "log-level=error:open-gop=0"},
        "crf",
        near="6",
        presets=X26X,
        passes=2,
        live=AT_ONCE,
    ),
    "av1": Codec(
        "libsvtav1",
        {"crf": "25", "preset": "8"},
        "crf",
        near="8",
        worst=63,
        presets=tuple(map(str, range(14))),
        live={"svtav1-params": "pred-struct=1"},
    ),
    "vp9": Codec(
        "libvpx-vp9",
        {"crf": "24", "cpu-used": "6", "deadline": "realtime", "row-mt": "1"},
        "crf",
        near="8",
        worst=63,
        speed="cpu-used",
        presets=tuple(map(str, range(9))),
        live={"lag-in-frames": "0"},
    ),
    "ffv1": Codec("ffv1", {"level": "3", "slicecrc": "1"}, averages=False),
    "prores": Codec("prores", averages=False),
    "rawvideo": Codec("rawvideo", averages=False, layouts=("gray", *Y4M)),
}
NVENC = ("cq", 51, "preset", tuple(f"p{number}" for number in range(1, 8)))
QSV = ("global_quality", 51, "preset", X26X[2:9])
AMF = ("qp_p", 51, "quality", ("speed", "balanced", "quality"))
VAAPI = ("qp", 51, "preset", ())
# Hardware encoders, in the order in which "auto" tries them. Their quality numbers are about
# equivalent to those of x264. PyAV's wheels have no VAAPI; custom builds may.
HARDWARE = {
    "nvenc": {
        "h264": Codec("h264_nvenc", {"cq": "19", "preset": "p4", "rc": "vbr"}, *NVENC),
        "h265": Codec("hevc_nvenc", {"cq": "21", "preset": "p4", "rc": "vbr"}, *NVENC),
        "av1": Codec("av1_nvenc", {"cq": "26", "preset": "p4", "rc": "vbr"}, *NVENC),
    },
    "qsv": {
        "h264": Codec("h264_qsv", {"global_quality": "19", "preset": "medium"}, *QSV),
        "h265": Codec("hevc_qsv", {"global_quality": "21", "preset": "medium"}, *QSV),
        "av1": Codec("av1_qsv", {"global_quality": "26", "preset": "medium"}, *QSV),
        "vp9": Codec("vp9_qsv", {"global_quality": "26", "preset": "medium"}, *QSV),
    },
    "amf": {
        "h264": Codec("h264_amf", {"rc": "cqp", "qp_i": "19", "qp_p": "19"}, *AMF),
        "h265": Codec("hevc_amf", {"rc": "cqp", "qp_i": "21", "qp_p": "21"}, *AMF),
    },
    "videotoolbox": {
        "h264": Codec("h264_videotoolbox", {}),
        "h265": Codec("hevc_videotoolbox", {}),
        "prores": Codec("prores_videotoolbox", averages=False),
    },
    "vaapi": {
        "h264": Codec("h264_vaapi", {"rc_mode": "CQP", "qp": "19"}, *VAAPI),
        "h265": Codec("hevc_vaapi", {"rc_mode": "CQP", "qp": "21"}, *VAAPI),
    },
}
# The nearest of these for a source, by FFmpeg's name of its codec; h264 for all others.
FAMILIES = {
    "hevc": "h265",
    "vvc": "h265",
    "av1": "av1",
    "vp8": "vp9",
    "vp9": "vp9",
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
