"""The target of a video: its container and tracks, and an encoder configured by the first
picture.
"""

import itertools
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av import Packet, VideoFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import Type
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from unhaze.errors import UnhazeError
from unhaze.restore.encoding import Encoding
from unhaze.restore.video.clock import base_of, frame_rate
from unhaze.restore.video.codecs import (
    STILL,
    Chosen,
    Source,
    attached,
    choose_codec,
    choose_encoder,
    choose_layout,
    losses,
)
from unhaze.restore.video.containers import CONTAINERS
from unhaze.restore.video.copying import (
    Track,
    is_made_anew,
    open_track,
    true_still,
)
from unhaze.restore.video.journal import Journal
from unhaze.restore.video.pixels import Picture
from unhaze.restore.video.reading import KEEP_BYTES, Reading, reason
from unhaze.restore.video.streams import WRITTEN_AT_ONCE, Sink

PRORES_PROFILES = {"Proxy": "0", "LT": "1", "Standard": "2", "HQ": "3", "4444": "4", "XQ": "5"}
BOTTOM_FIRST = 3  # FFmpeg's AV_FIELD_BB
SOUND_RATE = 128_000  # assumed bits per second of sound if the file does not state them
LARGE = 6_000_000  # pixels; x264 uses some 50 bytes of each for every frame in progress
# Most frames between key frames for x264 and x265; seconds, for low frame rates:
# a killed run resumes from the last one.
USUAL_KEY, LATEST_KEY = 250, 30
TOLERANCE = "ratetol=0.1"  # allowed deviation of x264's bit rate; its own default is 1
BRIEF = 20.0  # seconds within which x265 does not reach an average by itself
LIVE_KEY = 2  # seconds between key frames of a stream: new viewers wait that long
REORDERED = 3  # frames; x265 assigns arbitrary times to packets of shorter videos with B-frames


@dataclass
class Output:
    """An open target. `copies`: the track for each number of a stream of the source.

    `layout`: the requested pixel format, None for the nearest. `threads`: of the encoder, 0 for one
    per core. `look`: statistics file of the first pass, and which pass this is. `notes`: what the
    target cannot hold. `refused`: packets that the target did not accept. `carried`: kinds of side
    data of frames; `still`: pictures without any. `journal`: of the encoded part, including an
    earlier run's; `replay` are its packets still to be read, `kept` the next one. `last`: time of
    decoding of the last one written, in ticks. `at_once`: whether every frame is sent as soon as it
    is encoded.
    """

    container: OutputContainer
    video: VideoStream
    chosen: Chosen
    copies: dict[int, Track]
    layout: str | None = None
    threads: int = 0
    look: tuple[Path, int] | None = None
    notes: list[str] = field(default_factory=list)
    refused: int = 0
    carried: set[Type] = field(default_factory=set)
    still: bool = False
    journal: Journal | None = None
    replay: Iterator[Packet] = iter(())
    kept: deque[Packet] = field(default_factory=deque)
    last: int | None = None
    at_once: bool = False

    @property
    def codec(self) -> str:
        """As in CODECS."""
        return self.chosen.codec


