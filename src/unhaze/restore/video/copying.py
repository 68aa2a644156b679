"""Streams of a video other than its pictures: copied, converted for the target, or reported.

A track takes packets of its stream in the source (None: end) and returns packets for the target:
unchanged, or as sound or text of a codec that the container of the target holds.
"""

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import av
from av import Packet
from av.audio.stream import AudioStream
from av.codec.codec import Codec as AvCodec
from av.container import OutputContainer
from av.error import FFmpegError
from av.format import Flags as FormatFlags
from av.stream import Disposition, Stream

from unhaze.errors import UnhazeError
from unhaze.restore.video.containers import CONTAINERS

EMPTY_TEXT = 2  # bytes of a gap between MP4's subtitles, which FFmpeg writes by itself
STEP = 0.001  # seconds between decoding and display of a packet, if not stated
SILENCE = 48  # bytes per channel: whole samples of any size
BIT_RATE = 96_000  # bits per second and channel of sound that is encoded again
# For channels whose positions the source does not state.
LAYOUTS = {1: "mono", 2: "stereo", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
SOUND_ENCODERS = {"aac": "aac", "opus": "libopus"}
TEXTS = (b"ass", b"text")  # PyAV's types of text subtitles
PLAIN_TEXT = ("subrip", "srt", "mov_text", "webvtt", "text", "ass", "ssa")
# What FFmpeg writes into a container, but neither it nor players find there again.
UNREADABLE = {
    "mov": {"cover"},
    "webm": {"attachment"},
    # Players older than ISO/IEC 23003-5 play these as 16 bits, which is noise.
    "mp4": {f"pcm_{kind}{end}" for kind in ("s24", "s32", "f32", "f64") for end in ("le", "be")},
}
# Codecs that the tables of MPEG-TS name; FFmpeg writes all others as private data.
NAMED = {
    "mpegts": ("mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc", "vvc", "cavs", "dirac", "vc1")
    + ("mp2", "mp3", "aac", "aac_latm", "ac3", "eac3", "dts", "truehd", "opus", "s302m")
    + ("dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle", "klv", "timed_id3", "smpte_2038"),
}
# Facts about the old encoding or container that do not apply to the new one.
STALE = ("encoder", "duration", "bps", "number_of_", "_statistics", "vendor_id", "rotate")
STALE += ("major_brand", "minor_version", "compatible_brands")


class Track(Protocol):
    """A stream of the target that takes packets of one stream of the source."""

    @property
    def stream(self) -> Stream: ...

    def take(self, packet: Packet | None) -> list[Packet]:
        """Returns the packets for the target."""
        ...


@dataclass
class Copy:
    """Copies packets. `base`: seconds per tick of the target. `strict`: whether times of decoding
    have to increase there, or only not decrease. `last`: the latest of them, in ticks.
    """

    stream: Stream
    base: Fraction
    strict: bool
    last: int | None = None

    def take(self, packet: Packet | None) -> list[Packet]:
        """Returns the packet with its time in the source, or a tick of the target after the last
        one if the muxer refuses equal times.
        """
        if packet is None:
            return []
        mov_text = self.stream.codec_context and self.stream.codec_context.name == "mov_text"
        if mov_text and packet.size <= EMPTY_TEXT:
            return []
        self._rescale(packet)
        self._put_in_order(packet)
        packet.stream = self.stream
        return [packet]

    def _rescale(self, packet: Packet) -> None:
        """Rescales to ticks of the target, which the muxer compares."""
        scale = packet.time_base / self.base
        packet.pts = None if packet.pts is None else round(packet.pts * scale)
        packet.dts = None if packet.dts is None else round(packet.dts * scale)
        packet.duration = round((packet.duration or 0) * scale)
        packet.time_base = self.base

    def _put_in_order(self, packet: Packet) -> None:
        least = None if self.last is None else self.last + self.strict
        pts, dts = packet.pts, packet.dts
        if dts is None:
            # In streams with B-frames the first packets may have no time of decoding.
            assert pts is not None  # `_cut` has removed packets without any time
            step = max(math.ceil(STEP / self.base), packet.duration or 0)
            dts = pts - 2 * step if least is None else pts
        if least is not None and dts < least:
            dts = least
        packet.dts = dts
        packet.pts = dts if pts is None else max(pts, dts)
        self.last = dts


class Sound:
    """Sound that the target cannot hold, decoded and encoded again."""

    def __init__(self, container: OutputContainer, source: AudioStream, encoder: str) -> None:
        given, rates = source.codec_context, AvCodec(encoder, "w").audio_rates
        rate = given.sample_rate if not rates or given.sample_rate in rates else 48000
        stream = container.add_stream(encoder, rate)
        assert isinstance(stream, AudioStream)  # since `encoder` is one of sound
        self.stream = stream
        layout, count = given.layout.name, given.layout.nb_channels
        if layout == f"{count} channels":
            layout = LAYOUTS.get(count, "stereo")
        self.stream.codec_context.layout = layout
        self.stream.codec_context.bit_rate = BIT_RATE * count
        self.source, self.lost = source, 0
        copy_facts(source, self.stream)

    def take(self, packet: Packet | None) -> list[Packet]:
        """Returns encoded sound; what cannot be decoded is skipped and counted in `lost`."""
        try:
            frames = self.source.codec_context.decode(packet)
        except FFmpegError:
            self.lost += 1
            frames = []
        if packet is None:
            frames = [*frames, None]
        packets = [each for frame in frames for each in self.stream.encode(frame)]
        return [each for each in packets if each.size]  # the last one may be empty


class Text:
    """Subtitles in another codec of plain text; fonts and positions are lost."""

    def __init__(self, container: OutputContainer, source: Stream, codec: str) -> None:
        self.stream = container.add_mux_stream(codec)
        self.stream.time_base = source.time_base
        self.source, self.framed = source, codec == "mov_text"
        copy_facts(source, self.stream)

    def take(self, packet: Packet | None) -> list[Packet]:
        """Returns the packet's text, if there is any; in MP4 preceded by its length."""
        if packet is None:
            return []
        try:
            lines = [plain(each.dialogue) for each in packet.decode() if each.type in TEXTS]
        except FFmpegError:
            return []
        text = b"\n".join(lines)
        if not text:
            return []
        made = Packet(len(text).to_bytes(2, "big") + text if self.framed else text)
        made.pts = made.dts = packet.pts
        made.duration, made.time_base, made.stream = packet.duration, packet.time_base, self.stream
        return [made]


def plain(dialogue: bytes) -> bytes:
    """Returns the text of a line of Advanced SubStation Alpha: without styles, with line breaks."""
    return re.sub(rb"\{\\[^}]*\}", b"", dialogue).replace(b"\\N", b"\n").replace(b"\\h", b" ")


def open_track(
    container: OutputContainer,
    stream: Stream,
    suffix: str,
    notes: list[str],
    *,
    audio: str = "copy",
) -> Track | None:
    """Returns a track for a stream of the source; None, and a line in `notes`, if that is
    impossible.

    `audio`: as in `Encoding`; a codec encodes all sound again that is not in it yet.
    """
    target = CONTAINERS[suffix]
    form, refused = target.form, f"'{suffix}' files cannot contain {words_for(stream)}"
    if stream.type == "audio" and audio == "none":
        return None
    asked = stream.type == "audio" and audio not in ("copy", _codec_of(stream))
    if target.sound is None and stream.type == "audio":
        notes.append(f"{refused}; left out")
        return None
    if asked and not _is_encoded(form, stream, SOUND_ENCODERS[audio]):
        raise UnhazeError(f"cannot convert {words_for(stream)} to {audio} in a '{suffix}' file")
    if asked and isinstance(stream, AudioStream):
        return Sound(container, stream, SOUND_ENCODERS[audio])
    base = _copied_base(form, stream)
    if base is not None:
        # FFmpeg refuses equal times of sound and pictures only, and not for every container.
        strict = not container.format.flags & FormatFlags.ts_nonstrict.value
        strict = strict and stream.type in ("video", "audio")
        return Copy(_add_copy(container, stream), base, strict)
    if isinstance(stream, AudioStream) and is_pcm(stream) and _is_readable(form, stream):
        same = stream.codec_context.name
        if _is_encoded(form, stream, same):  # with named channels, and no loss
            return Sound(container, stream, same)
    if target.sound and isinstance(stream, AudioStream) and _is_encoded(form, stream, target.sound):
        made = AvCodec(target.sound, "w").canonical_name
        notes.append(f"{refused}; encoded as {made}")
        return Sound(container, stream, target.sound)
    if stream.type == "subtitle" and target.text and _codec_of(stream) in PLAIN_TEXT:
        notes.append(f"{refused}; kept as plain text ({target.text})")
        return Text(container, stream, target.text)
    notes.append(f"{refused}; left out")
    return None


def _copied_base(form: str, stream: Stream) -> Fraction | None:
    """Returns the seconds per tick of such a stream, copied into a container of this form, found by
    writing to memory. None if the container cannot hold it as it is.
    """
    if not _is_readable(form, stream):
        return None
    try:
        with av.open(io.BytesIO(), "w", format=form) as trial:
            copy = _add_copy(trial, stream)
            trial.start_encoding()
            base = copy.time_base
            # Missing names of channels are an error when the file ends, not before.
            if base is not None and isinstance(stream, AudioStream) and is_pcm(stream):
                silence = Packet(bytes(SILENCE * stream.codec_context.channels))
                silence.pts = silence.dts = 0
                silence.time_base, silence.stream = base, copy
                trial.mux(silence)
        return base
    except (FFmpegError, ValueError):
        return None


def is_pcm(stream: AudioStream) -> bool:
    """Returns whether its sound is uncompressed samples."""
    return _codec_of(stream).startswith("pcm_")


def _is_readable(form: str, stream: Stream) -> bool:
    """Returns whether players of such a container find and understand the stream."""
    kinds = {stream.type, _codec_of(stream), "cover" if is_cover(stream) else ""}
    if kinds & UNREADABLE.get(form, set()):
        return False
    context = stream.codec_context
    own = _codec_of(stream) if context is None else context.codec.canonical_name
    return form not in NAMED or own in NAMED[form]


def _is_encoded(form: str, stream: Stream, encoder: str) -> bool:
    """Returns whether there is a decoder for the sound, and the encoder accepts it, found by trying
    both.
    """
    if (
        not isinstance(stream, AudioStream)
        or stream.codec_context is None
        or not stream.codec_context.sample_rate
    ):
        return False
    try:
        with av.open(io.BytesIO(), "w", format=form) as trial:
            Sound(trial, stream, encoder)
            trial.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True


def _add_copy(container: OutputContainer, stream: Stream) -> Stream:
    copy = container.add_stream_from_template(stream, opaque=True)
    copy_facts(stream, copy)
    return copy


def copy_facts(source: Stream, target: Stream) -> None:
    """Copies language, title, and purpose of the stream."""
    target.metadata.update(true_still(source.metadata))
    target.disposition = source.disposition


def true_still(metadata: Mapping[str, str]) -> dict[str, str]:
    """Returns tags without those that describe the old encoding or container."""
    return {key: value for key, value in metadata.items() if not key.lower().startswith(STALE)}


def is_made_anew(stream: Stream, chapters: int) -> bool:
    """Returns whether FFmpeg writes this stream by itself: a QuickTime timecode, titles of
    chapters.
    """
    if stream.type != "data" or stream.codec_context is not None:
        return False
    return "timecode" in stream.metadata or (chapters > 0 and stream.frames == chapters)


def is_cover(stream: Stream) -> bool:
    """Returns whether it is a single picture for the whole file."""
    return bool(stream.disposition & Disposition.attached_pic)


def words_for(stream: Stream) -> str:
    """Returns the name of a stream for messages."""
    kind = {"audio": "audio track", "subtitle": "subtitle track", "video": "video track"}
    what = kind.get(stream.type, f"{stream.type} stream")
    if is_cover(stream):
        what = "cover picture"
    return f"{what} {stream.index} ({_codec_of(stream) or 'unknown'})"


def _codec_of(stream: Stream) -> str:
    """Returns FFmpeg's name of the codec, or that of an attachment; empty if FFmpeg does not know
    it.
    """
    if stream.codec_context is not None:
        return stream.codec_context.name
    return getattr(stream, "name", None) or ""
