"""What a video holds besides its pictures: copied, made into what the target holds, or said.

A track takes packets of its stream in the source (None: there are no more) and gives the packets
for the target: as they are, or as sound or text of a codec that the target's container holds.
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
STEP = 0.001  # seconds by which a packet is decoded before it is due, where nothing says when
SILENCE = 48  # bytes of each channel: whole samples, whatever their size
BIT_RATE = 96_000  # of sound that is encoded anew, a channel
# Of channels whose places the source does not tell.
LAYOUTS = {1: "mono", 2: "stereo", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
SOUND_ENCODERS = {"aac": "aac", "opus": "libopus"}
TEXTS = (b"ass", b"text")  # PyAV's types of subtitles that are no pictures
PLAIN_TEXT = ("subrip", "srt", "mov_text", "webvtt", "text", "ass", "ssa")
# What FFmpeg puts into a container, and then neither it nor a player finds there again.
UNREADABLE = {
    "mov": {"cover"},
    "webm": {"attachment"},
    # Players that are older than ISO/IEC 23003-5 take these for 16 bits, which is noise.
    "mp4": {f"pcm_{kind}{end}" for kind in ("s24", "s32", "f32", "f64") for end in ("le", "be")},
}
# Of MPEG-TS those codecs that its tables name; FFmpeg writes all others as private data.
NAMED = {
    "mpegts": ("mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc", "vvc", "cavs", "dirac", "vc1")
    + ("mp2", "mp3", "aac", "aac_latm", "ac3", "eac3", "dts", "truehd", "opus", "s302m")
    + ("dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle", "klv", "timed_id3", "smpte_2038"),
}
# Facts about the old encoding, or of the old container, that are not true of the new one.
STALE = ("encoder", "duration", "bps", "number_of_", "_statistics", "vendor_id", "rotate")
STALE += ("major_brand", "minor_version", "compatible_brands")


class Track(Protocol):
    """A stream of the target that takes packets of one of the source."""

    @property
    def stream(self) -> Stream: ...

    def take(self, packet: Packet | None) -> list[Packet]:
        """Packets for the target."""
        ...


@dataclass
class Copy:
    """Packets as they are. `base`: seconds in a tick of the target. `strict`: whether times of
    decoding have to grow there, not only not to fall. `last`: the latest of them, in ticks.
    """

    stream: Stream
    base: Fraction
    strict: bool
    last: int | None = None

    def take(self, packet: Packet | None) -> list[Packet]:
        """The packet, due when it is in the source, or a tick of the target after the last one
        where its muxer refuses equal times.
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
        """Into the target's ticks, in which the muxer compares."""
        scale = packet.time_base / self.base
        packet.pts = None if packet.pts is None else round(packet.pts * scale)
        packet.dts = None if packet.dts is None else round(packet.dts * scale)
        packet.duration = round((packet.duration or 0) * scale)
        packet.time_base = self.base

    def _put_in_order(self, packet: Packet) -> None:
        least = None if self.last is None else self.last + self.strict
        pts, dts = packet.pts, packet.dts
        if dts is None:
            # Of streams with B-frames the first packets may not say when they are decoded.
            assert pts is not None  # `_cut` has let none pass without any time
            step = max(math.ceil(STEP / self.base), packet.duration or 0)
            dts = pts - 2 * step if least is None else pts
        if least is not None and dts < least:
            dts = least
        packet.dts = dts
        packet.pts = dts if pts is None else max(pts, dts)
        self.last = dts


class Sound:
    """Sound that the target does not hold, decoded and encoded anew."""

    def __init__(self, container: OutputContainer, source: AudioStream, encoder: str) -> None:
        given, rates = source.codec_context, AvCodec(encoder, "w").audio_rates
        rate = given.sample_rate if not rates or given.sample_rate in rates else 48000
        stream = container.add_stream(encoder, rate)
        assert isinstance(stream, AudioStream)  # as `encoder` is one of sound
        self.stream = stream
        layout, count = given.layout.name, given.layout.nb_channels
        if layout == f"{count} channels":
            layout = LAYOUTS.get(count, "stereo")
        self.stream.codec_context.layout = layout
        self.stream.codec_context.bit_rate = BIT_RATE * count
        self.source, self.lost = source, 0
        copy_facts(source, self.stream)

    def take(self, packet: Packet | None) -> list[Packet]:
        """Encoded sound; what cannot be decoded is passed over and counted in `lost`."""
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
    """Subtitles in another codec of plain text; their fonts and places are lost."""

    def __init__(self, container: OutputContainer, source: Stream, codec: str) -> None:
        self.stream = container.add_mux_stream(codec)
        self.stream.time_base = source.time_base
        self.source, self.framed = source, codec == "mov_text"
        copy_facts(source, self.stream)

    def take(self, packet: Packet | None) -> list[Packet]:
        """The packet's text, if there is one; MP4 has its length before it."""
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
    """The words of a line of Advanced SubStation Alpha: without styles, with line breaks."""
    return re.sub(rb"\{\\[^}]*\}", b"", dialogue).replace(b"\\N", b"\n").replace(b"\\h", b" ")