def choose(reading: Reading, target: Path, encoding: Encoding, *, strength: float = 1.0) -> Chosen:
    """Chooses the encoder for a source and the name of its result. UnhazeError: there is none as
    requested.
    """
    suffix, context = target.suffix.lower(), reading.video.codec_context
    family = context.codec.canonical_name
    codec = choose_codec(encoding.codec, family, suffix)
    sounds = reading.container.streams.audio
    sound_rate = sum(bit_rate_of(each) or SOUND_RATE for each in sounds)
    whole = reading.container.bit_rate
    rate = bit_rate_of(reading.video) or (max(whole - sound_rate, whole // 2) if whole else None)
    source = Source(family, reading.size, rate, sound_rate, reading.wanted_seconds)
    chosen = choose_encoder(encoding, codec, source, unchanged=strength == 0)
    lost = losses(reading.video, family, codec) if encoding.codec is None else ()
    return replace(chosen, notes=(*chosen.notes, *lost))


def bit_rate_of(stream: AudioStream | VideoStream) -> int | None:
    """Returns the bits per second, if the source states them."""
    return stream.codec_context.bit_rate if stream.codec_context is not None else None


def open_first_pass(file: Any, chosen: Chosen, reading: Reading, encoding: Encoding) -> Output:
    """Returns a target that stores nothing: its encoder only analyses the pictures."""
    container = av.open(file, "w", format="null")
    video = _add_video(container, chosen, reading)
    return Output(container, video, chosen, {}, encoding.pixel_format)


def open_output(
    file: Any,
    target: Path,
    reading: Reading,
    chosen: Chosen,
    encoding: Encoding,
    *,
    sink: Sink | None = None,
) -> Output:
    """Prepares a target in an open file; the video stream waits for its first frame.

    `target`: its suffix selects the container. `sink`: if the target is not a file but a viewer.
    """
    suffix = target.suffix.lower()
    form = (sink and sink.form) or CONTAINERS[suffix].form
    facts = true_still(reading.container.metadata)
    own_tags = form in ("mp4", "mov") and any(key.startswith("com.") for key in facts)
    container = av.open(
        file,
        "w",
        format=form,
        container_options=_muxer_options(form, own_tags, sink is not None),
        buffer_size=1 << 20,
        **KEEP_BYTES,
    )
    container.metadata.update(facts)
    copies: dict[int, Track] = {}
    notes = list(chosen.notes)
    video: VideoStream | None = None
    chapters = len(reading.container.chapters())
    for stream in reading.container.streams:
        if stream.index == reading.video.index:
            video = _add_video(container, chosen, reading)
            video.metadata.update(true_still(stream.metadata))
            video.disposition = stream.disposition
            if reading.start and video.metadata.pop("timecode", None):
                notes.append("the timecode is that of the whole video, so a part has none")
        elif not is_made_anew(stream, chapters):
            track = open_track(container, stream, suffix, notes, audio=encoding.audio)
            if track is not None:
                copies[stream.index] = track
    assert video is not None  # it is one of the streams
    layout, at_once = encoding.pixel_format, sink is not None
    still = reading.video.codec_context.name in STILL
    how = {"notes": notes, "at_once": at_once, "still": still}
    return Output(container, video, chosen, copies, layout, **how)


def _muxer_options(form: str, own_tags: bool, at_once: bool) -> dict[str, str]:
    options = {"movflags": "use_metadata_tags"} if own_tags else {}
    if form == "yuv4mpegpipe":
        options["strict"] = "-1"  # for more than 8 bits
    if at_once:
        options |= WRITTEN_AT_ONCE
    if at_once and form == "matroska":
        options["cluster_time_limit"] = "50"  # sends each cluster when it is complete
    return options


def _add_video(container: OutputContainer, chosen: Chosen, reading: Reading) -> VideoStream:
    rate = frame_rate(reading.video)
    made = container.add_stream(chosen.encoder.encoder, rate, dict(chosen.options))
    assert isinstance(made, VideoStream)  # since the encoder is one of pictures
    return made


def configure(output: Output, picture: Picture, reading: Reading) -> str:
    """Configures and opens the encoder for the first picture, and returns its pixel format."""
    frame, encoder = picture.frame, output.video.codec_context
    layout, notes = choose_layout(
        output.codec,
        picture.layout,
        frame.width,
        frame.height,
        encoder=output.chosen.encoder,
        wanted=output.layout,
    )
    output.notes += notes
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, layout
    encoder.time_base, encoder.framerate = base_of(frame), frame_rate(reading.video)
    form = output.container.format.name
    if form == "yuv4mpegpipe":  # its header contains the rate, and no time of frames
        encoder.time_base = 1 / encoder.framerate
    encoder.flags |= Flags.frame_duration
    _set_pace(output, encoder, reading)
    ratio = reading.video.sample_aspect_ratio
    if ratio:
        encoder.sample_aspect_ratio = ratio
    if ratio not in (None, 0, 1) and output.codec not in ("h264", "h265") and form == "matroska":
        output.notes.append(f"{output.codec} in .mkv does not keep the pixel aspect ratio {ratio}")
    _tag_colours(encoder, picture, in_full_range(output, picture))
    if picture.interlaced:
        output.notes.append("interlaced: the two fields of a frame are restored as one picture")
        encoder.flags |= Flags.interlaced_dct
        encoder.field_order = reading.video.codec_context.field_order
        x264 = output.chosen.encoder.encoder == "libx264"
        if x264 and encoder.field_order == BOTTOM_FIRST:
            others = encoder.options.get("x264-params")  # the default is top field first
            encoder.options["x264-params"] = f"{others}:bff=1" if others else "bff=1"
    if output.chosen.encoder.encoder == "prores":
        encoder.options["profile"] = _prores_profile(reading.video, layout)
    if output.look is not None:
        _tell_pass(encoder, *output.look)
    if "x265-params" in encoder.options:
        encoder.options["x265-params"] += hdr_options(frame)
        if (reading.expected_frames or REORDERED) < REORDERED:
            encoder.max_b_frames = 0
    if output.codec == "h265" and form in ("mp4", "mov"):
        encoder.codec_tag = "hvc1"  # Apple's players open no other tag
    (matrix,) = attached(frame, Type.DISPLAYMATRIX)
    if matrix is not None:
        output.video.set_display_matrix(np.frombuffer(matrix, np.int32).tolist())
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder is verbose: errors only
    try:
        encoder.open()
    except (FFmpegError, ValueError) as error:
        size = f"{frame.width} x {frame.height}"
        raise UnhazeError(
            f"{output.codec} cannot encode {size} pixels as {layout} ({reason(error)});"
            " choose another codec"
        ) from error
    if output.journal is not None:
        _begin_journal(output, output.journal, encoder)
    return layout


def _set_pace(output: Output, encoder: VideoCodecContext, reading: Reading) -> None:
    """Sets bit rate, threads, and lookahead."""
    if output.chosen.bit_rate is not None:
        encoder.bit_rate = output.chosen.bit_rate
        _hold(encoder, output.chosen, reading.wanted_seconds)
    # Frame threads, as x264's authors intend, if the frames are not too large to be held.
    large = encoder.width * encoder.height > LARGE
    encoder.thread_count, encoder.thread_type = output.threads, "SLICE" if large else "AUTO"
    if output.at_once:
        encoder.options.update(output.chosen.encoder.live)
        encoder.thread_type, encoder.max_b_frames = "SLICE", 0
        encoder.gop_size = max(1, round(encoder.framerate * LIVE_KEY))
    if output.journal is not None and encoder.framerate * LATEST_KEY < USUAL_KEY:
        encoder.gop_size = max(1, round(encoder.framerate * LATEST_KEY))


def _hold(encoder: VideoCodecContext, chosen: Chosen, seconds: float | None) -> None:
    """Keeps an average bit rate, also within a clip of some seconds."""
    if chosen.encoder.encoder == "libx264":
        encoder.options["x264-params"] = TOLERANCE
    brief = seconds is not None and seconds < BRIEF
    if chosen.encoder.encoder == "libx265" and brief and chosen.bit_rate and chosen.passes == 1:
        kilo = chosen.bit_rate // 1000
        encoder.options["x265-params"] += f":vbv-maxrate={kilo + kilo // 4}:vbv-bufsize={kilo}"


def _begin_journal(output: Output, journal: Journal, encoder: VideoCodecContext) -> None:
    """Starts the journal; the open encoder has to be the one that made the kept part."""
    base = float(encoder.time_base)
    journal.check(encoder.extradata, base)
    if journal.until is None:
        journal.begin_with(encoder.extradata, base)
    else:
        output.replay = journal.packets()
        output.kept.extend(itertools.islice(output.replay, 1))


def _tell_pass(encoder: VideoCodecContext, found: Path, number: int) -> None:
    """Sets the number of the pass, and the statistics file of the first one."""
    if "x265-params" in encoder.options:
        name = str(found).replace("\\", "/").replace(":", "\\:")
        encoder.options["x265-params"] += f":pass={number}:stats={name}"
    else:
        encoder.flags |= Flags.pass1 if number == 1 else Flags.pass2
        encoder.options["stats"] = str(found)


def _tag_colours(encoder: VideoCodecContext, picture: Picture, full_range: bool) -> None:
    """Copies the tags of the source; YUV converted from RGB gets the matrix and range chosen
    here.
    """
    frame = picture.frame
    encoder.color_primaries, encoder.color_trc = frame.color_primaries, frame.color_trc
    encoder.colorspace, encoder.color_range = frame.colorspace, frame.color_range
    assert encoder.format is not None  # set by `configure`
    became_yuv = VideoFormat(picture.layout).is_rgb and not encoder.format.is_rgb
    if became_yuv:
        encoder.colorspace = picture.matrix
    if became_yuv or full_range != (frame.color_range == ColorRange.JPEG):
        encoder.color_range = ColorRange.JPEG if full_range else ColorRange.MPEG


def in_full_range(output: Output, picture: Picture) -> bool:
    """Returns whether to use full range; ProRes supports limited range only."""
    return picture.full_range and output.codec != "prores"


def _prores_profile(video: VideoStream, layout: str) -> str:
    """Returns the profile of the source, or HQ; 4444 for formats that the others do not support."""
    if "444" in layout:
        return PRORES_PROFILES["XQ" if video.profile == "XQ" else "4444"]
    return PRORES_PROFILES.get(video.profile or "", PRORES_PROFILES["HQ"])


def hdr_options(frame: VideoFrame) -> str:
    """Returns the mastering display of the frame as options of x265: ":..." or empty.

    FFmpeg stores it as AVMasteringDisplayMetadata (fractions: red, green, blue, white, darkest,
    brightest; then what is valid) and AVContentLightMetadata (two numbers).
    """
    options = ""
    kinds = Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL
    mastering, light = attached(frame, *kinds)
    if mastering is not None:
        values = np.frombuffer(mastering, np.int32)
        if values[20] and values[21] and values[1:20:2].all():
            red, green, blue, white = (values[0:16:2] / values[1:16:2]).reshape(4, 2) * 50000
            dark, bright = values[16:20:2] / values[17:20:2] * 10000
            named = {"G": green, "B": blue, "R": red, "WP": white, "L": (bright, dark)}
            pairs = (f"{name}({one:.0f},{two:.0f})" for name, (one, two) in named.items())
            options += f":master-display={''.join(pairs)}"
    if light is not None:
        most, mean = np.frombuffer(light, np.uint32)[:2]
        options += f":max-cll={most},{mean}"
    return options