def open_track(
    container: OutputContainer,
    stream: Stream,
    suffix: str,
    notes: list[str],
    *,
    audio: str = "copy",
) -> Track | None:
    """A track for a stream of the source; None, and a line in `notes`, where there can be none.

    `audio`: as in `Encoding`; a codec makes all sound anew that is not in it yet.
    """
    target = CONTAINERS[suffix]
    form, refused = target.form, f"'{suffix}' does not hold {words_for(stream)}"
    if stream.type == "audio" and audio == "none":
        return None
    asked = stream.type == "audio" and audio not in ("copy", _codec_of(stream))
    if target.sound is None and stream.type == "audio":
        notes.append(f"{refused}; left out")
        return None
    if asked and not _is_encoded(form, stream, SOUND_ENCODERS[audio]):
        raise UnhazeError(f"{words_for(stream)} does not become {audio} in '{suffix}'")
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
        if _is_encoded(form, stream, same):  # with channels that have names, and no loss
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
    """Seconds in a tick of such a stream, copied into a container of this form: tried out in
    memory. None if that does not hold it as it is.
    """
    if not _is_readable(form, stream):
        return None
    try:
        with av.open(io.BytesIO(), "w", format=form) as trial:
            copy = _add_copy(trial, stream)
            trial.start_encoding()
            base = copy.time_base
            # Names of channels are missed when the file ends, not before.
            if base is not None and isinstance(stream, AudioStream) and is_pcm(stream):
                silence = Packet(bytes(SILENCE * stream.codec_context.channels))
                silence.pts = silence.dts = 0
                silence.time_base, silence.stream = base, copy
                trial.mux(silence)
        return base
    except (FFmpegError, ValueError):
        return None


def is_pcm(stream: AudioStream) -> bool:
    """Whether its sound is samples, one after the other."""
    return _codec_of(stream).startswith("pcm_")


def _is_readable(form: str, stream: Stream) -> bool:
    """Whether those who read such a container find and understand the stream."""
    kinds = {stream.type, _codec_of(stream), "cover" if is_cover(stream) else ""}
    if kinds & UNREADABLE.get(form, set()):
        return False
    context = stream.codec_context
    own = _codec_of(stream) if context is None else context.codec.canonical_name
    return form not in NAMED or own in NAMED[form]


def _is_encoded(form: str, stream: Stream, encoder: str) -> bool:
    """Whether there is a decoder for the sound, and the encoder takes it: tried out as well."""
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
    """Language, title, and what the stream is for."""
    target.metadata.update(true_still(source.metadata))
    target.disposition = source.disposition


def true_still(metadata: Mapping[str, str]) -> dict[str, str]:
    """Tags without those that tell of the old encoding or container."""
    return {key: value for key, value in metadata.items() if not key.lower().startswith(STALE)}


def is_made_anew(stream: Stream, chapters: int) -> bool:
    """Whether FFmpeg writes this stream by itself: a QuickTime timecode, the titles of chapters."""
    if stream.type != "data" or stream.codec_context is not None:
        return False
    return "timecode" in stream.metadata or (chapters > 0 and stream.frames == chapters)


def is_cover(stream: Stream) -> bool:
    """Whether it is a single picture for the whole file."""
    return bool(stream.disposition & Disposition.attached_pic)


def words_for(stream: Stream) -> str:
    """What to call a stream in a message."""
    kind = {"audio": "the sound track", "subtitle": "the subtitles", "video": "another video"}
    what = kind.get(stream.type, f"the {stream.type} stream")
    if is_cover(stream):
        what = "the cover picture"
    return f"{what} {stream.index} ({_codec_of(stream) or 'unknown'})"


def _codec_of(stream: Stream) -> str:
    """FFmpeg's name, or that of an attachment; nothing for what FFmpeg does not know."""
    if stream.codec_context is not None:
        return stream.codec_context.name
    return getattr(stream, "name", None) or ""
